import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import { TEMPORAL_NAMES, stepKey } from '@opsloop/contracts';
import type { FlowDocument, Json, JsonObject, Step } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, type Run, type RunOptions, compiled } from '../test/harness.js';
import { retryState } from './engine/retry-state.pure.js';
import type { RetryRequest } from './engine/retry-state.pure.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

type Doc = Partial<FlowDocument> & { do: Step[] };
const call = (id: string, atom = `a.${id}@1`): Step => ({ id, call: atom });
const refuse = (type = 'runtime'): never => {
  throw ApplicationFailure.create({ type, message: `${type} on purpose`, nonRetryable: true });
};
/** Runs it to its bad end, then a retry of it; what the retry called. */
async function retried(
  doc: Doc,
  options: RunOptions,
  request: RetryRequest,
  between: () => void,
): Promise<{ first: Run; second: Run; end: Awaited<ReturnType<Run['end']>> }> {
  const first = await h.run(doc, options);
  await first.end();
  between();
  const carried = retryState(compiled(doc, options), first.outcome().journal!, request);
  const second = await h.run(doc, { ...options, carried, context: { retryOf: first.id, epoch: 1 } });
  return { first, second, end: await second.end() };
}

describe('a retry of a failed run', () => {
  it('takes over what was done, outputs and vars, and executes the failed step with a new key', async () => {
    h.on('a.one', () => ({ token: 't-1' }));
    h.on('a.bad', () => refuse());
    const doc: Doc = {
      vars: { n: 0 },
      do: [
        call('one'),
        { id: 'set', set: { n: 7 } },
        {
          id: 't',
          try: [
            call('inner'),
            {
              id: 'l',
              loop: { max: { iterations: 3 } },
              do: [call('turn'), { ...call('bad'), if: { '==': [{ var: 'iteration' }, 2] } } as Step],
            },
          ],
          catch: [{ errors: { type: 'runtime' }, do: [call('note'), { id: 'again', raise: { type: 'runtime' } }] }],
          finally: [call('close')],
        },
        { id: 'end', call: 'a.end@1', with: { token: '${steps.one.output.token}', n: '${vars.n}' } },
      ],
    };
    const { first, second, end } = await retried(doc, {}, { from: 'failed' }, () => h.on('a.bad', () => 'well'));
    expect(first.calls()).toEqual([
      'a.one:one',
      'a.inner:t/inner',
      'a.turn:t/l[1]/turn',
      'a.turn:t/l[2]/turn',
      'a.bad:t/l[2]/bad',
      'a.note:t/note',
      'a.close:t/close',
    ]);
    expect(end.status).toBe('succeeded');
    expect(second.calls()).toEqual(['a.bad:t/l[2]/bad', 'a.turn:t/l[3]/turn', 'a.close:t/close', 'a.end:end']);
    const bad = h.recorded.findLast((r) => r.type === 'a.bad')!;
    expect(bad.argument.context.key).toBe(stepKey(second.id, 't/l[2]/bad', 1));
    expect(h.recorded.findLast((r) => r.type === 'a.end')!.argument.input).toEqual({ token: 't-1', n: 7 });
    expect(second.outcome().steps.find((s) => s.path === 'one')).toMatchObject({ status: 'succeeded', reused: true });
  });

  it('does again what was undone, and what a cancel cut short', async () => {
    h.on('a.boom', () => refuse());
    const atoms = { 'a.drain@1': { compensate: { call: 'u.drain@1' } } };
    const doc: Doc = {
      do: [call('look'), call('drain'), call('boom'), { id: 'w', wait: { for: '1h' } }, call('last')],
    };
    const { second, end } = await retried(
      { do: doc.do.filter((s) => s.id !== 'w') },
      { atoms },
      { from: 'failed' },
      () => h.on('a.boom', () => 1),
    );
    expect(end.status).toBe('succeeded');
    expect(second.calls()).toEqual(['a.drain:drain', 'a.boom:boom', 'a.last:last']);

    const cut = await h.run(doc, { atoms });
    await eventually(async () => expect((await cut.step('w'))?.status).toBe('waiting'));
    await cut.handle.cancel();
    expect(await cut.end()).toEqual({ status: 'cancelled' });
    const carried = retryState(compiled(doc, { atoms }), cut.outcome().journal!, { from: 'failed' });
    const on = await h.run(doc, { atoms, carried });
    await eventually(async () => expect((await on.step('w'))?.status).toBe('waiting'));
    expect(on.calls()).toEqual(['a.drain:drain']);
    await on.handle.terminate();
  });

  it('runs the failed items again from where they failed, or only some of them', async () => {
    let broken = new Set(['b', 'd']);
    h.on('a.fix', (c) => (broken.has(c.input as string) ? refuse() : `fixed ${c.input as string}`));
    const doc: Doc = {
      do: [
        {
          id: 'each',
          forEach: { in: ['a', 'b', 'c', 'd'], as: 'n', tolerate: { failures: 2 }, collect: '${steps.fix.output}' },
          do: [call('drain'), { id: 'fix', call: 'a.fix@1', with: '${n}' }],
        },
        { id: 'check', if: { '>': [{ length: { var: 'steps.each.failed' } }, 0] }, raise: { type: 'runtime' } } as Step,
      ],
      output: '${steps.each.output}' as Json,
    };
    // The forEach itself has ended well, so it runs again from its own path, all of its items.
    const strict: Doc = {
      ...doc,
      do: [
        {
          ...doc.do[0],
          forEach: { ...(doc.do[0] as { forEach: object }).forEach, concurrency: 4, tolerate: { failures: 1 } },
        } as Step,
      ],
    };
    const all = await retried(strict, {}, { from: 'failed' }, () => (broken = new Set()));
    expect(all.end).toEqual({ status: 'succeeded', output: ['fixed a', 'fixed b', 'fixed c', 'fixed d'] });
    expect(all.second.calls().sort()).toEqual(['a.fix:each[b]/fix', 'a.fix:each[d]/fix']);

    broken = new Set(['b', 'd']);
    const some = await retried(strict, {}, { from: 'failed', items: ['d'] }, () => (broken = new Set(['b'])));
    expect(some.second.calls()).toEqual(['a.fix:each[d]/fix']);
    expect(some.end).toMatchObject({ status: 'succeeded', output: ['fixed a', 'fixed c', 'fixed d'] });
    broken = new Set(['b', 'd']);
    const done = await retried(strict, {}, { from: 'failed', items: ['a'] }, () => undefined);
    expect(done.second.calls()).toEqual(['a.drain:each[a]/drain', 'a.fix:each[a]/fix']);
  });

  it('from a step on: what stands after it runs again, what stands beside it does not', async () => {
    h.on('a.boom', () => refuse());
    const doc: Doc = {
      do: [
        call('one'),
        { id: 'p', parallel: {}, do: [call('a'), { ...call('b'), needs: ['a'] } as Step, call('c')] },
        call('boom'),
      ],
    };
    const { second, end } = await retried(doc, {}, { from: 'one' }, () => h.on('a.boom', () => 1));
    expect(end.status).toBe('succeeded');
    expect(second.calls()[0]).toBe('a.one:one');
    expect(second.calls()).toHaveLength(5);

    h.on('a.boom', () => refuse());
    const first = await h.run(doc);
    await first.end();
    const journal = first.outcome().journal!;
    const ir = compiled(doc);
    const calls = async (from: string): Promise<string[]> => {
      h.on('a.boom', () => 1);
      const run = await h.run(doc, { carried: retryState(ir, journal, { from }) });
      expect((await run.end()).status).toBe('succeeded');
      return run.calls().sort();
    };
    // The block has ended well, so its steps are not told apart any more: it runs again whole.
    expect(await calls('p')).toEqual(['a.a:p/a', 'a.b:p/b', 'a.boom:boom', 'a.c:p/c']);
    expect(await calls('boom')).toEqual(['a.boom:boom']);
    expect(() => retryState(ir, journal, { from: 'nowhere' })).toThrow('has no step');
    expect(() => retryState(ir, journal, { from: 'failed', items: ['x'] })).toThrow('no forEach');
  });

  it('goes on inside a failed sub-flow, and does not start again what had ended there', async () => {
    h.on('a.boom', () => refuse());
    const child = compiled({
      name: 'test/child',
      do: [call('inner'), { id: 't', try: [call('deep'), call('boom')] }],
      output: '${steps.inner.output.ok}' as Json,
    });
    const doc: Doc = { do: [call('one'), { id: 'sub', run: 'test/child@1' }], output: '${steps.sub.output}' as Json };
    const options: RunOptions = { flows: { 'test/child@1': child } };
    const first = await h.run(doc, options);
    expect((await first.end()).status).toBe('failed');
    h.on('a.boom', () => 1);
    const { workflowId } = first.outcome().steps.find((s) => s.path === 'sub')!;
    const known = await h.client.workflow.getHandle(workflowId!).query<JsonObject>(TEMPORAL_NAMES.journalQuery);
    const carried = {
      ...retryState(compiled(doc, options), first.outcome().journal!, { from: 'failed' }),
      flows: { sub: retryState(child, known, { from: 'failed' }) },
    };
    const second = await h.run(doc, { ...options, carried, context: { retryOf: first.id, epoch: 1 } });
    expect(await second.end()).toEqual({ status: 'succeeded', output: true });
    expect(second.calls()).toEqual(['a.boom:sub/t/boom']);
  });
});
