import { OpsError } from '@opsloop/contracts';

/** Configuration of event-ingest; the only place of this app that reads the environment. */
export interface EventIngestConfig {
  /** Polls in flight in this process. */
  pollConcurrency: number;
  /** How read atoms of the script form are run. */
  scripts: { path: string; unsafeHostExec: boolean; network: boolean };
}

/** A poll waits for its target nearly all the time; 32 of 50 ms each watch 3,000 resources at 5 s. */
const POLL_CONCURRENCY = 32;

export function eventIngestConfigFromEnv(env: Record<string, string | undefined>): EventIngestConfig {
  const given = Number(env['OPSLOOP_POLL_CONCURRENCY'] ?? POLL_CONCURRENCY);
  return {
    pollConcurrency: Number.isInteger(given) && given > 0 ? given : POLL_CONCURRENCY,
    scripts: {
      path: env['PATH'] ?? '',
      unsafeHostExec: env['OPSLOOP_UNSAFE_HOST_EXEC'] === 'true',
      network: env['OPSLOOP_SCRIPT_NETWORK'] === 'true',
    },
  };
}

/** Injection token of {@link EventIngestConfig}. */
export const INGEST_CONFIG = Symbol('INGEST_CONFIG');

/** Version of this app in its API pages. */
export const VERSION = '0.1.0';

export const readEnvironment = (): NodeJS.ProcessEnv => process.env;

export function databaseUrl(env: NodeJS.ProcessEnv): string {
  const url = env['DATABASE_URL'];
  if (url === undefined || url === '') {
    throw new OpsError('configuration', 'DATABASE_URL is not set; write postgresql://user:password@host:5432/opsloop');
  }
  return url;
}
