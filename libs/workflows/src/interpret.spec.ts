import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Harness } from '../test/harness.js';

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
          { id: 'yes', return: { seen: '${vars.seen}', old: '${vars.old}', first: '${steps.scan.output.items[0]?}' } },
          { id: 'after', call: 'host.touch@1' },
        ],
      },
      { input: { host: 'host/a' } },
    );
    expect(await run.end()).toMatchObject({ status: 'succeeded', output: { seen: 2, old: 0 } });
    expect(run.calls()).toEqual(['inventory.read:scan', 'host.touch:group/touch']);
    expect(run.outcome()).toMatchObject({ status: 'succeeded', targets: [] });
    expect(run.outcome().steps.map((s) => `${s.path} ${s.status}`)).toEqual([
      'scan succeeded',
      'keep succeeded',
      'group succeeded',
      'group/touch succeeded',
      'no skipped',
      'yes succeeded',
    ]);
    expect(run.outcome().steps[0]).toMatchObject({ title: 'Read host/a', atom: 'inventory.read@1.0.0', verb: 'call' });
  });
});
