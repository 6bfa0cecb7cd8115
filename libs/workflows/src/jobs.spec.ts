import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { PinnedAtom } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { ApplicationFailure } from '@temporalio/common';
import { Harness } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const notYet = (): never => {
  throw ApplicationFailure.create({ type: 'not-yet', message: 'not yet' });
};
const refuse = (type: string, nonRetryable = true): never => {
  throw ApplicationFailure.create({ type, message: `${type} on purpose`, nonRetryable });
};
const job = (patch: Partial<PinnedAtom> = {}): { atoms: Record<string, Partial<PinnedAtom>> } => ({
  atoms: { 'vm.build@1': { job: { every: '20ms', cancels: true }, ...patch } },
});
const doc = {
  do: [{ id: 'build', title: 'Build', call: 'vm.build@1', with: { base: 'b' } }],
  output: '${steps.build.output}',
};
const phases = (): string[] => h.recorded.filter((r) => r.type.startsWith('vm.')).map((r) => r.type.split('.')[2]!);

describe('a job', () => {
  it('is started once, polled until it has ended, and gives the output of the last poll', async () => {
    h.on('vm.build.start', () => ({ id: 17 }));
    h.on('vm.build.poll', (_call, n) => (n < 4 ? notYet() : { image: 'i-1' }));
    const run = await h.run(doc, job());
    expect(await run.end()).toEqual({ status: 'succeeded', output: { image: 'i-1' } });
    expect(phases()).toEqual(['start', 'poll', 'poll', 'poll', 'poll']);
    const [start, poll] = h.recorded;
    expect(start!.argument).toMatchObject({
      input: { base: 'b' },
      job: { phase: 'start' },
      gate: { atom: 'vm.build' },
    });
    expect(poll!.argument).toMatchObject({ input: { base: 'b' }, job: { phase: 'poll', id: '17', attempts: 3 } });
    expect(poll!.argument.gate).toBeUndefined();
    expect(poll!.argument.context.key).toBe(start!.argument.context.key);
    expect(run.outcome().steps[0]).toMatchObject({ status: 'succeeded', jobId: '17', title: 'Build' });
    const { events } = await run.handle.fetchHistory();
    // However often it was polled: 6 events for the start, 6 for the wait.
    expect(events!.filter((e) => e.activityTaskScheduledEventAttributes)).toHaveLength(2);
  });

  it('whose start fails is tried again by the step’s policy, with the same key, and never polled', async () => {
    h.on('vm.build.start', () => refuse('communication', false));
    const run = await h.run(doc, job());
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'communication', attempt: 3 } });
    expect(phases()).toEqual(['start', 'start', 'start']);
    expect(new Set(h.recorded.filter((r) => r.type === 'vm.build.start').map((r) => r.argument.context.key)).size).toBe(
      1,
    );
  });

  it('that failed fails its step and is not told to stop', async () => {
    h.on('vm.build.start', () => ({ id: 'j' }));
    h.on('vm.build.poll', () => refuse('atom/vm.build/failed'));
    const run = await h.run(doc, job());
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'atom/vm.build/failed' } });
    expect(phases()).toEqual(['start', 'poll']);
  });

  it('is told to stop when the run is cancelled, and the step waits for its end', async () => {
    let stopped = false;
    h.on('vm.build.start', () => ({ id: 'j' }));
    h.on('vm.build.poll', () => (stopped ? refuse('atom/vm.build/failed') : notYet()));
    h.on('vm.build.cancel', () => {
      stopped = true;
      return {};
    });
    const run = await h.run(doc, job());
    await eventually(() => expect(phases().filter((p) => p === 'poll').length).toBeGreaterThan(1));
    await run.handle.cancel();
    expect(await run.end()).toEqual({ status: 'cancelled' });
    expect(phases().filter((p) => p !== 'poll')).toEqual(['start', 'cancel']);
    expect(phases().at(-1)).toBe('poll');
    expect(h.recorded.find((r) => r.type === 'vm.build.cancel')!.argument).toMatchObject({
      job: { phase: 'cancel', id: 'j' },
    });
  });

  it('is told to stop when its time is over', async () => {
    h.on('vm.build.start', () => ({ id: 'j' }));
    h.on('vm.build.poll', () => (phases().includes('cancel') ? refuse('atom/vm.build/failed') : notYet()));
    const run = await h.run(doc, job({ timeout: { scheduleToClose: '1s' } }));
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'timeout' } });
    expect(phases().filter((p) => p !== 'poll')).toEqual(['start', 'cancel']);
  });

  it('cannot go on without an id', async () => {
    h.on('vm.build.start', () => ({ job: 'j' }));
    const run = await h.run(doc, job());
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'configuration' } });
  });

  it('of an atom with a manifest goes to our own worker under the atom’s name', async () => {
    h.on('vm.build', (call) => ((call['job'] as { phase: string }).phase === 'start' ? { id: 'j' } : { image: 'i' }));
    const manifest = { name: 'vm.build', version: '1.0.0', job: { poll: {} } };
    const run = await h.run(doc, job({ manifest }));
    expect(await run.end()).toEqual({ status: 'succeeded', output: { image: 'i' } });
    expect(h.recorded.filter((r) => r.type === 'vm.build').map((r) => r.activityId)).toEqual([
      'build#0',
      'build#0/poll',
    ]);
  });

  it('is not there in a dry run: a start that can be asked says what would happen', async () => {
    h.on('vm.build.start', () => ({ would: 'build' }));
    const run = await h.run(doc, { ...job({ check: true }), context: { dryRun: true } });
    expect(await run.end()).toEqual({ status: 'succeeded', output: { would: 'build' } });
    expect(phases()).toEqual(['start']);
  });
});

describe('a read that may be answered from memory', () => {
  const reads = {
    do: [
      { id: 'one', call: 'rack.read@1', with: { rack: 'r7', noise: 1 } },
      { id: 'two', call: 'rack.read@1', with: { rack: 'r7', noise: 2 } },
    ],
    output: ['${steps.one.output}', '${steps.two.output}'],
  };
  const cache = { key: '${input.rack}', ttl: '1m' };

  it('of our own worker carries the key, and the record says what came from memory', async () => {
    h.on('rack.read', (_call, n) => ({ output: { n }, ...(n > 1 ? { cachedAt: '2026-01-01T00:00:00.000Z' } : {}) }));
    const run = await h.run(reads, { atoms: { 'rack.read@1': { effect: 'read', cache } } });
    expect(await run.end()).toEqual({ status: 'succeeded', output: [{ n: 1 }, { n: 2 }] });
    const [one, two] = h.recorded;
    expect(one!.argument['cache']).toMatchObject({ ttlMs: 60_000 });
    expect(two!.argument['cache']).toEqual(one!.argument['cache']);
    expect(run.outcome().steps.map((s) => s.cachedAt)).toEqual([undefined, '2026-01-01T00:00:00.000Z']);
  });

  it('of a worker of others goes through the memory of the flow’s worker', async () => {
    const kept = new Map<string, unknown>();
    h.on(TEMPORAL_NAMES.cacheActivity, (request) => {
      const { key, keep } = request as unknown as { key: string; keep?: { output: unknown } };
      if (keep !== undefined) kept.set(key, { output: keep.output, cachedAt: '2026-01-01T00:00:00.000Z' });
      return keep === undefined ? (kept.get(key) ?? null) : null;
    });
    const run = await h.run(reads, {
      atoms: { 'rack.read@1': { effect: 'read', cache, queue: TEMPORAL_NAMES.flowQueue } },
    });
    expect(await run.end()).toEqual({ status: 'succeeded', output: [{ ok: true }, { ok: true }] });
    expect(run.calls()).toEqual(['rack.read:one']);
    expect(h.recorded.find((r) => r.type === 'rack.read')!.argument['cache']).toBeUndefined();
    expect(run.outcome().steps.map((s) => s.cachedAt)).toEqual([undefined, '2026-01-01T00:00:00.000Z']);
  });
});

describe('what a worker of others answers', () => {
  const output = { schema: { type: 'object', required: ['image'] } };
  const far: Partial<PinnedAtom> = { queue: TEMPORAL_NAMES.flowQueue, output };
  const checks = (): unknown[] => h.recorded.filter((r) => r.type === TEMPORAL_NAMES.outputActivity);
  const refuses = (): Harness =>
    h.on(TEMPORAL_NAMES.outputActivity, (request) => {
      if (!Object.hasOwn(request['output'] as object, 'image')) refuse('validation');
    });

  it('goes on when it fits; a step that answers wrongly fails, is not repeated and is undone', async () => {
    refuses();
    const atoms = { 'vm.build@1': { ...far, compensate: { call: 'vm.drop@1' } } };
    const run = await h.run(doc, { atoms });
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'validation', step: 'build' } });
    expect(run.calls()).toEqual(['vm.build:build', 'vm.drop:build~undo']);
    h.on('vm.build', () => ({ image: 'i-1' }));
    expect(checks()).toHaveLength(1);
    expect(await (await h.run(doc, { atoms })).end()).toEqual({ status: 'succeeded', output: { image: 'i-1' } });
    expect(checks()).toHaveLength(1);
  });

  it('is the answer of the last poll where it is a job, and nothing in a dry run', async () => {
    refuses();
    h.on('vm.build.start', () => ({ id: 'j' })).on('vm.build.poll', (_call, n) => (n < 2 ? notYet() : { image: 1 }));
    expect(await (await h.run(doc, job(far))).end()).toMatchObject({ status: 'succeeded' });
    expect(checks()).toHaveLength(0);
    h.on('vm.build.poll', () => ({ id: 'j' }));
    expect(await (await h.run(doc, job(far))).end()).toMatchObject({ problem: { code: 'validation' } });
    expect(checks()).toMatchObject([{ argument: { atom: 'vm.build@1.0.0', output: { id: 'j' } } }]);
    const dry = await h.run(doc, { atoms: { 'vm.build@1': { ...far, effect: 'read' } }, context: { dryRun: true } });
    expect(await dry.end()).toMatchObject({ status: 'succeeded' });
    expect(checks()).toHaveLength(1);
  });

  it('is not kept in memory when it does not match', async () => {
    refuses();
    const cache = { ttl: '1m' };
    const run = await h.run(doc, { atoms: { 'vm.build@1': { ...far, effect: 'read', cache } } });
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'validation' } });
    expect(h.recorded.filter((r) => r.type === TEMPORAL_NAMES.cacheActivity)).toHaveLength(1);
  });
});

it('a step may choose how its atom runs', async () => {
  const run = await h.run(
    {
      do: [
        { id: 'here', call: 'a.quick@1', execution: 'local' },
        { id: 'there', call: 'a.local@1', execution: 'activity' },
      ],
    },
    { atoms: { 'a.local@1': { execution: 'local' } } },
  );
  expect(await run.end()).toMatchObject({ status: 'succeeded' });
  const { events } = await run.handle.fetchHistory();
  const types = events!.flatMap((e) => e.activityTaskScheduledEventAttributes?.activityType?.name ?? []);
  expect(types).toEqual(['a.local']);
});
