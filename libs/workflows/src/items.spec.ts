import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import type { Json } from '@opsloop/contracts';
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

describe('side by side', () => {
  it('starts branches when what they need has ended, at most `limit` at a time', async () => {
    let now = 0;
    let most = 0;
    const busy = async (): Promise<Json> => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 50));
      now -= 1;
      return { ok: true };
    };
    for (const name of ['a.a', 'a.b', 'a.c', 'a.d']) h.on(name, busy);
    const run = await h.run({
      do: [
        {
          id: 'p',
          parallel: { limit: 2 },
          do: [
            { id: 'a', needs: ['b'], call: 'a.a@1' },
            { id: 'b', call: 'a.b@1' },
            { id: 'c', needs: ['a'], call: 'a.c@1' },
            { id: 'd', call: 'a.d@1' },
          ],
        },
      ],
      output: '${steps.c.output.ok}',
    });
    expect(await run.end()).toEqual({ status: 'succeeded', output: true });
    const order = run.calls();
    expect(order.indexOf('a.b:p/b')).toBeLessThan(order.indexOf('a.a:p/a'));
    expect(order.indexOf('a.a:p/a')).toBeLessThan(order.indexOf('a.c:p/c'));
    expect(most).toBe(2);
  });

  it('cancels the others when one fails, waits for all when told so, and joins any', async () => {
    h.on('a.bad', () => refuse('runtime'));
    const branches = [
      { id: 'bad', call: 'a.bad@1' },
      {
        id: 'slow',
        do: [
          { id: 'w', wait: { for: '300ms' } },
          { id: 'tail', call: 'a.tail@1' },
        ],
      },
    ];
    const cancel = await h.run({ do: [{ id: 'p', parallel: {}, do: branches }] });
    expect(await cancel.end()).toMatchObject({ problem: { code: 'runtime', instance: 'p/bad' } });
    expect(cancel.calls()).toEqual(['a.bad:p/bad']);
    expect(cancel.outcome().steps.find((s) => s.id === 'w')).toMatchObject({ status: 'cancelled' });

    const all = await h.run({ do: [{ id: 'p', parallel: { onError: 'waitAll' }, do: branches }] });
    expect(await all.end()).toMatchObject({ problem: { code: 'runtime' } });
    expect(all.calls()).toContain('a.tail:p/slow/tail');

    const any = await h.run({
      do: [{ id: 'p', parallel: { join: 'any' }, do: [...branches, { id: 'quick', call: 'a.quick@1' }] }],
    });
    expect((await any.end()).status).toBe('succeeded');
    expect(any.calls()).not.toContain('a.tail:p/slow/tail');
  });

  it('walks items in batches with pause and gate, collects in item order and names the failed ones', async () => {
    h.on('a.fix', (call) => (call.input === 'h3' ? refuse('runtime') : { fixed: call.input as string }));
    h.on('a.slo', () => ({ good: true }));
    const run = await h.run(
      {
        do: [
          {
            id: 'each',
            forEach: {
              in: '${input.hosts}',
              as: 'host',
              batch: {
                canary: 1,
                size: '50%',
                pause: '5ms',
                gate: { id: 'slo', call: 'a.slo@1', expect: { '==': [{ var: 'steps.slo.output.good' }, true] } },
              },
              concurrency: 2,
              tolerate: { failures: 1 },
              collect: { host: '${host}', fixed: '${steps.fix.output.fixed}', batch: '${batch.number}' },
            },
            do: [{ id: 'fix', call: 'a.fix@1', with: '${host}' }],
          },
        ],
        output: { done: '${steps.each.output}', failed: '${steps.each.failed}' },
      },
      { input: { hosts: ['h1', 'h2', 'h3', 'h4', 'h5'] } },
    );
    const end = await run.end();
    expect(end.output).toMatchObject({
      done: [
        { host: 'h1', fixed: 'h1', batch: 1 },
        { host: 'h2', fixed: 'h2', batch: 2 },
        { host: 'h4', batch: 3 },
        { host: 'h5', batch: 3 },
      ],
      failed: [{ key: 'h3', error: { code: 'runtime', instance: 'each[h3]/fix' } }],
    });
    expect(run.calls().filter((c) => c.startsWith('a.slo'))).toEqual([
      'a.slo:each[batch:1]/slo',
      'a.slo:each[batch:2]/slo',
    ]);
    expect(run.calls().indexOf('a.slo:each[batch:1]/slo')).toBe(1);
  });

  it('starts nothing more when too many failed, and undoes the failed item alone', async () => {
    h.on('a.bad', (call) => (call.input === 'h2' ? refuse('runtime') : null));
    const run = await h.run(
      {
        do: [
          {
            id: 'each',
            forEach: { in: ['h1', 'h2', 'h3'], as: 'host', onItemError: 'compensate' },
            do: [
              { id: 'drain', call: 'a.drain@1', with: { node: '${host}' } },
              { id: 'bad', call: 'a.bad@1', with: '${host}' },
            ],
          },
        ],
      },
      { atoms: { 'a.drain@1': { compensate: { call: 'a.uncordon@1', with: { node: '${input.node}' } } } } },
    );
    expect(await run.end()).toMatchObject({
      problem: { code: 'batch-threshold', failed: ['h2'], cause: { code: 'runtime' } },
    });
    expect(run.calls()).toEqual([
      'a.drain:each[h1]/drain',
      'a.bad:each[h1]/bad',
      'a.drain:each[h2]/drain',
      'a.bad:each[h2]/bad',
      'a.uncordon:each[h2]/drain~undo',
    ]);
  });
});
