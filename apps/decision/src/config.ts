import type { AtomExecutor } from '@opsloop/atoms';
import { durationMs, OpsError } from '@opsloop/contracts';

/** What this app needs beside the platform's configuration; the only place of this app that reads the environment. */
export interface DecisionConfig {
  /** How often goals are looked at without any event: the bound on how long a lost event delays. */
  resyncMs: number;
  /** How long traces, decisions, ended episodes and state changes are kept. */
  retentionMs: number;
  /** How read atoms of the script form are run when a goal observes by one. */
  scripts: { path: string; unsafeHostExec: boolean; network: boolean };
  /** Who makes the calls of observations, where it is not this process itself. */
  atoms?: Pick<AtomExecutor, 'execute'>;
}

/** A lost event delays healing by half a minute at most, and a pass over 10,000 resources takes about a second of it. */
const RESYNC_DEFAULT = '30s';

/** A month: long enough for the review of an incident and for a comparison with the month before. */
const RETENTION_DEFAULT = '30d';
/** Below a day, episodes and their runs could outlive what explains them. */
const RETENTION_LEAST_MS = 86_400_000;

export function decisionConfigFromEnv(env: Record<string, string | undefined>): DecisionConfig {
  const resyncMs = durationMs(env['OPSLOOP_RESYNC'] ?? RESYNC_DEFAULT);
  if (resyncMs < 100) throw new OpsError('configuration', 'OPSLOOP_RESYNC must be at least 100ms');
  const retentionMs = durationMs(env['OPSLOOP_RETENTION'] ?? RETENTION_DEFAULT);
  if (retentionMs < RETENTION_LEAST_MS) throw new OpsError('configuration', 'OPSLOOP_RETENTION must be at least 1d');
  return {
    resyncMs,
    retentionMs,
    scripts: {
      path: env['PATH'] ?? '',
      unsafeHostExec: env['OPSLOOP_UNSAFE_HOST_EXEC'] === 'true',
      network: env['OPSLOOP_SCRIPT_NETWORK'] === 'true',
    },
  };
}

/** Injection token of {@link DecisionConfig}. */
export const DECISION_CONFIG = Symbol('DECISION_CONFIG');

/** Version of this app in its API pages. */
export const VERSION = '0.1.0';

export const readEnvironment = (): NodeJS.ProcessEnv => process.env;
