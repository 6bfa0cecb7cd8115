import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import type { Json, Step } from '@opsloop/contracts';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, compiled, type Run } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const refuse = (type: string, nonRetryable = true): never => {
  throw ApplicationFailure.create({ type, message: `${type} on purpose`, nonRetryable });
};
const call = (id: string, atom = `a.${id}@1`): Step => ({ id, call: atom });
const times = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
/** How often each step was executed, by path. */
function counts(prefix: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const r of h.recorded) {
    if (r.type.startsWith(prefix)) out[r.argument.context.step] = (out[r.argument.context.step] ?? 0) + 1;
  }
  return out;
}
/** Seconds of the first timer of its newest Temporal run. */
async function firstTimer(run: Run): Promise<number> {
  const { events } = await run.handle.fetchHistory();
  const [timer] = events!.flatMap((event) => event.timerStartedEventAttributes ?? []);
  return Number(timer!.startToFireTimeout!.seconds) + timer!.startToFireTimeout!.nanos! / 1e9;
}
const once = (found: Record<string, number>): void => {
  expect(Object.entries(found).filter(([, n]) => n !== 1)).toEqual([]);
};

describe('leaving for a new Temporal run', () => {
  it('from inside concurrent items, whose blocks, variables and outputs go on where they were', async () => {
    h.on('a.one', (c) => ({ got: c.input }));
    h.on('a.three', (c) => ({ got: c.input }));
    const run = await h.run(
      {
        vars: { base: 100 },
        do: [
          call('first'),
          {
            id: 'each',
            forEach: { in: '${input.list}', as: 'n', concurrency: 8, collect: '${steps.three.output.got}' },
            do: [
              {
                id: 'block',
                try: [
                  { id: 'one', call: 'a.one@1', with: '${n}' },
                  { id: 'w', wait: { for: '30ms' } },
                  { id: 'p', parallel: {}, do: [call('left'), call('right')] },
                  { id: 'l', loop: { max: { iterations: 2 } }, do: [call('turn')] },
                ],
                finally: [call('close')],
              },
              { id: 'three', call: 'a.three@1', with: { n: '${steps.one.output.got}', base: '${vars.base}' } },
            ],
          },
        ],
        output: '${steps.each.output}',
      },
      { input: { list: times(16) }, continueAfter: 100 },
    );
    const end = await run.end();
    expect(end).toEqual({ status: 'succeeded', output: times(16).map((n) => ({ n, base: 100 })) });
    await run.hasContinued(3);
    const seen = counts('a.');
    once(seen);
    // first + 16 × (one, left, right, two turns, close, three)
    expect(Object.keys(seen)).toHaveLength(1 + 16 * 7);
    expect(h.recorded.filter((r) => r.type === TEMPORAL_NAMES.reportActivity)).toHaveLength(1);
  }, 60_000);

  it('takes what is left of waits along, in every branch', async () => {
    const run = await h.run(
      {
        do: [
          {
            id: 'p',
            parallel: {},
            do: [
              { id: 'long', do: [{ id: 'w', wait: { for: '1h' } }, call('after')] },
              { id: 'busy', loop: { max: { iterations: 10 } }, do: [call('turn')] },
            ],
          },
        ],
      },
      { continueAfter: 25 },
    );
    await eventually(() => expect(Object.keys(counts('a.turn'))).toHaveLength(10));
    await run.hasContinued(2);
    // A restart of the wait would have started its hour again.
    expect(await firstTimer(run)).toBeLessThan(3_600);
    await run.steer({ act: 'skip', path: 'p/long/w' });
    expect((await run.end()).status).toBe('succeeded');
    once(counts('a.'));
  });

  it('keeps the fence of a lock that it holds', async () => {
    const body = [{ id: 'l', loop: { max: { iterations: 10 } }, do: [call('turn')] }];
    const run = await h.run(
      { do: [{ id: 'crit', do: body, lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] } }] },
      { continueAfter: 30 },
    );
    expect((await run.end()).status).toBe('succeeded');
    await run.hasContinued(1);
    const types = h.recorded.map((r) => r.type);
    expect(types.filter((t) => t === TEMPORAL_NAMES.claimActivity)).toHaveLength(1);
    expect(types.filter((t) => t === TEMPORAL_NAMES.releaseActivity)).toHaveLength(1);
    expect(types.indexOf(TEMPORAL_NAMES.releaseActivity)).toBeGreaterThan(types.lastIndexOf('a.turn'));
    expect(h.recorded.filter((r) => r.type === 'a.turn').every((r) => r.argument.context.fence === '77')).toBe(true);
  });

  it('in the middle of a compensation and of a finally, after an error and after a cancel', async () => {
    const undoable = (n: number): Step[] => times(n).map((i) => call(`s${i}`, 'a.do@1'));
    const atoms = { 'a.do@1': { compensate: { call: 'u.undo@1' } } };
    const doc = (last: Step) => ({
      do: [
        {
          id: 't',
          try: [
            ...undoable(6),
            {
              id: 'p',
              parallel: {},
              do: [
                { id: 'b1', do: undoable2('x', 3) },
                { id: 'b2', do: undoable2('y', 3) },
              ],
            },
            last,
          ],
          finally: [{ id: 'fl', loop: { max: { iterations: 8 } }, do: [call('clean')] }],
        },
      ] as Step[],
    });
    const undoable2 = (p: string, n: number): Step[] => times(n).map((i) => call(`${p}${i}`, 'a.do@1'));
    h.on('a.boom', () => refuse('runtime'));
    const failed = await h.run(doc(call('boom')), { atoms, continueAfter: 40 });
    expect(await failed.end()).toMatchObject({ status: 'failed', problem: { code: 'runtime', instance: 't/boom' } });
    await failed.hasContinued(3);
    once(counts('u.'));
    once(counts('a.'));
    expect(Object.keys(counts('u.'))).toHaveLength(12);
    const order = h.recorded.filter((r) => r.type === 'u.undo').map((r) => r.argument.context.step);
    expect(order.slice(-6)).toEqual(times(6).map((i) => `t/s${5 - i}~undo`));
    // The branches of the parallel are undone side by side, before what came before them.
    expect(
      order
        .slice(0, 6)
        .map((p) => p.slice(0, 6))
        .sort(),
    ).toEqual([...times(3).map(() => 't/p/b1'), ...times(3).map(() => 't/p/b2')]);

    h.reset();
    const cancelled = await h.run(doc({ id: 'w', wait: { for: '1h' } }), { atoms, continueAfter: 40 });
    await eventually(async () => expect((await cancelled.step('t/w'))?.status).toBe('waiting'));
    await cancelled.handle.cancel();
    expect(await cancelled.end()).toEqual({ status: 'cancelled' });
    once(counts('u.'));
    once(counts('a.'));
    expect(Object.keys(counts('u.'))).toHaveLength(12);
    expect(h.recorded.filter((r) => r.type === 'a.clean')).toHaveLength(8);
    expect(cancelled.outcome().status).toBe('cancelled');
  }, 60_000);

  it('undoes what branches did that had left when another branch failed', async () => {
    let fails = false;
    h.on('a.slow', async () => {
      await eventually(() => expect(fails).toBe(true));
      return refuse('runtime');
    });
    const run = await h.run(
      {
        do: [
          {
            id: 'p',
            parallel: {},
            do: [
              { id: 'a', try: [call('held'), { id: 'w', wait: { for: '1h' } }], finally: [call('close')] },
              { id: 'busy', loop: { max: { iterations: 40 } }, do: [call('turn')] },
              call('slow'),
            ],
          },
        ],
      },
      { atoms: { 'a.held@1': { compensate: { call: 'u.held@1' } } }, continueAfter: 70 },
    );
    // The others leave while `slow` is under way, and leaving waits for it.
    await eventually(() => expect(h.recorded.filter((r) => r.type === 'a.turn').length).toBeGreaterThan(5));
    await eventually(async () => expect((await run.handle.describe()).historyLength).toBeGreaterThan(70));
    fails = true;
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'runtime', instance: 'p/slow' } });
    await run.hasContinued(1);
    expect(counts('u.')).toEqual({ 'p/a/held~undo': 1 });
    expect(counts('a.close')).toEqual({ 'p/a/close': 1 });
  });

  it('fails a run whose state fits no payload, and undoes what it did', async () => {
    h.on('a.big', () => 'x'.repeat(150_000));
    const run = await h.run(
      {
        do: [
          call('held'),
          { id: 'each', forEach: { in: '${input.list}', as: 'n', collect: '${steps.big.output}' }, do: [call('big')] },
        ],
        finally: [call('end')],
      },
      {
        input: { list: times(30) },
        atoms: { 'a.held@1': { compensate: { call: 'u.held@1' } } },
        continueAfter: 130,
      },
    );
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'payload-too-large' } });
    expect(counts('u.')).toEqual({ 'held~undo': 1 });
    expect(counts('a.end')).toEqual({ end: 1 });
    expect(run.outcome().status).toBe('failed');
  });

  it('does not count the time of a step timeout twice', async () => {
    const run = await h.run(
      {
        do: [
          {
            id: 'd',
            timeout: '1h',
            do: [
              { id: 'l', loop: { max: { iterations: 10 } }, do: [call('turn')] },
              { id: 'w', wait: { for: '2h' } },
            ],
          },
        ],
      },
      { continueAfter: 25 },
    );
    await eventually(async () => expect(await run.step('d/w')).toMatchObject({ status: 'waiting' }));
    // Counted anew in each of its Temporal runs, the time would be the whole hour again.
    expect(await firstTimer(run)).toBeLessThan(3_600);
    await run.handle.cancel();
    expect(await run.end()).toEqual({ status: 'cancelled' });
    await run.hasContinued(2);
  });

  it('waits for sub-flows under way, and carries what a return gave', async () => {
    const child = compiled({
      name: 'test/child',
      do: [{ id: 'w', wait: { for: '400ms' } }, call('inner'), { id: 'r', return: { n: '${input.n}' } }],
    });
    const run = await h.run(
      {
        do: [
          {
            id: 'p',
            parallel: {},
            do: [
              { id: 'sub', run: 'test/child@1', with: { n: 7 } },
              { id: 'busy', loop: { max: { iterations: 20 } }, do: [call('turn')] },
            ],
          },
        ],
        output: '${steps.sub.output.n}' as Json,
      },
      { flows: { 'test/child@1': child }, continueAfter: 50 },
    );
    expect(await run.end()).toEqual({ status: 'succeeded', output: 7 });
    once(counts('a.'));
    expect(counts('a.inner')).toEqual({ 'p/sub/inner': 1 });
  });
});

describe('isolated batches', () => {
  it('run in workflows of their own, with what stands around them, and count together', async () => {
    h.on('a.fix', (c) => ((c.input as { n: number }).n === 5 ? refuse('runtime') : c.input));
    const run = await h.run(
      {
        vars: { base: 10 },
        do: [
          { id: 'first', call: 'a.first@1' },
          {
            id: 'each',
            forEach: {
              in: '${input.list}',
              as: 'n',
              batch: { size: 4, gate: { id: 'gate', call: 'a.gate@1' } },
              concurrency: 2,
              isolate: true,
              tolerate: { failures: 1 },
              onItemError: 'compensate',
              collect: '${steps.fix.output}',
            },
            do: [
              call('drain'),
              {
                id: 'fix',
                call: 'a.fix@1',
                with: { n: '${n}', base: '${vars.base}', first: '${steps.first.output.ok}', b: '${batch.number}' },
              },
            ],
          },
        ],
        output: { done: '${steps.each.output}', failed: '${steps.each.failed}' },
      },
      {
        input: { list: times(10) },
        atoms: { 'a.drain@1': { compensate: { call: 'u.drain@1' } } },
        continueAfter: 40,
      },
    );
    const end = await run.end();
    expect(end).toMatchObject({
      status: 'succeeded',
      output: { failed: [{ key: '5', error: { code: 'runtime', instance: 'each[5]/fix' } }] },
    });
    expect((end.output as { done: object[] }).done).toEqual(
      times(10)
        .filter((n) => n !== 5)
        .map((n) => ({ n, base: 10, first: true, b: Math.floor(n / 4) + 1 })),
    );
    expect(counts('u.')).toEqual({ 'each[5]/drain~undo': 1 });
    once(counts('a.'));
    const batches = run.outcome().steps.filter((s) => s.path.startsWith('each[batch:') && s.workflowId !== undefined);
    expect(batches.map((s) => [s.path, s.status])).toEqual(times(3).map((n) => [`each[batch:${n + 1}]`, 'succeeded']));
    expect(h.recorded.filter((r) => r.type === TEMPORAL_NAMES.reportActivity)).toHaveLength(1);
  });

  it('stop when too many failed, undo on cancel, and hear what operators say', async () => {
    h.on('a.bad', () => refuse('runtime'));
    const each = (over: object, body: Step[]): Step =>
      ({
        id: 'each',
        forEach: { in: [1, 2, 3, 4], as: 'n', batch: { size: 2 }, isolate: true, ...over },
        do: body,
      }) as Step;
    const stopped = await h.run({ do: [each({ tolerate: { failures: 1 } }, [call('bad')])] });
    expect(await stopped.end()).toMatchObject({ problem: { code: 'batch-threshold', failed: ['1', '2'] } });

    const atoms = { 'a.drain@1': { compensate: { call: 'u.drain@1' } } };
    const held = await h.run(
      { do: [each({}, [call('drain'), { id: 'w', wait: { for: '1h' } }, call('tail')])] },
      { atoms },
    );
    await eventually(() => expect(counts('a.drain')).toEqual({ 'each[1]/drain': 1 }));
    await held.steer({ act: 'skip', path: 'each[1]/w' });
    await eventually(() => expect(counts('a.tail')).toEqual({ 'each[1]/tail': 1 }));
    await eventually(() => expect(counts('a.drain')).toMatchObject({ 'each[2]/drain': 1 }));
    await held.handle.cancel();
    expect(await held.end()).toEqual({ status: 'cancelled' });
    expect(counts('u.')).toEqual({ 'each[2]/drain~undo': 1 });
  });
});
