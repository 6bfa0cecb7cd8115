/** One sender that floods, from many connections, with repeats and few subjects; and one that sends now and then. */
import { setTimeout as delay } from 'node:timers/promises';
import type { JsonObject } from '@opsloop/contracts';
import { CLOUDEVENT, type Stack } from '../e2e/stack.spec-kit.js';
import { shuffled } from './config.js';
import { inParallel } from './workload.js';

export const STORM_EVENT = 'storm.report';
/** Each with a request in flight: together far more events than one process lets wait. */
const CLIENTS = 200;
const BATCH = 40;
const REPEATED = 0.3;
const HOT_SUBJECTS = 5;
const QUIET_EVERY_MS = 25;
const AGAIN_MS = 250;

export interface Storm {
  /** Seconds until everything was acknowledged. */
  seconds: number;
  /** Answers that told the sender to come back later. */
  sentAway: number;
  /** Answers that were neither that nor a receipt. */
  wrong: string[];
  /** Milliseconds until a receipt, in rising order. */
  flood: number[];
  quiet: number[];
}

const eventOf = (source: string, n: number): JsonObject => ({
  specversion: '1.0',
  source,
  id: `s${n}`,
  type: STORM_EVENT,
  subject: `storm/${n % HOT_SUBJECTS}`,
  data: { n },
});

/** `quietToken`: of somebody else, since a sender is who its token says it is. */
export async function storm(stack: Stack, count: number, quietToken: string, random: () => number): Promise<Storm> {
  const seen: Storm = { seconds: 0, sentAway: 0, wrong: [], flood: [], quiet: [] };
  const events = Array.from({ length: count }, (_, n) => eventOf('storm', n));
  const repeats = Array.from({ length: Math.round(count * REPEATED) }, () => events[Math.floor(random() * count)]!);
  const deliveries = shuffled([...events, ...repeats], random);
  const batches = Array.from({ length: Math.ceil(deliveries.length / BATCH) }, (_, i) =>
    JSON.stringify(deliveries.slice(i * BATCH, (i + 1) * BATCH)),
  );
  const since = performance.now();
  let over = false;
  const quiet = (async () => {
    for (let n = 0; !over; n += 1) {
      const { status, ms } = await timed(stack, JSON.stringify(eventOf('quiet', n)), CLOUDEVENT, quietToken);
      if (status === 202) seen.quiet.push(ms);
      else seen.wrong.push(`the quiet sender was answered with ${status}`);
      await delay(QUIET_EVERY_MS);
    }
  })();
  await inParallel(batches, CLIENTS, async (body) => {
    for (;;) {
      const { status, retryAfter, ms } = await timed(stack, body, { 'content-type': BATCH_TYPE });
      if (status === 202) return void seen.flood.push(ms);
      if ((status === 429 || status === 503) && retryAfter !== null) seen.sentAway += 1;
      else seen.wrong.push(`the flood was answered with ${status}`);
      // Sooner than it was told to, as impatient senders do.
      await delay(AGAIN_MS);
    }
  });
  over = true;
  await quiet;
  seen.seconds = (performance.now() - since) / 1_000;
  for (const times of [seen.flood, seen.quiet]) times.sort((a, b) => a - b);
  return seen;
}

const BATCH_TYPE = 'application/cloudevents-batch+json';

async function timed(stack: Stack, body: string, headers: Record<string, string>, token?: string) {
  const since = performance.now();
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const answer = await stack.send('POST', '/v1/events', body, { ...headers, ...authorization });
  return { status: answer.status, retryAfter: answer.headers.get('retry-after'), ms: performance.now() - since };
}

export const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
