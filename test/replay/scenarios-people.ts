/** Runs that people answer, steer or judge. */
import type { Step } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { beforeVerdict, compiled } from '../../libs/workflows/test/harness.js';
import { answers, call, stands, waits, type Scenario } from './scenario.js';

export const PEOPLE: Record<string, Scenario> = {
  approval: {
    doc: {
      do: [
        { id: 'ok', approval: { title: 'Really?', approvers: { min: 2 }, timeout: '1h' } },
        {
          id: 't',
          try: [{ id: 'late', approval: { title: 'And now?', approvers: {}, timeout: '30ms', onTimeout: 'escalate' } }],
          catch: [{ errors: { type: 'approval-timeout' }, do: [call('alone')] }],
        },
      ],
    },
    options: { attributes: true },
    meanwhile: async (run) => {
      await waits(run, 'ok');
      await answers(run, 'ok', 'bob', 'approve');
      await answers(run, 'ok', 'cy', 'approve');
    },
  },
  'approval-withdrawn': {
    doc: {
      do: [call('a'), { id: 'ok', approval: { title: 'Really?', approvers: {}, timeout: '1h' } }],
      finally: [call('f')],
    },
    options: { atoms: { 'a.a@1': { compensate: { call: 'u.a@1' } } } },
    meanwhile: async (run) => {
      await waits(run, 'ok');
      await answers(run, 'ok', 'opsloop', 'withdraw');
    },
    ends: 'cancelled',
  },
  steer: {
    doc: {
      do: [
        { id: 'w', wait: { for: '1h' } },
        { id: 'held', do: [call('one')] },
        {
          id: 'each',
          forEach: {
            in: '${input.hosts}',
            as: 'host',
            concurrency: '${input.n}',
            tolerate: { failures: 1 },
            batch: { size: 2 },
          },
          do: [{ id: 'pause', wait: { for: '1h' } }, call('fix')],
        },
      ],
    },
    options: { input: { hosts: ['a', 'b', 'c'], n: 1 }, attributes: true },
    meanwhile: async (run) => {
      await stands(run, 'w', 'waiting');
      await run.steer({ act: 'pause', scope: 'flow' });
      await run.steer({ act: 'skip', path: 'w', output: 1 });
      await stands(run, 'held', 'paused');
      await run.steer({ act: 'resume' });
      await stands(run, 'each[a]/pause', 'waiting');
      await run.steer({ act: 'pause', scope: 'afterBatch', path: 'each' });
      await run.steer({ act: 'setConcurrency', path: 'each', concurrency: 2 });
      await stands(run, 'each[b]/pause', 'waiting');
      await run.steer({ act: 'abortItem', path: 'each', item: 'a' });
      await run.steer({ act: 'skip', path: 'each[b]/pause' });
      await stands(run, 'each', 'paused');
      await run.steer({ act: 'resume' });
      await stands(run, 'each[c]/pause', 'waiting');
      await run.steer({ act: 'skip', path: 'each[c]/pause' });
    },
  },
  judged: {
    stub: (h) => h.on('a.once', (c) => (beforeVerdict(c) ? new Promise(() => undefined) : 'done')),
    doc: { do: [{ ...call('once'), timeout: { startToClose: '2s' } }, call('after')] },
    options: { atoms: { 'a.once@1': { idempotency: 'none', retry: { maximumAttempts: 1 } } } },
    meanwhile: async (run) => {
      await stands(run, 'once', 'waiting');
      await run.steer({ act: 'retry', path: 'once' });
    },
  },
  'held-child': {
    doc: { do: [{ id: 'd', timeout: '1m', do: [{ id: 'sub', run: 'test/waits@1', with: { n: 1 } }] }] },
    options: {
      flows: {
        'test/waits@1': compiled({ name: 'test/waits', do: [{ id: 'w', wait: { for: '3s' } }, call('inner')] }),
      },
    },
    meanwhile: async (run, h) => {
      await eventually(async () => {
        if ((await run.step('d/sub'))?.workflowId === undefined) throw new Error('not yet');
      });
      await run.steer({ act: 'pause', scope: 'step', path: 'd/sub/inner' });
      const sub = h.client.workflow.getHandle((await run.step('d/sub'))!.workflowId!);
      await eventually(async () => {
        const steps = await sub.query<{ path: string; status: string }[]>('steps');
        if (steps.find((s) => s.path === 'd/sub/inner')?.status !== 'paused') throw new Error('not yet');
      });
      await run.steer({ act: 'resume' });
    },
    withChildren: true,
  },
  /** The answer ends its task before control hears of the end. */
  'approval-kept': {
    doc: {
      do: [
        { id: 'ok', approval: { title: 'Really?', approvers: {}, timeout: '1h' } },
        {
          id: 't',
          try: [{ id: 'no', approval: { title: 'And now?', approvers: {}, timeout: '1h' } }],
          catch: [{ errors: { type: 'approval-rejected' }, do: [call('alone')] }],
        },
      ],
    },
    meanwhile: async (run) => {
      await waits(run, 'ok');
      await answers(run, 'ok', 'bob', 'approve');
      await waits(run, 't/no');
      await answers(run, 't/no', 'bob', 'reject');
    },
  },
  /** In doubt across new Temporal runs. */
  'judged-left': {
    stub: (h) => h.on('a.once', (c) => (beforeVerdict(c) ? new Promise(() => undefined) : 'done')),
    doc: {
      do: [
        {
          id: 'p',
          parallel: {},
          do: [
            { ...call('once'), timeout: { startToClose: '2s' } } as Step,
            { id: 'l', loop: { max: { iterations: 14 }, every: '10ms' }, do: [call('turn')] },
          ],
        },
      ],
    },
    options: {
      atoms: { 'a.once@1': { idempotency: 'none', retry: { maximumAttempts: 1 } } },
      continueAfter: 50,
    },
    meanwhile: async (run) => {
      await stands(run, 'p/once', 'waiting');
      await eventually(async () => {
        if ((await run.continued()) < 2) throw new Error('not yet');
      });
      await run.steer({ act: 'retry', path: 'p/once' });
    },
  },
};
