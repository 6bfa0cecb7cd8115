/** kill -9 of the whole platform at the places between two steps that are not one commit. */
import { FAILPOINTS, type FailpointName } from '@opsloop/platform';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { kills, places, randomOf, seed } from './config.js';
import { ledger, type LockWatch, watchLocks } from './facts.js';
import { type Sink, startSink } from './sink.js';
import { FaultStack, ownServers } from './stack.js';
import { applyDocuments, DECISIONS, pairEvent, postUntilAcked, type Sent } from './workload.js';

/** Events of one kill: several runs are in every phase when the process dies. */
const EVENTS = 5;
const SENDERS = 2;

let servers: Awaited<ReturnType<typeof ownServers>>;
let stack: FaultStack;
let sink: Sink;
let watch: LockWatch;
const sent: Sent[] = [];
const random = randomOf(seed);

beforeAll(async () => {
  console.log(`faults: seed ${seed}`);
  [sink, servers] = await Promise.all([startSink(50), ownServers()]);
  stack = await FaultStack.create(servers.env);
  await stack.start();
  await applyDocuments(stack, sink.url);
  watch = watchLocks(stack);
});
afterAll(async () => {
  await watch?.stop();
  await stack?.dispose();
  await sink?.close();
  await servers?.drop();
});

/** Sends until the process has died, and at least `EVENTS`; every event is repeated until it is acknowledged. */
async function sendUntilDeath(name: string): Promise<{ acking: Promise<Sent[]> }> {
  let dead = false;
  let count = 0;
  const acked: Sent[] = [];
  const sender = async (): Promise<void> => {
    while (!dead || count < EVENTS) acked.push(await postUntilAcked(stack, pairEvent(`${name}-${count++}`)));
  };
  const senders = Promise.all(Array.from({ length: SENDERS }, sender));
  senders.catch(() => undefined);
  expect(await stack.died(90_000), stack.tail()).toBe('SIGKILL');
  dead = true;
  return { acking: senders.then(() => acked) };
}

/** Batches share a pass at the front of the pipeline; further behind each run makes its own. */
const passes = (failpoint: FailpointName): number =>
  1 + Math.floor(random() * (/^(ingest|decision)/.test(failpoint) ? 2 : 6));

/** Events pass these; the place where a schedule fires has a spec beside it, with two controls. */
const PASSED = FAILPOINTS.filter(
  (place) => !place.startsWith('schedule.') && (places.length === 0 || places.some((p) => place.startsWith(p))),
);
/** The whole ledger asks Temporal about every run there ever was: of many kills it is read after each of so many. */
const LEDGER_EVERY = 10;
/** At these control alone dies in its own spec, each time; here one of them is enough, by lot. */
const OF_CONTROL = PASSED.filter((place) => /^(control|close)\./.test(place));
const BY_LOT = OF_CONTROL[Math.floor(random() * OF_CONTROL.length)];
const USUAL = places.length > 0 ? PASSED : PASSED.filter((place) => !OF_CONTROL.includes(place) || place === BY_LOT);
/** With `OPSLOOP_FAULT_KILLS=200` all of them, that often in sum, each time at another pass. */
const PLACES: readonly FailpointName[] =
  kills === 0 ? USUAL : Array.from({ length: Math.max(kills, PASSED.length) }, (_, i) => PASSED[i % PASSED.length]!);

// One death follows the other, in the middle of what the last one left behind; all is judged after the last of them.
test.each(PLACES.map((place, i) => [place, i + 1] as const))(
  'kill -9 at %s (%i) loses nothing and does nothing twice',
  { timeout: 240_000 },
  async (failpoint, turn) => {
    const since = performance.now();
    const pass = passes(failpoint);
    stack.arm(`${failpoint}:${pass}`);
    const { acking } = await sendUntilDeath(`${failpoint}-${turn}`);
    stack.arm('');
    const died = performance.now();
    await stack.start();
    const seconds = (from: number, to = performance.now()): string => ((to - from) / 1000).toFixed(1);
    console.log(
      `faults: ${failpoint}:${pass} died after ${seconds(since, died)} s, was up again ${seconds(died)} s later`,
    );
    sent.push(...(await acking));
    expect(watch.unlocked).toEqual([]);
    if (turn % LEDGER_EVERY !== 0 && turn !== PLACES.length) return;
    const settling = performance.now();
    const acked = sent.map(({ eventId }) => ({ eventId, decisions: DECISIONS }));
    const { facts, violations } = await ledger(stack, acked, sink, watch);
    console.log(
      `faults: ${facts.acked.length} events, ${facts.runs.length} runs, ${facts.sink.applied.length} effects, ${seconds(settling)} s to the end`,
    );
    expect(violations, stack.tail()).toEqual([]);
    expect(facts.runs).toHaveLength(sent.length * DECISIONS);
  },
);

test('the process died once at each place, and only there', () => {
  expect(stack.deaths).toBe(PLACES.length);
  expect(stack.alive).toBe(true);
  expect(watch.looks).toBeGreaterThan(0);
  // Both repeats really happened: an event delivered again, and an effect asked for again.
  expect(sent.filter((s) => s.tries > 1).length).toBeGreaterThan(0);
  expect(sink.applied.filter((a) => a.deliveries > 1).length).toBeGreaterThan(0);
});
