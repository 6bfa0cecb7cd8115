/** Repeats and disorder while event-ingest and decision are killed all the time: exactly the expected decisions. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { JsonObject } from '@opsloop/contracts';
import { createTestDatabase, eventually, testKafka, type TestDatabase, whereKafka } from '@opsloop/testing';
import { afterEach, describe, expect, test } from 'vitest';
import { type App, Cluster, type Replica } from '../e2e/cluster.spec-kit.js';
import { flow, plainRule } from '../e2e/documents.spec-kit.js';
import { Stack } from '../e2e/stack.spec-kit.js';
import { chaosEvents, randomOf, seed, shuffled } from './config.js';
import { query as ask } from './facts.js';
import { inParallel } from './workload.js';

/** 15,000 events are 50,000 deliveries. */
const COPIES = 10 / 3;
const SUBJECTS = 100;
const SENDERS = 50;
/** Of virtual time, over which the events happened. */
const SPAN_MS = 600_000;
/** Deliveries per second at most: a small run has to last as long as some deaths take. */
const RATE = chaosEvents < 1_000 ? 50 : 2_000;
const KILLED: readonly App[] = ['event-ingest', 'decision'];
/** While nobody is killed any more: backlog, and the restart of what was killed last. */
const SETTLE_MS = 180_000;

/** A small run takes the carrier that has more to go wrong; the size of a release is run on both. */
const both = [{ name: 'PostgreSQL' }, ...(await whereKafka())];
const carriers = chaosEvents < 1_000 ? both.slice(-1) : both;

let cluster: Cluster | undefined;
let made: TestDatabase | undefined;
afterEach(async () => {
  await cluster?.close();
  await made?.drop();
});

function eventOf(n: number, since: number, random: () => number): JsonObject {
  return {
    specversion: '1.0',
    source: 'chaos',
    id: `e${n}`,
    type: 'chaos.state',
    subject: `desk/${n % SUBJECTS}`,
    time: new Date(since + Math.floor(random() * SPAN_MS)).toISOString(),
    data: { n, state: n % 2 === 0 ? 'firing' : 'resolved' },
  };
}

/** Each event once, and of all of them some again, until there are as many as wanted; in any order. */
function deliveriesOf(events: readonly JsonObject[], random: () => number): JsonObject[] {
  const again = Array.from(
    { length: Math.round(events.length * (COPIES - 1)) },
    () => events[Math.floor(random() * events.length)]!,
  );
  return shuffled([...events, ...again], random);
}

async function startCluster(carrier: string): Promise<Stack> {
  made = await createTestDatabase();
  const prefix = `chaos-${randomBytes(6).toString('hex')}.`;
  cluster = await Cluster.start({
    databaseUrl: made.url,
    // Nothing is started: what decision asks for stays on the bus.
    temporal: { address: '127.0.0.1:1', namespace: 'none' },
    ...(carrier === 'Kafka' ? { kafka: { brokers: (await testKafka()).brokers, prefix } } : {}),
    replicas: { 'event-ingest': 2, decision: 2, 'service-catalog': 1 },
  });
  const stack = Stack.at(cluster.url, cluster.key);
  await stack.put(
    flow('chaos/work', [{ id: 'note', set: { done: true } }], { vars: { done: false } }),
    plainRule('chaos/report', 'chaos.state', 'chaos/work', {
      // A late report is a job as well.
      stale: true,
      targets: { paths: ['job/${event.data.n}'] },
    }),
  );
  return stack;
}

/** Kills one of the processes every 1–3 s and starts it again, until it is told to stop; answers how often. */
function nemesis(random: () => number): { kills: Record<string, number>; stop(): Promise<void> } {
  const kills: Record<string, number> = { 'event-ingest': 0, decision: 0 };
  const stopped = new AbortController();
  const loop = (async () => {
    for (let turn = 0; !stopped.signal.aborted; turn += 1) {
      await delay(1_000 + random() * 2_000, undefined, { signal: stopped.signal }).catch(() => undefined);
      if (stopped.signal.aborted) return;
      const app = KILLED[turn % KILLED.length]!;
      // One that works, so that each death is one in the middle of something.
      const alive: Replica[] = [];
      for (const replica of cluster!.of(app))
        if (
          await replica.ready().then(
            () => true,
            () => false,
          )
        )
          alive.push(replica);
      const victim = alive[Math.floor(random() * alive.length)];
      if (victim === undefined) continue;
      await victim.end('SIGKILL');
      kills[app]! += 1;
      victim.start();
    }
  })();
  return {
    kills,
    stop: async () => {
      stopped.abort();
      await loop;
    },
  };
}

async function postUntilAcked(stack: Stack, event: JsonObject): Promise<string> {
  for (;;) {
    const answer = await stack
      .send('POST', '/v1/events', event, { 'content-type': 'application/cloudevents+json' })
      .catch(() => undefined);
    if (answer?.status === 202) return answer.body.items[0].eventId as string;
    if (answer !== undefined && answer.status < 500 && answer.status !== 429)
      throw new Error(`the event was refused: ${answer.status} ${JSON.stringify(answer.body)}`);
    await delay(50);
  }
}

describe.each(carriers)('over $name', ({ name: carrier }) => {
  test(`${chaosEvents} events, delivered ${Math.round(chaosEvents * COPIES)} times in any order between deaths, are one decision each`, async () => {
    const stack = await startCluster(carrier);
    const random = randomOf(seed);
    const since = Date.now() - SPAN_MS;
    const events = Array.from({ length: chaosEvents }, (_, n) => eventOf(n, since, random));
    const deliveries = deliveriesOf(events, random);
    const query = <R extends Record<string, unknown>>(text: string): Promise<R[]> =>
      ask<R>({ databaseUrl: made!.url, temporalAddress: '' }, text);

    const began = performance.now();
    const deaths = nemesis(random);
    let sent = 0;
    const ids = new Map<unknown, Set<string>>();
    await inParallel(deliveries, SENDERS, async (event) => {
      sent += 1;
      await delay(Math.max(0, (sent / RATE) * 1_000 - (performance.now() - began)));
      const id = await postUntilAcked(stack, event);
      ids.set(event['id'], (ids.get(event['id']) ?? new Set()).add(id));
    });
    const sentFor = performance.now() - began;
    await deaths.stop();
    await eventually(
      async () => {
        const [row] = await query<{ open: number }>(
          `SELECT count(*)::int AS open FROM ingest.event e WHERE NOT EXISTS (SELECT 1 FROM decision.trace t WHERE t.event_id = e.event_id)`,
        );
        expect(row?.open).toBe(0);
      },
      { timeoutMs: SETTLE_MS, everyMs: 250 },
    );
    console.log(
      `chaos over ${carrier}: seed ${seed}, ${deliveries.length} deliveries of ${events.length} events in ${(sentFor / 1000).toFixed(1)} s, ` +
        `${JSON.stringify(deaths.kills)} kills, settled after ${((performance.now() - began - sentFor) / 1000).toFixed(1)} s`,
    );
    // Every copy was told the id of the first one.
    expect([...ids.values()].filter((known) => known.size !== 1)).toEqual([]);
    expect(ids.size).toBe(events.length);
    const [facts] = await query(`SELECT
      (SELECT count(*)::int FROM ingest.event) AS events,
      (SELECT count(*)::int FROM decision.decision) AS decisions,
      (SELECT count(DISTINCT event_id)::int FROM decision.decision) AS "decidedEvents",
      (SELECT count(*)::int FROM bus.message WHERE topic = 'events') AS "eventMessages",
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
    expect(Object.values(deaths.kills).every((count) => count > 0)).toBe(true);
  }, 1_800_000);
});
