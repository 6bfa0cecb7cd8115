import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES, stepKey } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, compiled } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

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
});

it("tells who watches Temporal's pages at which step the run stands", async () => {
  const run = await h.run({ do: [{ id: 'rest', title: 'Let it rest', wait: { for: '20s' } }] });
  await eventually(async () => expect((await run.step('rest'))?.status).toBe('running'));
  const { currentDetails } = await run.handle.query<{ currentDetails: string }>('__temporal_workflow_metadata');
  expect(currentDetails).toContain(`Run \`${run.id}\``);
  expect(currentDetails).toContain('- `rest` Let it rest: wait, running since 20');
  expect(await run.handle.query('__stack_trace')).toMatch(/^rest: wait, running since .*\n {4}Let it rest$/);
  const { stacks } = await run.handle.query<{ stacks: { locations: unknown[] }[] }>('__enhanced_stack_trace');
  expect(stacks).toHaveLength(1);
  await run.handle.terminate();
});
