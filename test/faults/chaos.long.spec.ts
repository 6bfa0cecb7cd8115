/**
 * event-ingest and decision, two processes each, on both carriers. First a storm that one sender makes: bounded, and the
 * others do not notice. Then repeats and disorder while the processes are killed all the time: exactly the expected
 * decisions. `OPSLOOP_CHAOS_EVENTS=15000` and `OPSLOOP_STORM_EVENTS=100000` are the sizes of a release.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { JsonObject } from '@opsloop/contracts';
import { createTestDatabase, eventually, testKafka, type TestDatabase, whereKafka } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type App, Cluster } from '../e2e/cluster.spec-kit.js';
import { flow, plainRule } from '../e2e/documents.spec-kit.js';
import { CLOUDEVENT, Stack } from '../e2e/stack.spec-kit.js';
import { chaosEvents, randomOf, seed, shuffled, stormEvents } from './config.js';
import { query as ask } from './facts.js';
import { killOneAfterTheOther } from './nemesis.js';
import { quantile, storm } from './storm.js';
import { inParallel } from './workload.js';

/** 15,000 events are 50,000 deliveries. */
const COPIES = 10 / 3;
const SUBJECTS = 100;
const SENDERS = 50;
/** Of virtual time, over which the events happened. */
const SPAN_MS = 600_000;
/** Deliveries per second at most: they have to last as long as some deaths take, those of a release as long as a hundred. */
const RATE = chaosEvents < 1_000 ? 60 : 200;
const KILLED: readonly App[] = ['event-ingest', 'decision'];
/** While nobody is killed any more: backlog, and the restart of what was killed last. */
const SETTLE_MS = 180_000;
const SAY_EVERY_MS = 10_000;
/** Events that two processes let wait, many times over. */
const ALL_MAY_WAIT = 20_000;
/** Of one process, whatever comes. */
const RSS_MB_MAX = 512;

/** A small run takes the carrier that has more to go wrong; the size of a release is run on both. */
const both = [{ name: 'PostgreSQL' }, ...(await whereKafka())];
const carriers = chaosEvents < 1_000 ? both.slice(-1) : both;

let cluster: Cluster;
let stack: Stack;
let made: TestDatabase;
const random = randomOf(seed);

const query = <R extends Record<string, unknown>>(text: string): Promise<R[]> =>
  ask<R>({ databaseUrl: made.url, temporalAddress: '' }, text);

async function startCluster(carrier: string): Promise<void> {
  made = await createTestDatabase();
  const prefix = `chaos-${randomBytes(6).toString('hex')}.`;
  cluster = await Cluster.start({
    databaseUrl: made.url,
    // Nothing is started: what decision asks for stays on the bus.
    temporal: { address: '127.0.0.1:1', namespace: 'none' },
    ...(carrier === 'Kafka' ? { kafka: { brokers: (await testKafka()).brokers, prefix } } : {}),
    replicas: { 'event-ingest': 2, decision: 2, 'service-catalog': 1 },
  });
  stack = Stack.at(cluster.url, cluster.key);
  await stack.put(
    flow('chaos/work', [{ id: 'note', set: { done: true } }], { vars: { done: false } }),
    plainRule('chaos/report', 'chaos.state', 'chaos/work', {
      // A late report is a job as well.
      stale: true,
      targets: { paths: ['job/${event.data.n}'] },
    }),
  );
}

/** Every event has its trace. */
async function decided(source: string): Promise<void> {
  await eventually(
    async () => {
      const [row] = await query<{ open: number }>(
        `SELECT count(*)::int AS open FROM ingest.event e WHERE source = '${source}'
          AND NOT EXISTS (SELECT 1 FROM decision.trace t WHERE t.event_id = e.event_id)`,
      );
      expect(row?.open).toBe(0);
    },
    { timeoutMs: SETTLE_MS, everyMs: 250 },
  );
}

/** Each event happened at a time of its own. */
function chaosEventsSince(since: number): JsonObject[] {
  const moments = shuffled(
    Array.from({ length: chaosEvents }, (_, i) => i),
    random,
  );
  return moments.map((moment, n) => ({
    specversion: '1.0',
    source: 'chaos',
    id: `e${n}`,
    type: 'chaos.state',
    subject: `desk/${n % SUBJECTS}`,
    time: new Date(since + (moment * SPAN_MS) / chaosEvents).toISOString(),
    data: { n, state: n % 2 === 0 ? 'firing' : 'resolved' },
  }));
}

/** Each event once, and of all of them some again, until there are as many as wanted; in any order. */
function deliveriesOf(events: readonly JsonObject[]): JsonObject[] {
  const again = Array.from(
    { length: Math.round(events.length * (COPIES - 1)) },
    () => events[Math.floor(random() * events.length)]!,
  );
  return shuffled([...events, ...again], random);
}

async function postUntilAcked(event: JsonObject): Promise<string> {
  for (;;) {
    const answer = await stack.send('POST', '/v1/events', event, CLOUDEVENT).catch(() => undefined);
    if (answer?.status === 202) return answer.body.items[0].eventId as string;
    if (answer !== undefined && answer.status < 500 && answer.status !== 429)
      throw new Error(`the event was refused: ${answer.status} ${JSON.stringify(answer.body)}`);
    await delay(50);
  }
}

/** Of the newest event of each subject, its number. */
function newest(events: readonly JsonObject[]): Record<string, unknown> {
  const inTime = events.toSorted((a, b) => (String(a['time']) < String(b['time']) ? -1 : 1));
  return Object.fromEntries(inTime.map((event) => [event['subject'], (event['data'] as { n: number }).n]));
}

describe.each(carriers)('over $name', ({ name: carrier }) => {
  beforeAll(() => startCluster(carrier), 400_000);
  afterAll(async () => {
    await cluster?.close();
    await made?.drop();
  });

  test(`a storm of ${stormEvents} events is bounded, loses nothing and leaves others their turn`, async () => {
    const { token } = await stack.ok('POST', '/v1/tokens', {
      ...{ name: 'quiet', roles: ['operator'], expiresInDays: 1, reason: 'the storm of a spec' },
    });
    const seen = await storm(stack, stormEvents, token as string, random);
    await decided('storm');
    const memory = KILLED.flatMap((app) => cluster.of(app)).map((replica) => Math.round(replica.rssMb()));
    const ms = (times: readonly number[], q: number): number => Math.round(quantile(times, q));
    console.log(
      `storm over ${carrier}: ${stormEvents} events and repeats in ${seen.seconds.toFixed(1)} s, ${seen.sentAway} sent away, ` +
        `flood p50 ${ms(seen.flood, 0.5)} p99 ${ms(seen.flood, 0.99)} ms, quiet p50 ${ms(seen.quiet, 0.5)} ` +
        `p95 ${ms(seen.quiet, 0.95)} ms, RSS ${memory.join(' ')} MB`,
    );
    expect(seen.wrong).toEqual([]);
    // A small storm fits into what may wait.
    if (stormEvents > ALL_MAY_WAIT) expect(seen.sentAway).toBeGreaterThan(0);
    const kept = await query('SELECT source, count(*)::int AS count FROM ingest.event GROUP BY source ORDER BY source');
    expect(kept).toEqual([
      { source: 'quiet', count: seen.quiet.length },
      { source: 'storm', count: stormEvents },
    ]);
    // It waits for the group that is being stored; the flood waits for itself.
    expect(quantile(seen.quiet, 0.5)).toBeLessThan(quantile(seen.flood, 0.5));
    expect(Math.max(...memory)).toBeLessThan(RSS_MB_MAX);
  }, 600_000);

  test(`${chaosEvents} events, delivered ${Math.round(chaosEvents * COPIES)} times in any order between deaths, are one decision each`, async () => {
    const events = chaosEventsSince(Date.now() - SPAN_MS);
    const deliveries = deliveriesOf(events);
    const began = performance.now();
    const seconds = (since = began): string => ((performance.now() - since) / 1_000).toFixed(1);
    const deaths = killOneAfterTheOther(cluster, KILLED, random);
    let sent = 0;
    let tries = 0;
    const say = setInterval(() => {
      const decisions = query<{ count: number }>('SELECT count(*)::int AS count FROM decision.decision');
      const line = ([row]: { count: number }[]): void =>
        console.log(
          `chaos over ${carrier}: ${seconds()} s, ${sent} of ${deliveries.length} deliveries, ${row?.count} decisions, ${JSON.stringify(deaths.kills)} kills`,
        );
      decisions.then(line, () => undefined);
    }, SAY_EVERY_MS);
    const ids = new Map<unknown, Set<string>>();
    await inParallel(deliveries, SENDERS, async (event) => {
      tries += 1;
      await delay(Math.max(0, (tries / RATE) * 1_000 - (performance.now() - began)));
      const id = await postUntilAcked(event);
      ids.set(event['id'], (ids.get(event['id']) ?? new Set()).add(id));
      sent += 1;
    });
    const sentFor = seconds();
    await deaths.stop();
    const since = performance.now();
    await decided('chaos').finally(() => clearInterval(say));
    console.log(
      `chaos over ${carrier}: seed ${seed}, ${deliveries.length} deliveries of ${events.length} events in ${sentFor} s, ` +
        `${JSON.stringify(deaths.kills)} kills (${(deaths.waitedMs / 1_000).toFixed(1)} s nobody could be), settled after ${seconds(since)} s`,
    );
    // Every copy was told the id of the first one.
    expect([...ids.values()].filter((known) => known.size !== 1)).toEqual([]);
    expect(ids.size).toBe(events.length);
    const [facts] = await query(`SELECT
      (SELECT count(*)::int FROM ingest.event WHERE source = 'chaos') AS events,
      (SELECT count(*)::int FROM decision.decision) AS decisions,
      (SELECT count(DISTINCT event_id)::int FROM decision.decision) AS "decidedEvents",
      (SELECT count(*)::int FROM bus.message WHERE topic = 'events' AND body->>'source' = 'chaos') AS "eventMessages",
      (SELECT count(*)::int FROM bus.message WHERE topic = 'starts') AS starts,
      (SELECT count(*)::int FROM decision.decision d WHERE NOT EXISTS (SELECT 1 FROM bus.message m WHERE m.topic = 'starts' AND m.key = d.id::text)) AS "notAsked",
      (SELECT count(*)::int FROM bus.dead) AS dead,
      (SELECT count(*)::int FROM bus.unreadable) AS unreadable`);
    const n = events.length;
    expect(facts).toEqual({
      events: n,
      decisions: n,
      decidedEvents: n,
      eventMessages: n,
      starts: n,
      notAsked: 0,
      dead: 0,
      unreadable: 0,
    });
    const states = await query<{ path: string; n: number }>(
      `SELECT path, (state->>'n')::int AS n FROM decision.resource WHERE path LIKE 'desk/%'`,
    );
    expect(Object.fromEntries(states.map((one) => [one.path, one.n]))).toEqual(newest(events));
    expect(Object.values(deaths.kills).every((count) => count > 0)).toBe(true);
  }, 1_800_000);
});
