import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { scaledMs } from './engine/time-scale.pure.js';
import { Harness, compiled } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const types = (): string[] => h.recorded.map((r) => r.type);

describe('a dry run', () => {
  it('calls what reads and nothing else, sends, locks and asks nothing, and does not wait', async () => {
    h.on('r.look', () => ({ up: false }));
    h.on(TEMPORAL_NAMES.dryRunActivity, () => ({ output: { done: true }, from: 'example' }));
    h.on('w.plan', () => ({ would: 'restart' }));
    const started = Date.now();
    const run = await h.run(
      {
        do: [
          { id: 'look', call: 'r.look@1' },
          { id: 'ask', approval: { title: 'sure?', approvers: {} } },
          {
            id: 'crit',
            lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] },
            do: [{ id: 'act', call: 'a.act@1', with: { n: 1 } }],
          },
          {
            id: 'each',
            forEach: { in: [1, 2], batch: { size: 1, pause: '10m' } },
            do: [{ id: 'wipe', call: 'd.wipe@1' }],
          },
          { id: 'quick', call: 'l.quick@1' },
          { id: 'far', call: 'f.far@1' },
          { id: 'plan', call: 'w.plan@1' },
          { id: 'rest', wait: { for: '20m' } },
          { id: 'tell', emit: { type: 'fleet.done' } },
          { id: 'sub', run: 'test/sub@1' },
          { id: 'boom', raise: { type: 'runtime' } },
        ],
      },
      {
        context: { dryRun: true },
        flows: {
          'test/sub@1': compiled({ name: 'test/sub', do: [{ id: 'inner', call: 'a.inner@1' }] }),
        },
        atoms: {
          'r.look@1': { effect: 'read' },
          'a.act@1': { compensate: { call: 'u.act@1' } },
          'd.wipe@1': { effect: 'destroy' },
          'l.quick@1': { execution: 'local' },
          'f.far@1': { queue: 'nobody-polls-this' },
          'w.plan@1': { check: true },
        },
      },
    );
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { instance: 'boom' } });
    // Half an hour of pauses and waits in a thousandth of the time.
    expect(Date.now() - started).toBeLessThan(25_000);
    expect(run.calls()).toEqual(['r.look:look', 'w.plan:plan']);
    const asked = [TEMPORAL_NAMES.dryRunActivity, TEMPORAL_NAMES.reportActivity, 'r.look', 'w.plan'];
    expect(types().filter((type) => !asked.includes(type))).toEqual([]);
    const marks = Object.fromEntries(run.outcome().steps.map((step) => [step.path, step.dryRun]));
    expect(marks).toMatchObject({
      look: undefined,
      ask: 'answered',
      'crit/act': 'example',
      'each[1]/wipe': 'example',
      quick: 'example',
      far: 'example',
      plan: 'check',
      tell: 'not-sent',
      'crit/act~undo': 'example',
    });
    expect(run.outcome().steps.find((step) => step.path === 'crit/act')!.output).toEqual({ done: true });
  });

  it('scales its timers down to a floor, and those of a real run not at all', () => {
    expect(scaledMs({}, 3_600_000)).toBe(3_600_000);
    expect(scaledMs({ dryRun: true }, 3_600_000)).toBe(3_600);
    expect(scaledMs({ dryRun: true }, 1_000)).toBe(10);
    expect(scaledMs({ dryRun: true }, 3)).toBe(3);
    expect(scaledMs({ dryRun: true, timeScale: 0.5 }, 1_000)).toBe(500);
  });
});
