import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import { TEMPORAL_NAMES, childWorkflowId, stepKey } from '@opsloop/contracts';
import { Harness, compiled } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const refuse = (type: string, nonRetryable = true): never => {
  throw ApplicationFailure.create({ type, message: `${type} on purpose`, nonRetryable });
};

describe('repetition', () => {
  it('loops until, while and at most', async () => {
    h.on('a.count', (_call, n) => ({ n }));
    const body = [{ id: 'count', call: 'a.count@1' }];
    const until = await h.run({
      do: [
        { id: 'l', loop: { until: { '>=': [{ var: 'steps.count.output.n' }, 3] }, max: { iterations: 9 } }, do: body },
      ],
      output: '${steps.l.output.iterations}',
    });
    expect((await until.end()).output).toBe(3);
    expect(until.calls()).toEqual(['a.count:l[1]/count', 'a.count:l[2]/count', 'a.count:l[3]/count']);
    const never = await h.run({
      do: [{ id: 'l', loop: { until: { '==': [1, 2] }, max: { iterations: 2 } }, do: body }],
    });
    expect(await never.end()).toMatchObject({ problem: { code: 'goal-not-met', instance: 'l' } });
    const plain = await h.run({ do: [{ id: 'l', loop: { max: { iterations: 2 } }, do: body }] });
    expect((await plain.end()).status).toBe('succeeded');
  });

  it('observes, acts only when the goal is missed, and gives up at the deadline', async () => {
    h.on('a.look', (_call, n) => ({ up: n >= 3 }));
    const doc = (deadline: string) => ({
      do: [
        {
          id: 'r',
          reconcile: {
            goal: { '==': [{ var: 'steps.look.output.up' }, true] },
            every: '10ms',
            stable: '20ms',
            deadline,
          },
          observe: { id: 'look', call: 'a.look@1' },
          do: [{ id: 'nudge', call: 'a.nudge@1' }],
        },
      ],
      output: '${steps.r.output.up}',
    });
    const run = await h.run(doc('30s'));
    expect((await run.end()).output).toBe(true);
    expect(run.calls().filter((c) => c.startsWith('a.nudge'))).toEqual(['a.nudge:r[1]/nudge', 'a.nudge:r[2]/nudge']);
    expect(run.calls().filter((c) => c.startsWith('a.look')).length).toBeGreaterThanOrEqual(4);
    h.on('a.look', () => ({ up: false }));
    expect(await (await h.run(doc('100ms'))).end()).toMatchObject({ problem: { code: 'goal-not-met' } });
  });
});

describe('sub-flows and locks', () => {
  it('runs a pinned sub-flow as a child whose keys and paths belong to the root run', async () => {
    const child = compiled({
      name: 'test/child',
      do: [
        { id: 'inner', call: 'a.inner@1', with: '${input}' },
        { id: 'r', return: '${steps.inner.output}' },
      ],
    });
    h.on('a.inner', (call) => call.input);
    const run = await h.run(
      { do: [{ id: 'sub', run: 'test/child@1', with: { n: 4 } }], output: '${steps.sub.output.n}' },
      { flows: { 'test/child@1': child } },
    );
    expect(await run.end()).toEqual({ status: 'succeeded', output: 4 });
    expect(h.recorded[0]!.argument.context).toMatchObject({
      step: 'sub/inner',
      key: stepKey(run.id, 'sub/inner', 0),
      run: run.id,
    });
    expect(run.outcome().steps).toMatchObject([
      { path: 'sub', workflowId: childWorkflowId(`test.flow.${run.id}`, 'sub') },
    ]);

    h.on('a.inner', () => refuse('atom/a.inner/broken'));
    const bad = await h.run(
      { do: [{ id: 'sub', run: 'test/child@1', retry: { initialInterval: '1ms', maximumAttempts: 2 } }] },
      { flows: { 'test/child@1': child } },
    );
    h.on('a.inner', () => refuse('runtime', true));
    expect(await bad.end()).toMatchObject({
      status: 'failed',
      problem: { instance: expect.stringMatching(/^sub(~2)?\/inner$/), step: 'sub', cause: { step: 'inner' } },
    });
  });

  it('takes a lock by try, works under its fence and gives it back', async () => {
    h.on(TEMPORAL_NAMES.claimActivity, (_call, n) =>
      n === 1 ? { granted: false, blockedBy: [] } : { granted: true, fence: '99' },
    );
    const doc = {
      do: [
        {
          id: 'crit',
          retry: { initialInterval: '1ms', maximumAttempts: 3 },
          do: [{ id: 'act', call: 'a.act@1' }],
          lock: { claims: [{ path: 'service/${input.s}', mode: 'exclusive' as const }] },
        },
      ],
    };
    const run = await h.run(doc, { input: { s: 'pay' } });
    expect((await run.end()).status).toBe('succeeded');
    const seen = h.recorded.map((r) => r.type);
    expect(seen).toEqual([
      TEMPORAL_NAMES.claimActivity,
      TEMPORAL_NAMES.claimActivity,
      'a.act',
      TEMPORAL_NAMES.releaseActivity,
      TEMPORAL_NAMES.reportActivity,
    ]);
    expect(h.recorded[1]!.argument).toMatchObject({
      step: 'crit~2',
      claims: [{ path: 'service/pay', mode: 'exclusive' }],
    });
    expect(h.recorded[2]!.argument.context.fence).toBe('99');
    h.on(TEMPORAL_NAMES.claimActivity, () => ({ granted: false }));
    expect(await (await h.run(doc, { input: { s: 'pay' } })).end()).toMatchObject({
      problem: { code: 'lock-conflict' },
    });
  });

  it('reports each target of the per-target flow with its own end', async () => {
    const child = compiled({ name: 'test/child', do: [{ id: 'fix', call: 'a.fix@1', with: '${input.host}' }] });
    h.on('a.fix', (call) => (call.input === 'host/b' ? refuse('runtime') : null));
    const hosts = ['host/a', 'host/b', 'host/c'];
    const run = await h.run(
      {
        name: TEMPORAL_NAMES.perTargetFlow,
        do: [
          {
            id: 'each',
            forEach: { in: '${input.items}', as: 'item', key: '${item.path}' },
            do: [{ id: 'run', run: 'test/child@1', with: '${item.input}' }],
          },
        ],
      },
      {
        input: { items: hosts.map((path) => ({ path, input: { host: path } })) },
        context: { targets: hosts },
        flows: { 'test/child@1': child },
      },
    );
    expect(await run.end()).toMatchObject({ problem: { code: 'batch-threshold' } });
    expect(run.outcome().targets).toEqual([
      { path: 'host/a', status: 'succeeded' },
      { path: 'host/b', status: 'failed' },
      { path: 'host/c', status: 'cancelled' },
    ]);
    expect(h.recorded[0]!.argument).toMatchObject({
      gate: { flow: 'test/child', within: [TEMPORAL_NAMES.perTargetFlow], targets: ['host/a'] },
      context: { step: 'each[host%2Fa]/run/fix' },
    });
  });
});
