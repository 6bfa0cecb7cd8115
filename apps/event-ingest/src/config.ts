import { OpsError, durationMs } from '@opsloop/contracts';

/** Configuration of event-ingest; the only place of this app that reads the environment. */
export interface EventIngestConfig {
  /** Polls in flight in this process. */
  pollConcurrency: number;
  /** How long events and the bodies that brought them are kept, and with them duplicates recognised. */
  retentionMs: number;
  /** CIDRs of proxies that are believed when they say which client certificate they saw. */
  trustedProxies: string[];
  /** Events a second of one tenant over the API; none = no limit of its own. */
  tenantPerSecond?: number;
  /** How read atoms of the script form are run. */
  scripts: { path: string; unsafeHostExec: boolean; network: boolean };
}

/** A poll waits for its target nearly all the time; 32 of 50 ms each watch 3,000 resources at 5 s. */
const POLL_CONCURRENCY = 32;

/** A month: long enough for the review of an incident, and for every sender's retries. */
const RETENTION_DEFAULT = '30d';
/** Senders repeat for hours (Alertmanager, queues after a weekend); below a day a repeat would be a new event. */
const RETENTION_LEAST_MS = 86_400_000;

export function eventIngestConfigFromEnv(env: Record<string, string | undefined>): EventIngestConfig {
  const given = Number(env['OPSLOOP_POLL_CONCURRENCY'] ?? POLL_CONCURRENCY);
  const retentionMs = durationMs(env['OPSLOOP_RETENTION'] ?? RETENTION_DEFAULT);
  if (retentionMs < RETENTION_LEAST_MS) throw new OpsError('configuration', 'OPSLOOP_RETENTION must be at least 1d');
  return {
    retentionMs,
    pollConcurrency: Number.isInteger(given) && given > 0 ? given : POLL_CONCURRENCY,
    trustedProxies: (env['OPSLOOP_TRUSTED_PROXIES'] ?? '').split(/[\s,]+/).filter((one) => one !== ''),
    ...tenantLimit(env['OPSLOOP_EVENTS_PER_SECOND']),
    scripts: {
      path: env['PATH'] ?? '',
      unsafeHostExec: env['OPSLOOP_UNSAFE_HOST_EXEC'] === 'true',
      network: env['OPSLOOP_SCRIPT_NETWORK'] === 'true',
    },
  };
}

function tenantLimit(text: string | undefined): { tenantPerSecond?: number } {
  if (text === undefined || text === '') return {};
  const perSecond = Number(text);
  if (!(perSecond > 0)) throw new OpsError('configuration', 'OPSLOOP_EVENTS_PER_SECOND must be a number above 0');
  return { tenantPerSecond: perSecond };
}

/** Injection token of {@link EventIngestConfig}. */
export const INGEST_CONFIG = Symbol('INGEST_CONFIG');

/** Version of this app in its API pages. */
export const VERSION = '0.1.0';

export const readEnvironment = (): NodeJS.ProcessEnv => process.env;
