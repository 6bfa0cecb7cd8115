import { durationMs, OpsError } from '@opsloop/contracts';
import { BRAKE_DEFAULT, type BrakeConfig } from './brake/brake.pure.js';

/** What control needs beside the platform's configuration; the only place of this app that reads the environment. */
export interface ControlConfig {
  /** Absent: rules and flows that do harm neither stop nor lose their autonomy by themselves. */
  brake?: BrakeConfig;
  /** How long ended runs, their logs and statistics are kept; absent: for ever. */
  retentionMs?: number;
}

/** A month: long enough for the review of an incident and for a comparison with the month before. */
const RETENTION_DEFAULT = '30d';
/** Below a day the runs could go before what explains them. */
const RETENTION_LEAST_MS = 86_400_000;

export function controlConfigFromEnv(env: Record<string, string | undefined>): ControlConfig {
  const brake = brakeOf(env);
  const retentionMs = durationMs(env['OPSLOOP_RETENTION'] ?? RETENTION_DEFAULT);
  if (retentionMs < RETENTION_LEAST_MS) throw new OpsError('configuration', 'OPSLOOP_RETENTION must be at least 1d');
  return { retentionMs, ...(brake === undefined ? {} : { brake }) };
}

function brakeOf(env: Record<string, string | undefined>): BrakeConfig | undefined {
  const mode = env['OPSLOOP_BRAKE'] ?? 'on';
  if (mode !== 'on' && mode !== 'off')
    throw new OpsError('configuration', `OPSLOOP_BRAKE is "${mode}"; write on or off`);
  if (mode === 'off') return undefined;
  return {
    ...BRAKE_DEFAULT,
    startsPerMinute: wholeNumber(env, 'OPSLOOP_BRAKE_STARTS', BRAKE_DEFAULT.startsPerMinute, 1_000_000),
    changedPercent: wholeNumber(env, 'OPSLOOP_BRAKE_CHANGED_PERCENT', BRAKE_DEFAULT.changedPercent, 100),
    notFixed: wholeNumber(env, 'OPSLOOP_BRAKE_NOT_FIXED', BRAKE_DEFAULT.notFixed, BRAKE_DEFAULT.ofLast),
  };
}

function wholeNumber(env: Record<string, string | undefined>, name: string, fallback: number, most: number): number {
  const text = env[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new OpsError('configuration', `${name} is "${text}"; write a whole number from 1 to ${most}`);
}

/** Injection token of {@link ControlConfig}. */
export const CONTROL_CONFIG = Symbol('CONTROL_CONFIG');

/** Version of this app in its API pages. */
export const VERSION = '0.1.0';

export const readEnvironment = (): NodeJS.ProcessEnv => process.env;
