import { afterAll, beforeAll, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import type { Step } from '@opsloop/contracts';
import { Harness } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());

/**
 * Temporal asks for a new run at 4,096 events. A timer makes two, which cost next to nothing when many start and end
 * together; an activity makes three, each of which has to be reported.
 */
const ITEMS = 180;
const WAITS = Array.from({ length: 12 }, (_, i): Step => ({ id: `w${i}`, wait: { for: '1ms' } }));

it('continues as new in the middle of a forEach and does nothing twice', async () => {
  h.on('a.boom', () => {
    throw ApplicationFailure.nonRetryable('on purpose', 'runtime');
  });
  h.on('a.first', () => ({ token: 't-1' }));
  const run = await h.run(
    {
      vars: { seen: 'no' },
      do: [
        { id: 'first', call: 'a.first@1', with: { x: 1 } },
        { id: 'set', set: { seen: '${steps.first.output.token}', list: '${input.list}' } },
        {
          id: 'outer',
          try: [
            { id: 'held', call: 'a.held@1' },
            {
              id: 'each',
              forEach: { in: '${vars.list}', as: 'n', concurrency: 60, collect: '${n}' },
              do: [
                { id: 'go', call: 'a.go@1', with: '${n}' },
                { id: 'fill', parallel: {}, do: WAITS },
              ],
            },
            {
              id: 'tail',
              call: 'a.tail@1',
              with: { seen: '${vars.seen}', token: '${steps.first.output.token}', all: '${steps.each.output}' },
            },
            { id: 'boom', call: 'a.boom@1' },
          ],
          catch: [{ errors: { type: 'timeout' }, do: [] }],
        },
      ],
    },
    {
      input: { list: Array.from({ length: ITEMS }, (_, i) => i) },
      atoms: {
        'a.first@1': { compensate: { call: 'u.first@1', with: { token: '${result.token}', x: '${input.x}' } } },
        'a.held@1': { compensate: { call: 'u.held@1' } },
      },
    },
  );
  expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'runtime', instance: 'outer/boom' } });
  const first = await h.client.workflow.getHandle(run.handle.workflowId, run.firstRunId).describe();
  expect(first.status.name).toBe('CONTINUED_AS_NEW');
  const went = h.recorded.filter((r) => r.type === 'a.go').map((r) => r.argument.input as number);
  expect(went).toHaveLength(ITEMS);
  expect(new Set(went).size).toBe(ITEMS);
  expect(h.recorded.filter((r) => r.type === 'a.first')).toHaveLength(1);
  const tail = h.recorded.find((r) => r.type === 'a.tail')!.argument.input as {
    seen: string;
    token: string;
    all: number[];
  };
  expect([tail.seen, tail.token, tail.all.length, tail.all[7]]).toEqual(['t-1', 't-1', ITEMS, 7]);
  // Registered in the first Temporal run, due in the second.
  const undone = h.recorded.filter((r) => r.type.startsWith('u.'));
  expect(undone.map((r) => [r.type, r.argument.input])).toEqual([
    ['u.held', {}],
    ['u.first', { token: 't-1', x: 1 }],
  ]);
  expect(run.outcome().status).toBe('failed');
}, 90_000);
