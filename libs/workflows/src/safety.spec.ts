import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, compiled } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

/** As our own worker refuses: with the attempt that it met. */
const halted = (attempt: number): never => {
  throw ApplicationFailure.create({
    type: 'halted',
    message: 'halted on purpose',
    nonRetryable: true,
    details: [{ type: 'halted', code: 'halted', title: 'x', status: 409, attempt }],
  });
};

describe('what must be undone under a halt', () => {
  const doc = { do: [{ id: 'act', call: 'a.act@1' }] };
  const atoms = { 'a.act@1': { compensate: { call: 'u.act@1' } } };

  it('undoes nothing that was refused to the end, at our gate or before a queue of others', async () => {
    h.on('a.act', () => halted(1));
    h.on(TEMPORAL_NAMES.gateActivity, () => halted(1));
    for (const foreign of [false, true]) {
      const run = await h.run(doc, {
        atoms: { 'a.act@1': { ...atoms['a.act@1'], ...(foreign ? { queue: 'far' } : {}) } },
      });
      await eventually(async () => expect(await run.step('act')).toMatchObject({ status: 'paused' }));
      await run.handle.cancel();
      expect(await run.end()).toEqual({ status: 'cancelled' });
      expect(run.calls()).not.toContain('u.act:act~undo');
    }
  });

  it('undoes a step whose earlier attempt may have reached the target', async () => {
    h.on('a.act', (_call, n) => {
      if (n === 1) throw ApplicationFailure.retryable('no answer', 'communication');
      return halted(n);
    });
    const run = await h.run(doc, { atoms });
    await eventually(async () => expect(await run.step('act')).toMatchObject({ status: 'paused' }));
    await run.handle.cancel();
    expect(await run.end()).toEqual({ status: 'cancelled' });
    expect(run.calls()).toContain('u.act:act~undo');
  });

  it('undoes a step that was let through after a refusal and cancelled on its way', async () => {
    h.on('a.act', async (_call, n) => {
      if (n === 1) halted(1);
      const context = Context.current();
      const beat = setInterval(() => context.heartbeat(), 50);
      await context.cancelled.finally(() => clearInterval(beat));
    });
    const run = await h.run({ do: [{ ...doc.do[0]!, timeout: { heartbeat: '1s' } }] }, { atoms });
    await eventually(async () => expect(await run.step('act')).toMatchObject({ status: 'paused' }));
    await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    await eventually(() => expect(run.calls()).toHaveLength(2));
    await run.handle.cancel();
    expect(await run.end()).toEqual({ status: 'cancelled' });
    expect(run.calls()).toContain('u.act:act~undo');
  });
});

describe('items whose target is busy', () => {
  it('are asked for again after a pause each, however many there are, and do not hold up the others', async () => {
    const hosts = ['host/a', 'host/b', 'host/c', 'host/d', 'host/e', 'host/free'];
    h.on(TEMPORAL_NAMES.claimActivity, (call) => {
      const asked = h.recorded.filter(
        (r) => r.type === TEMPORAL_NAMES.claimActivity && r.argument['step'] === call['step'],
      );
      return call['step'] !== 'each[host%2Ffree]' && asked.length === 1
        ? { granted: false, blockedBy: [] }
        : { granted: true, fence: '7' };
    });
    const run = await h.run(
      {
        targets: '${input.hosts}',
        lockTargets: 'perItem',
        do: [
          {
            id: 'each',
            forEach: { in: '${input.hosts}', as: 'host', key: '${host}', concurrency: 2 },
            do: [{ id: 'fix', call: 'a.fix@1', with: '${host}' }],
          },
        ],
      },
      { input: { hosts }, context: { targets: hosts } },
    );
    expect((await run.end()).status).toBe('succeeded');
    expect(run.calls()).toHaveLength(6);
    expect(run.calls()[0]).toBe('a.fix:each[host%2Ffree]/fix');
    // One refusal and one grant for each of five, one grant for the free one: nobody was asked in between.
    expect(h.recorded.filter((r) => r.type === TEMPORAL_NAMES.claimActivity)).toHaveLength(11);
  });
});

describe('values that no payload can carry', () => {
  const large = Array.from({ length: 40 }, (_, i) => String(i).padEnd(20_000, 'x'));

  it('fail the step or the run with their problem instead of stopping the workflow task for ever', async () => {
    h.on('a.big', () => large.slice(0, 30));
    const child = compiled({ name: 'test/child', do: [] });
    const twice = ['${steps.big.output}', '${steps.big.output}'];
    const big = { id: 'big', call: 'a.big@1' };
    const runs = await Promise.all([
      h.run({ do: [big, { id: 's', call: 'a.x@1', with: twice }] }),
      h.run({ do: [big, { id: 's', run: 'test/child@1', with: twice }] }, { flows: { 'test/child@1': child } }),
      h.run({ do: [big, { id: 's', emit: { type: 'x', data: twice } }] }),
      h.run({ do: [big], output: twice }),
    ]);
    for (const run of runs) {
      expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'payload-too-large' } });
      expect(run.outcome()).toMatchObject({ status: 'failed', problem: { code: 'payload-too-large' } });
    }
  });
});

describe('a worker of others', () => {
  it('that answers more than 512 KB fails its step, which is undone', async () => {
    h.on('a.big', () => ['x'.repeat(530_000)]);
    const run = await h.run(
      { do: [{ id: 'big', call: 'a.big@1' }] },
      { atoms: { 'a.big@1': { queue: TEMPORAL_NAMES.flowQueue, compensate: { call: 'u.big@1' } } } },
    );
    expect(await run.end()).toMatchObject({
      status: 'failed',
      problem: { code: 'payload-too-large', instance: 'big', detail: expect.stringContaining('512 KB') as string },
    });
    expect(run.calls()).toContain('u.big:big~undo');
  });
});

describe('secrets', () => {
  it('are named only where the flow names them, also for the way back', async () => {
    h.on('a.boom', () => {
      throw ApplicationFailure.nonRetryable('on purpose', 'runtime');
    });
    const run = await h.run(
      {
        use: { secrets: ['token'] },
        do: [
          { id: 'act', call: 'a.act@1', with: { body: '${input.body}', token: '${secrets.token}' } },
          { id: 'boom', call: 'a.boom@1' },
        ],
      },
      {
        input: { body: { x: { $secret: 'token' } } },
        atoms: {
          'a.act@1': { compensate: { call: 'u.act@1', with: { key: '${input.token}', was: '${input.body}' } } },
        },
      },
    );
    await run.end();
    expect(h.recorded.find((r) => r.type === 'a.act')!.argument).toMatchObject({ secrets: ['/token'] });
    expect(h.recorded.find((r) => r.type === 'u.act')!.argument).toMatchObject({ secrets: ['/key'] });
    expect(h.recorded.find((r) => r.type === 'a.boom')!.argument).not.toHaveProperty('secrets');
  });
});

describe('sub-flows', () => {
  it('of targets pause under a halt and go on at the signal to their parent, with the same keys', async () => {
    let inForce = true;
    h.on('a.fix', () => (inForce ? halted(1) : { ok: true }));
    const child = compiled({ name: 'test/child', do: [{ id: 'fix', call: 'a.fix@1', with: '${input}' }] });
    const hosts = ['host/a', 'host/b'];
    const each = { in: '${input.hosts}', as: 'host', key: '${host}', concurrency: 2 };
    const run = await h.run(
      {
        name: TEMPORAL_NAMES.perTargetFlow,
        do: [{ id: 'each', forEach: each, do: [{ id: 'run', run: 'test/child@1', with: '${host}' }] }],
      },
      { input: { hosts }, context: { targets: hosts }, flows: { 'test/child@1': child } },
    );
    await eventually(() => expect(run.calls()).toHaveLength(2));
    const ids = (await run.steps()).flatMap((step) => step.workflowId ?? []);
    expect(ids).toHaveLength(2);
    for (const id of ids) {
      const handle = h.client.workflow.getHandle(id);
      await eventually(async () =>
        expect(await handle.query(TEMPORAL_NAMES.stepsQuery)).toMatchObject([{ id: 'fix', status: 'paused' }]),
      );
    }
    inForce = false;
    const since = Date.now();
    await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    expect((await run.end()).status).toBe('succeeded');
    // Without the signal each of them would ask again after 5 s.
    expect(Date.now() - since).toBeLessThan(4_000);
    const keys = h.recorded.filter((r) => r.type === 'a.fix').map((r) => r.argument.context.key);
    expect(keys).toHaveLength(4);
    expect(new Set(keys).size).toBe(2);
  });

  it('that may outlive their parent are not cancelled with it', async () => {
    let finish = (): void => undefined;
    h.on('a.long', () => new Promise<void>((resolve) => (finish = resolve)));
    const child = compiled({ name: 'test/child', do: [{ id: 'long', call: 'a.long@1' }] });
    const run = await h.run(
      { do: [{ id: 'sub', run: 'test/child@1', onParentClose: 'abandon' }] },
      { flows: { 'test/child@1': child } },
    );
    await eventually(() => expect(run.calls()).toHaveLength(1));
    const { workflowId } = (await run.step('sub'))!;
    await run.handle.cancel();
    expect(await run.end()).toEqual({ status: 'cancelled' });
    finish();
    await h.client.workflow.getHandle(workflowId!).result();
  });
});

describe('after a continue-as-new', () => {
  it('a gate that was passed is not asked and judged again', async () => {
    const gate = { id: 'slo', call: 'a.slo@1', expect: { '==': [{ var: 'steps.slo.output.ok' }, true] } };
    const done = { status: 'succeeded' };
    const run = await h.run(
      {
        do: [
          {
            id: 'each',
            forEach: { in: ['h1', 'h2', 'h3'], as: 'n', batch: { size: 1, gate } },
            do: [{ id: 'go', call: 'a.go@1', with: '${n}' }],
          },
        ],
      },
      {
        carried: {
          v: 1,
          startedMs: Date.now(),
          journal: { 'each[h1]': done, 'each[batch:1]': done },
          cursors: {},
          remembered: { each: ['h1', 'h2', 'h3'] },
          vars: {},
          scopes: {},
          undo: {},
          records: [],
        },
      },
    );
    expect((await run.end()).status).toBe('succeeded');
    expect(run.calls()).toEqual(['a.go:each[h2]/go', 'a.slo:each[batch:2]/slo', 'a.go:each[h3]/go']);
  });
});
