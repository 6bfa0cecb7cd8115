import { randomBytes, randomInt } from 'node:crypto';
import { testKafka } from '@opsloop/testing';

/** `OPSLOOP_FAULT_SEED=<n>` repeats a run with the same order of events and places of death. */
export const seed = Number(process.env['OPSLOOP_FAULT_SEED'] ?? randomInt(1, 1_000_000));

/** Kills of the whole platform, at least one at each place; 0: at each place that no smaller spec kills at, and one more. */
export const kills = Number(process.env['OPSLOOP_FAULT_KILLS'] ?? 0);

/** `OPSLOOP_FAULT_PLACES=control.,close.` kills only at places that begin so. */
export const places = (process.env['OPSLOOP_FAULT_PLACES'] ?? '').split(',').filter((p) => p !== '');

/** `OPSLOOP_FAULT_OUTAGES=long`: PostgreSQL is restarted three times, Temporal is away for half a minute. */
export const longOutages = process.env['OPSLOOP_FAULT_OUTAGES'] === 'long';

/** `OPSLOOP_CHAOS_EVENTS=15000` is the size of a release; the default lasts as long as four deaths. */
export const chaosEvents = Number(process.env['OPSLOOP_CHAOS_EVENTS'] ?? 120);

/** `OPSLOOP_STORM_EVENTS=100000` likewise. */
export const stormEvents = Number(process.env['OPSLOOP_STORM_EVENTS'] ?? 3_000);

/** Few partitions, and a process that was killed is noticed as soon as the broker of the specs allows. */
export const QUICK_KAFKA = { KAFKA_PARTITIONS: '4', KAFKA_SESSION_MS: '1500' };

/** `OPSLOOP_TEST_CARRIER=kafka` runs the end-to-end and the fault specs with Kafka as the carrier of the bus. */
export async function carrierEnvironment(): Promise<Record<string, string>> {
  if (process.env['OPSLOOP_TEST_CARRIER'] !== 'kafka') return {};
  const { brokers } = await testKafka();
  return { KAFKA_BROKERS: brokers, KAFKA_TOPIC_PREFIX: `e${randomBytes(6).toString('hex')}.`, ...QUICK_KAFKA };
}

/** What a child gets: our environment without what belongs to the test runner or points at somebody's servers. */
export function childEnvironment(extra: Record<string, string>): NodeJS.ProcessEnv {
  const dropped = /^(NODE_OPTIONS|NODE_ENV|VITEST.*|DATABASE_URL|TEMPORAL_.*|OPSLOOP_.*|KAFKA_.*)$/;
  const kept = Object.entries(process.env).filter(([name]) => !dropped.test(name));
  return { ...Object.fromEntries(kept), ...extra };
}

/** A small random generator (mulberry32): a failure can be repeated with the seed that the suite prints. */
export function randomOf(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}
