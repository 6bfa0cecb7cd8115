import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const refuse = (type: string, nonRetryable = true): never => {
  throw ApplicationFailure.create({ type, message: `${type} on purpose`, nonRetryable });
};

describe('halts and crashes', () => {
  it('pauses a refused step without counting an attempt and goes on at the signal with the same key', async () => {
    let halted = true;
    h.on('a.act', () => (halted ? refuse('halted') : { ok: true }));
    const run = await h.run(
      { do: [{ id: 'act', call: 'a.act@1', retry: { maximumAttempts: 1 } }] },
      { attributes: true },
    );
    await eventually(async () => expect(await run.step('act')).toMatchObject({ status: 'paused' }));
    expect((await run.handle.describe()).searchAttributes['OpsPhase']).toEqual(['paused']);
    halted = false;
    const since = Date.now();
    await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    expect((await run.end()).status).toBe('succeeded');
    expect(Date.now() - since).toBeLessThan(4_000);
    const [first, second] = h.recorded.filter((r) => r.type === 'a.act');
    expect(second!.argument.context.key).toBe(first!.argument.context.key);
    expect(run.outcome().steps[0]).toMatchObject({ status: 'succeeded', attempts: 1 });
    expect((await run.handle.describe()).searchAttributes['OpsPhase']).toEqual(['running']);
  });

  it('goes on without a signal, and a cancel under a halt ends the run', async () => {
    h.on('a.act', (_call, n) => (n === 1 ? refuse('halted') : { ok: true }));
    const run = await h.run({ do: [{ id: 'act', call: 'a.act@1' }] });
    expect((await run.end()).status).toBe('succeeded');
    h.on('a.act', () => refuse('halted'));
    const held = await h.run({ do: [{ id: 'act', call: 'a.act@1' }] });
    await eventually(async () => expect(await held.step('act')).toMatchObject({ status: 'paused' }));
    await held.handle.cancel();
    expect(await held.end()).toEqual({ status: 'cancelled' });
  });

  it('asks the gate before a worker of others gets the task', async () => {
    let halted = true;
    h.on(TEMPORAL_NAMES.gateActivity, () => (halted ? refuse('halted') : null));
    await h.startWorkers(['fleet-java']);
    const atoms = { 'a.far@1': { queue: 'fleet-${input.lang}' } };
    const run = await h.run({ do: [{ id: 'far', call: 'a.far@1', with: { lang: 'java' } }] }, { atoms });
    await eventually(async () => expect(await run.step('far')).toMatchObject({ status: 'paused' }));
    expect(run.calls()).toEqual([]);
    halted = false;
    await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    expect((await run.end()).status).toBe('succeeded');
    expect(h.recorded.find((r) => r.type === 'a.far')!.taskQueue).toBe('fleet-java');
  });

  it('goes on where it was when the worker is replaced, without doing a step twice', async () => {
    const run = await h.run({
      do: [
        { id: 'one', call: 'a.one@1' },
        { id: 'rest', wait: { for: '1s' } },
        {
          id: 'each',
          forEach: { in: [1, 2, 3], as: 'n', concurrency: 2 },
          do: [{ id: 'two', call: 'a.two@1', with: '${n}' }],
        },
      ],
    });
    await eventually(async () => expect(await run.step('rest')).toBeDefined());
    await h.stopWorkers();
    await h.startWorkers();
    expect((await run.end()).status).toBe('succeeded');
    // Two items run at a time, in any order.
    expect(run.calls().sort()).toEqual(['a.one:one', 'a.two:each[1]/two', 'a.two:each[2]/two', 'a.two:each[3]/two']);
  });
});

describe('local steps', () => {
  it('retry, fail with their problem and pause under a halt like the others', async () => {
    const atoms = { 'a.q@1': { execution: 'local' as const } };
    h.on('a.q', (_call, n) =>
      n === 1 ? refuse('communication', false) : n === 2 ? refuse('halted') : refuse('atom/a.q/gone'),
    );
    const run = await h.run({ do: [{ id: 'q', call: 'a.q@1' }] }, { atoms });
    await eventually(async () => expect(await run.step('q')).toMatchObject({ status: 'paused' }));
    await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    expect(await run.end()).toMatchObject({
      status: 'failed',
      problem: { code: 'atom/a.q/gone', instance: 'q', retryable: false },
    });
    expect(run.outcome().status).toBe('failed');
  });

  it('run in the flow worker and let a cancel through between two tasks', async () => {
    const quick = { execution: 'local' as const, effect: 'read' as const };
    const run = await h.run(
      { do: [{ id: 'l', loop: { max: { iterations: 45 } }, do: [{ id: 'q', call: 'a.q@1' }] }] },
      { atoms: { 'a.q@1': quick } },
    );
    expect((await run.end()).status).toBe('succeeded');
    expect(run.calls()).toHaveLength(45);
    const { events } = await run.handle.fetchHistory();
    expect(events!.filter((e) => e.timerStartedEventAttributes)).toHaveLength(2);
    expect(events!.filter((e) => e.activityTaskScheduledEventAttributes)).toHaveLength(0);
  });
});
