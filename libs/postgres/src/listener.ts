import type { Logger } from '@opsloop/platform';
import pg from 'pg';

/** Long enough not to hammer a database that restarts, short enough that the polls in between are not noticed. */
const RECONNECT_MS = 500;

export interface ListenOptions {
  url: string;
  channel: string;
  fn: (payload: string) => void;
  logger: Pick<Logger, 'warn'>;
}

/** LISTEN with its own connection. Resolves when the first connection listens; returns a function that ends it. */
export async function listen(options: ListenOptions): Promise<() => Promise<void>> {
  let stopped = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;

  const connect = async (): Promise<void> => {
    const next = new pg.Client({ connectionString: options.url, keepAlive: true, application_name: 'opsloop listen' });
    client = next;
    next.on('error', () => undefined);
    next.on('end', () => {
      if (!stopped && client === next) reconnectLater();
    });
    next.on('notification', (notice) => {
      if (notice.channel === options.channel) options.fn(notice.payload ?? '');
    });
    try {
      await next.connect();
      await next.query(`LISTEN ${pg.escapeIdentifier(options.channel)}`);
    } catch (error) {
      // Connected but not listening: left open, every further try would add a connection.
      void next.end().catch(() => undefined);
      throw error;
    }
    // Stopped while it connected: nobody else would end it.
    if (stopped) await next.end();
  };

  const reconnectLater = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      connect().then(
        () => options.fn(''),
        (error: unknown) => {
          options.logger.warn('cannot listen for notifications', { channel: options.channel, error });
          if (!stopped) reconnectLater();
        },
      );
    }, RECONNECT_MS);
  };

  await connect().catch((error: unknown) => {
    // Whoever asked is told; nothing goes on in the background.
    stopped = true;
    clearTimeout(timer);
    throw error;
  });
  return async () => {
    stopped = true;
    clearTimeout(timer);
    await client?.end().catch(() => undefined);
  };
}
