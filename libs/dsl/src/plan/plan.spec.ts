import type { CompiledFlow, FlowDocument, Json, StepRecord } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { goodFlow, world } from '../../test/planted-world.js';
import { compileFlow, planFlow, planRetry } from '../index.js';

function compiled(doc: FlowDocument): CompiledFlow {
  const { compiled: ir, findings } = compileFlow(doc, (ref, kind) =>
    kind === 'atom' ? world.atom!(ref) : world.flow!(ref),
  );
  expect(findings).toEqual([]);
  return ir!;
}

const hosts = ['host/a', 'host/b', 'host/c', 'host/d', 'host/e'];
const input = { hosts, mode: 'fast' } as Json;

describe('a plan', () => {
  it('says for a given input what is touched, locked, asked, pinned and used', () => {
    const plan = planFlow(compiled(goodFlow()), input);
    expect(plan).toMatchObject({
      effect: 'destroy',
      inputErrors: [],
      targets: hosts,
      // Targets are locked item by item.
      locks: [{ path: 'service/fleet', mode: 'shared' }],
      secrets: ['wipe-token'],
      approvals: [{ step: 'ok', title: 'Care for ${input.mode}', approvers: ['group sre'], min: 2, timeout: '4h' }],
      blastRadius: { inFlight: 2, total: 5 },
      timeout: '1d',
    });
    expect(plan.batches).toEqual([
      { step: 'each', number: 1, of: 3, size: 1, items: ['host/a'] },
      { step: 'each', number: 2, of: 3, size: 2, items: ['host/b', 'host/c'] },
      { step: 'each', number: 3, of: 3, size: 2, items: ['host/d', 'host/e'] },
    ]);
    expect(plan.pinned).toContainEqual({
      kind: 'atom',
      ref: 'disk.wipe@1',
      version: 'disk.wipe@1.0.0',
      effect: 'destroy',
    });
    expect(plan.pinned).toContainEqual({ kind: 'flow', ref: 'fleet/inner@1', version: 'fleet/inner@1.2.0' });
    // The wait until a time, and the observation's end, only the run knows.
    expect(plan.worst).toMatchObject({ duration: 'known at run time', continues: false });
    expect(plan.worst.events).toBeGreaterThan(300);
    expect(plan.steps.find(({ id }) => id === 'sub')?.steps).toMatchObject([{ path: 'sub/look', effect: 'read' }]);
  });

  it('lists the lock that holds the limit, by its key', () => {
    const doc = { ...goodFlow(), limit: { runs: 1, by: 'mode/${input.mode}' } };
    const { locks, name } = planFlow(compiled(doc), input);
    expect(locks).toContainEqual({ path: `limit/${name}/mode%2Ffast`, mode: 'exclusive' });
  });

  it('is a pure function: the same bytes each time, and nothing is changed by it', () => {
    const ir = compiled(goodFlow());
    const before = JSON.stringify(ir);
    expect(JSON.stringify(planFlow(ir, input))).toBe(
      JSON.stringify(planFlow(compiled(goodFlow()), structuredClone(input))),
    );
    expect(JSON.stringify(ir)).toBe(before);
  });

  it('takes the batches of the decision, multiplies changes, and leaves what a step sets to the run', () => {
    const doc = goodFlow();
    const plan = planFlow(compiled(doc), {
      hosts,
      mode: 'fast',
      batches: [
        ['host/a', 'host/b'],
        ['host/c', 'host/d', 'host/e'],
      ],
    });
    expect(plan.batches.map(({ size }) => size)).toEqual([2, 3]);
    // The loops of reconcile repeat as often as it takes.
    expect(plan.changes).toBe('known at run time');
    const short = { ...doc, do: doc.do.filter(({ id }) => ['each'].includes(id)), output: {}, vars: {} };
    // drain, restart and undrain of each host.
    expect(planFlow(compiled(short), input).changes).toBe(15);
    const set = {
      ...goodFlow(),
      do: [
        { id: 'keep', set: { busy: '${input.hosts}' } },
        { id: 'loop', forEach: { in: '${vars.busy}' }, do: [{ id: 'x', wait: { for: '1s' } }] },
      ],
    } as FlowDocument;
    expect(planFlow(compiled(set), input).steps[1]).toMatchObject({ items: 'known at run time' });
  });

  it('says which steps the input skips, and which run inside the worker', () => {
    const doc = {
      ...goodFlow(),
      do: [
        { id: 'a', if: "input.mode == 'slow'", call: 'disk.wipe@1', with: { disk: 'x', token: 'y' } },
        { id: 'b', call: 'probe.http@1', with: { url: 'http://x' }, execution: 'local' },
        { id: 'c', if: "steps.b.output.state == 'up'", call: 'inv.list@1', with: { kind: 'host' } },
      ],
    } as FlowDocument;
    const plan = planFlow(compiled(doc), input);
    expect(plan.steps.map(({ skipped }) => skipped)).toEqual([true, undefined, undefined]);
    expect([plan.local, plan.changes, plan.blastRadius.inFlight]).toEqual([['b'], 0, 0]);
  });

  it('says the worst case, and when the timeout is shorter', () => {
    const doc = {
      ...goodFlow(),
      timeout: '10m',
      do: [
        { id: 'w', wait: { for: '5m' } },
        {
          id: 'c',
          call: 'node.uncordon@1',
          with: { node: 'x' },
          retry: { maximumAttempts: 30, initialInterval: '10s', backoffCoefficient: 1 },
        },
      ],
    } as FlowDocument;
    const plan = planFlow(compiled(doc), input);
    // 5 m, 30 attempts of 20 s, 29 pauses of 10 s.
    expect(plan.worst).toEqual({ duration: '19m50s', events: 12 + 5 + 6, continues: false });
    expect(plan.findings).toMatchObject([{ code: 'OPS1208', pointer: '/timeout', severity: 'warning' }]);
  });

  it('holds the blast radius against the environment', () => {
    const plan = planFlow(compiled(goodFlow()), input, { environment: { maxInFlight: 1, maxTargets: 3 } });
    expect(plan.findings.map(({ code, pointer }) => [code, pointer])).toEqual([
      ['OPS1807', '/do'],
      ['OPS1807', '/targets'],
    ]);
  });

  it('names wrong input, and leaves the rest to the run', () => {
    const plan = planFlow(compiled(goodFlow()), { mode: 'fast' });
    expect(plan.inputErrors).toMatchObject([{ pointer: '/hosts' }]);
    expect([plan.targets, plan.locks, plan.batches]).toEqual(['known at run time', 'known at run time', []]);
  });
});

describe('the plan of a retry', () => {
  const record = (path: string, status: string): StepRecord =>
    ({ path, id: path.split('/').at(-1)!, verb: 'call', status, attempts: 1, startedAt: '' }) as StepRecord;

  it('keeps what ended well, and repeats what failed, was undone or cancelled', () => {
    const plan = planFlow(compiled(goodFlow()), input);
    const retry = planRetry(plan, [
      record('scan', 'succeeded'),
      record('each', 'failed'),
      record('each[host%2Fa]/guard/drain', 'succeeded'),
      record('each[host%2Fa]/guard/drain~undo', 'succeeded'),
      record('each[host%2Fb]/guard/drain', 'succeeded'),
      record('each[host%2Fb]/guard/restart', 'failed'),
      record('each[host%2Fc]/guard/drain', 'cancelled'),
      record('gone', 'succeeded'),
    ]);
    expect(retry.kept).toEqual(['scan', 'each[host%2Fb]/guard/drain']);
    expect(retry.again).toEqual([
      { path: 'each', why: 'it failed' },
      { path: 'each[host%2Fa]/guard/drain', why: 'it was undone', effect: 'mutate' },
      { path: 'each[host%2Fb]/guard/restart', why: 'it failed', effect: 'mutate' },
      { path: 'each[host%2Fc]/guard/drain', why: 'it was cancelled', effect: 'mutate' },
    ]);
    expect(retry.first).toContainEqual({ path: 'group/wipe', effect: 'destroy' });
    expect(retry.first.map(({ path }) => path)).not.toContain('each/guard/drain');
  });
});
