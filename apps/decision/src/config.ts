import { durationMs } from '@opsloop/contracts';

/** What this app needs beside the platform's configuration. */
export interface DecisionConfig {
  /** How often goals are looked at without any event: the bound on how long a lost event delays. */
  resyncMs: number;
}

/** Thirty seconds: a lost event delays healing by half a minute at most, and 10,000 resources are read in one second of it. */
const RESYNC_DEFAULT = '30s';

export function decisionConfigFromEnv(env: NodeJS.ProcessEnv): DecisionConfig {
  return { resyncMs: durationMs(env['OPSLOOP_RESYNC'] ?? RESYNC_DEFAULT) };
}

export const DECISION_CONFIG = Symbol('DECISION_CONFIG');
