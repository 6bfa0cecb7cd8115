import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import { TEMPORAL_NAMES, childWorkflowId, stepKey } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import type { Json } from '@opsloop/contracts';
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

describe('one step after the other', () => {
  it('calls an atom, sets variables, runs a group and returns', async () => {
    h.on('inventory.read', () => ({ items: ['a', 'b'], total: 2 }));
    const run = await h.run(
      {
        vars: { seen: 0 },
        do: [
          { id: 'scan', title: 'Read ${input.host}', call: 'inventory.read@1', with: { path: '${input.host}' } },
          { id: 'keep', set: { seen: '${steps.scan.output.total}', old: '${vars.seen}' } },
          { id: 'group', do: [{ id: 'touch', call: 'host.touch@1', with: { n: '${vars.seen}' } }] },
          { id: 'no', if: { '>': [{ var: 'vars.seen' }, 2] }, return: 'never' },
          { id: 'yes', return: { seen: '${vars.seen}', old: '${vars.old}' } },
          { id: 'after', call: 'host.touch@1' },
        ],
      },
      { input: { host: 'host/a' } },
    );
    expect(await run.end()).toEqual({ status: 'succeeded', output: { seen: 2, old: 0 } });
    expect(run.calls()).toEqual(['inventory.read:scan', 'host.touch:group/touch']);
    const outcome = run.outcome();
    expect(outcome).toMatchObject({ status: 'succeeded', output: { seen: 2, old: 0 }, targets: [] });
    expect(outcome.steps.map((s) => `${s.path} ${s.status}`)).toEqual([
      'scan succeeded',
      'keep succeeded',
      'group succeeded',
      'group/touch succeeded',
      'no skipped',
      'yes succeeded',
    ]);
    expect(outcome.steps[0]).toMatchObject({ title: 'Read host/a', atom: 'inventory.read@1.0.0', verb: 'call' });
  });

  it('hands every atom its key, its gate and the fence, and reshapes the output', async () => {
    h.on('host.restart', () => ({ pid: 7, noise: 'x' }));
    const run = await h.run(
      {
        do: [
          { id: 'restart', call: 'host.restart@1', with: { host: 'host/a' }, output: { pid: '${result.pid}' } },
          { id: 'look', call: 'host.look@1' },
        ],
        output: { pid: '${steps.restart.output.pid}' },
      },
      {
        atoms: { 'host.restart@1': { targets: ['${input.host}'] }, 'host.look@1': { effect: 'read' } },
        context: { fence: '41', targets: ['host/a', 'host/b'], rule: 'fleet/down' },
      },
    );
    expect(await run.end()).toEqual({ status: 'succeeded', output: { pid: 7 } });
    const [restart, look] = h.recorded;
    expect(restart).toMatchObject({ activityId: 'restart#0', taskQueue: 'opsloop-atoms' });
    expect(restart!.argument).toMatchObject({
      input: { host: 'host/a' },
      context: { run: run.id, step: 'restart', key: stepKey(run.id, 'restart', 0), fence: '41', dryRun: false },
      gate: {
        flow: 'test/flow',
        rule: 'fleet/down',
        atom: 'host.restart',
        effect: 'mutate',
        targets: ['host/a'],
        phase: 'forward',
      },
    });
    expect(JSON.stringify(restart!.argument.context).length).toBeLessThan(300);
    expect(look!.argument.gate).toBeUndefined();
    expect(run.outcome().targets).toEqual([
      { path: 'host/a', status: 'succeeded' },
      { path: 'host/b', status: 'succeeded' },
    ]);
  });

  it('takes the first case that holds, and waits', async () => {
    const pick = (n: number): Parameters<Harness['run']>[0] => ({
      do: [
        {
          id: 'choose',
          switch: [
            { when: { '==': [{ var: 'input.n' }, 1] }, do: [{ id: 'one', call: 'a.one@1' }] },
            { when: { '==': [{ var: 'input.n' }, n] }, do: [{ id: 'same', call: 'a.same@1' }] },
            { do: [{ id: 'other', call: 'a.other@1' }] },
          ],
        },
        { id: 'rest', wait: { for: '20ms' } },
        { id: 'past', wait: { until: '2020-01-01T00:00:00Z' } },
      ],
    });
    const ends = await Promise.all([1, 2, 3].map((n) => h.run(pick(2), { input: { n } })));
    for (const run of ends) expect((await run.end()).status).toBe('succeeded');
    expect(ends.map((run) => run.calls())).toEqual([
      ['a.one:choose/one'],
      ['a.same:choose/same'],
      ['a.other:choose/other'],
    ]);
  });

  it('emits with the step key and loads a large flow by its digest', async () => {
    const doc = { do: [{ id: 'tell', emit: { type: 'fleet.done', subject: 'host/a', data: { n: '${input.n}' } } }] };
    h.on(TEMPORAL_NAMES.loadActivity, () => compiled(doc));
    const run = await h.run(doc, { input: { n: 3 }, byDigest: true });
    expect((await run.end()).status).toBe('succeeded');
    const emitted = h.recorded.find((r) => r.type === TEMPORAL_NAMES.emitActivity)!;
    expect(emitted.argument).toMatchObject({
      type: 'fleet.done',
      subject: 'host/a',
      data: { n: 3 },
      context: { key: stepKey(run.id, 'tell', 0) },
      correlationId: 'c-1',
    });
  });

  it('says that approvals and events cannot be waited for yet', async () => {
    const run = await h.run({ do: [{ id: 'ok', approval: { title: 'sure?' } }] });
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'configuration', instance: 'ok' } });
  });
});

describe('failures', () => {
  it('maps atom failures, timeouts, missing workers and expressions to problems', async () => {
    h.on('a.own', () => refuse('atom/a.own/full'));
    h.on('a.slow', () => new Promise((resolve) => setTimeout(resolve, 1_500)));
    const once = { retry: { maximumAttempts: 1 } };
    const cases = [
      [{ id: 's', call: 'a.own@1' }, 'atom/a.own/full'],
      [{ id: 's', call: 'a.slow@1', timeout: { startToClose: '300ms' }, ...once }, 'timeout'],
      [{ id: 's', call: 'a.far@1', queue: 'nobody', timeout: { scheduleToStart: '300ms' } }, 'no-worker'],
      [{ id: 's', call: 'a.x@1', with: '${steps.nope.output}' }, 'expression'],
      [{ id: 's', raise: { type: 'policy', detail: 'not today' } }, 'policy'],
      [{ id: 's', timeout: '50ms', do: [{ id: 'w', wait: { for: '10s' } }] }, 'timeout'],
    ] as const;
    const runs = await Promise.all(cases.map(([step]) => h.run({ do: [structuredClone(step) as never] })));
    for (const [at, run] of runs.entries()) {
      const end = await run.end();
      expect(end).toMatchObject({ status: 'failed', problem: { code: cases[at]![1], instance: 's', step: 's' } });
      expect(run.outcome()).toMatchObject({ status: 'failed', problem: { code: cases[at]![1] } });
    }
  });

  it('retries as the step says, then the flow, then the atom, and once without idempotency', async () => {
    h.on('a.flaky', (_call, n) => (n < 3 ? refuse('communication', false) : { n }));
    const ok = await h.run({ do: [{ id: 's', call: 'a.flaky@1' }] });
    expect((await ok.end()).status).toBe('succeeded');
    expect(h.recorded.filter((r) => r.type === 'a.flaky').map((r) => r.attempt)).toEqual([1, 2, 3]);

    h.reset();
    h.on('a.bad', () => refuse('communication', false));
    const atoms = { 'a.bad@1': { idempotency: 'none' as const } };
    const once = await h.run(
      { defaults: { retry: { maximumAttempts: 4 } }, do: [{ id: 's', call: 'a.bad@1' }] },
      { atoms },
    );
    expect((await once.end()).status).toBe('failed');
    expect(h.recorded.filter((r) => r.type === 'a.bad')).toHaveLength(1);
    const asked = await h.run(
      { do: [{ id: 's', call: 'a.bad@1', retry: { initialInterval: '1ms', maximumAttempts: 2 } }] },
      { atoms },
    );
    expect(await asked.end()).toMatchObject({ problem: { attempt: 2 } });
    expect(h.recorded.filter((r) => r.type === 'a.bad')).toHaveLength(3);
  });

  it('tries a block again under keys of its own, then handles the error, and runs finally whatever happens', async () => {
    h.on('a.step', () => refuse('runtime'));
    const run = await h.run({
      do: [
        {
          id: 'work',
          try: [
            { id: 'first', call: 'a.first@1' },
            { id: 'step', call: 'a.step@1' },
          ],
          catch: [
            { errors: { type: 'timeout' }, do: [{ id: 'wrong', call: 'a.wrong@1' }] },
            {
              errors: { type: ['runtime'] },
              as: 'e',
              retry: { initialInterval: '1ms', maximumAttempts: 2 },
              do: [{ id: 'note', call: 'a.note@1', with: { code: '${e.code}' } }],
            },
          ],
          finally: [{ id: 'close', call: 'a.close@1' }],
        },
      ],
    });
    expect((await run.end()).status).toBe('succeeded');
    expect(run.calls()).toEqual([
      'a.first:work/first',
      'a.step:work/step',
      'a.first:work~2/first',
      'a.step:work~2/step',
      'a.note:work~2/note',
      'a.close:work/close',
    ]);
    expect(h.recorded.at(4)!.argument.input).toEqual({ code: 'runtime' });
    const keys = h.recorded.slice(0, 6).map((r) => r.argument.context.key);
    expect(new Set(keys).size).toBe(6);
  });

  it('undoes in reverse order, parallel branches side by side, and a failed undo never hides the first error', async () => {
    h.on('a.boom', () => refuse('runtime'));
    h.on('undo.b', () => refuse('communication'));
    const undo = (name: string) => ({ call: `undo.${name}@1`, with: { was: '${input.x}', gave: '${result.ok?}' } });
    const atoms = {
      'do.a@1': { compensate: undo('a') },
      'do.b@1': { compensate: undo('b') },
      'do.c@1': { compensate: undo('c') },
    };
    const run = await h.run(
      {
        do: [
          { id: 'a', call: 'do.a@1', with: { x: 1 } },
          {
            id: 'p',
            parallel: {},
            do: [
              { id: 'b', call: 'do.b@1', with: { x: 2 } },
              { id: 'c', call: 'do.c@1', with: { x: 3 }, compensate: null },
            ],
          },
          { id: 'boom', call: 'a.boom@1', compensate: { call: 'undo.c@1', with: { from: '${input.host}' } } },
        ],
        catch: [{ errors: { type: 'timeout' }, do: [] }],
        finally: [{ id: 'end', call: 'a.end@1' }],
      },
      { atoms: { ...atoms, 'undo.c@1': {} }, input: { host: 'host/a' } },
    );
    const end = await run.end();
    expect(run.calls().slice(-4)).toEqual(['undo.c:boom~undo', 'undo.b:p/b~undo', 'undo.a:a~undo', 'a.end:end']);
    expect(end).toMatchObject({
      status: 'failed',
      problem: {
        code: 'runtime',
        suppressed: [{ code: 'compensation-failed', instance: 'p/b~undo', cause: { code: 'communication' } }],
      },
    });
    const calls = h.recorded.filter((r) => r.type.startsWith('undo.'));
    expect(calls.map((r) => r.argument.input)).toEqual([
      { from: 'host/a' },
      { was: 2, gave: true },
      { was: 1, gave: true },
    ]);
    expect(calls[0]!.argument.gate).toMatchObject({ phase: 'compensation' });
    expect(h.recorded.find((r) => r.type === 'a.end')!.argument.gate).toMatchObject({ phase: 'finally' });
  });

  it('undoes also when the run is cancelled or its flow takes too long', async () => {
    const atoms = { 'do.a@1': { compensate: { call: 'undo.a@1' } } };
    const doc = (timeout: string | undefined) => ({
      ...(timeout === undefined ? {} : { timeout }),
      do: [
        { id: 'a', call: 'do.a@1' },
        {
          id: 'w',
          try: [{ id: 'wait', wait: { for: '1h' } }],
          catch: [{ do: [] }],
          finally: [{ id: 'f', call: 'a.f@1' }],
        },
      ],
    });
    const cancelled = await h.run(doc(undefined), { atoms, context: { targets: ['host/a'] } });
    await eventually(async () => expect(await cancelled.step('w/wait')).toMatchObject({ status: 'waiting' }));
    await cancelled.handle.cancel();
    expect(await cancelled.end()).toEqual({ status: 'cancelled' });
    expect(cancelled.calls()).toEqual(['do.a:a', 'a.f:w/f', 'undo.a:a~undo']);
    expect(cancelled.outcome()).toMatchObject({
      status: 'cancelled',
      targets: [{ path: 'host/a', status: 'cancelled' }],
    });

    const late = await h.run(doc('300ms'), { atoms });
    expect(await late.end()).toMatchObject({ status: 'failed', problem: { code: 'timeout' } });
    expect(late.calls()).toEqual(['do.a:a', 'a.f:w/f', 'undo.a:a~undo']);
  });
});

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
