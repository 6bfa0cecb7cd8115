import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import type { Json, SteerAct, Step } from '@opsloop/contracts';
import { stepKey } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { beforeVerdict, compiled, Harness, type Run } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const call = (id: string, atom = `a.${id}@1`): Step => ({ id, call: atom });
const status = async (run: Run, path: string): Promise<string | undefined> => (await run.step(path))?.status;
const reaches = (run: Run, path: string, wanted: string): Promise<void> =>
  eventually(async () => expect(await status(run, path)).toBe(wanted));
const refusal = async (run: Run, act: SteerAct): Promise<string | null | undefined> => {
  const err = await run.steer(act).then(
    () => undefined,
    (e: { cause?: ApplicationFailure }) => e.cause,
  );
  return err?.type;
};
/** An activity that ends when it is told to. */
function gate(): { open: (value?: unknown) => void; passed: Promise<unknown> } {
  let open!: (value?: unknown) => void;
  const passed = new Promise<unknown>((resolve) => (open = resolve));
  return { open, passed };
}

describe('pause and resume', () => {
  it('holds the flow at its next step, survives a killed worker and a new Temporal run, and goes on', async () => {
    const run = await h.run(
      {
        do: [
          call('one'),
          { id: 'w', wait: { for: '300ms' } },
          { id: 'l', loop: { max: { iterations: 8 } }, do: [call('turn')] },
        ],
      },
      { attributes: true, continueAfter: 40 },
    );
    await reaches(run, 'w', 'running');
    expect(await run.steer({ act: 'pause', scope: 'flow' })).toEqual({ applied: true, paused: true });
    expect(await run.steer({ act: 'pause', scope: 'flow' })).toEqual({ applied: false, paused: true });
    await reaches(run, 'l', 'paused');
    expect((await run.handle.describe()).searchAttributes['OpsPhase']).toEqual(['paused']);
    await h.stopWorkers();
    await h.startWorkers();
    await reaches(run, 'l', 'paused');
    expect(run.calls()).toEqual(['a.one:one']);
    expect(await run.steer({ act: 'resume' })).toEqual({ applied: true, paused: false });
    expect(await run.steer({ act: 'resume' })).toEqual({ applied: false, paused: false });
    expect((await run.end()).status).toBe('succeeded');
    expect(run.calls()).toHaveLength(9);
    await run.hasContinued(1);
  });

  it('holds one step, or the forEach after its batch, and a cancel ends what is held', async () => {
    const run = await h.run({
      do: [
        {
          id: 'p',
          parallel: {},
          do: [
            { id: 'a', do: [{ id: 'w', wait: { for: '200ms' } }, call('held')] },
            { id: 'b', forEach: { in: [1, 2, 3], as: 'n', batch: { size: 1 } }, do: [call('item')] },
          ],
        },
      ],
    });
    await run.steer({ act: 'pause', scope: 'step', path: 'p/a/held' });
    await run.steer({ act: 'pause', scope: 'afterBatch', path: 'p/b' });
    await reaches(run, 'p/a/held', 'paused');
    await reaches(run, 'p/b', 'paused');
    // The pause may have come after the first batch.
    expect(run.calls().filter((c) => c.startsWith('a.item')).length).toBeLessThan(3);
    await run.steer({ act: 'resume', path: 'p/b' });
    await eventually(() => expect(run.calls().filter((c) => c.startsWith('a.item'))).toHaveLength(3));
    expect(await status(run, 'p/a/held')).toBe('paused');
    await run.handle.cancel();
    expect(await run.end()).toEqual({ status: 'cancelled' });
    expect(run.calls().some((c) => c.startsWith('a.held'))).toBe(false);
  });

  it('reaches sub-flows, and the deadline of the parent stands still meanwhile', async () => {
    const child = compiled({ name: 'test/child', do: [{ id: 'w', wait: { for: '200ms' } }, call('inner')] });
    const run = await h.run(
      { do: [{ id: 'd', timeout: '3s', do: [{ id: 'sub', run: 'test/child@1' }] }] },
      { flows: { 'test/child@1': child } },
    );
    await reaches(run, 'd/sub', 'running');
    await eventually(async () => expect(await run.step('d/sub')).toHaveProperty('workflowId'));
    await run.steer({ act: 'pause', scope: 'flow' });
    const sub = h.client.workflow.getHandle((await run.step('d/sub'))!.workflowId!);
    await eventually(async () => {
      const steps = await sub.query<{ path: string; status: string }[]>('steps');
      expect(steps.find((s) => s.path === 'd/sub/inner')?.status).toBe('paused');
    });
    const since = Date.now();
    await eventually(() => expect(Date.now() - since).toBeGreaterThan(3_200));
    expect(await status(run, 'd/sub')).toBe('running');
    await run.steer({ act: 'resume' });
    expect((await run.end()).status).toBe('succeeded');
    expect(run.calls()).toEqual(['a.inner:d/sub/inner']);
  });
});

describe('skip', () => {
  it('gives an output instead of executing a step, also one that runs or waits or is held', async () => {
    const { passed, open } = gate();
    h.on('a.stuck', () => passed);
    const run = await h.run({
      do: [
        call('stuck'),
        { id: 'w', wait: { for: '1h' } },
        { id: 'block', try: [{ id: 'long', wait: { for: '1h' } }, call('never')], finally: [call('close')] },
        call('later'),
        call('end'),
      ],
      output: {
        stuck: '${steps.stuck.output}',
        later: '${steps.later.output.n}',
        block: '${steps.block.output}',
      } as Json,
    });
    await reaches(run, 'stuck', 'running');
    expect(await run.steer({ act: 'skip', path: 'later', output: { n: 5 } })).toMatchObject({ applied: true });
    expect(await refusal(run, { act: 'skip', path: 'later', output: { n: 6 } })).toBe('conflict');
    expect(await refusal(run, { act: 'skip', path: 'nowhere/at/all' })).toBe('validation');
    await run.steer({ act: 'skip', path: 'stuck', output: 'given' });
    open('late');
    await reaches(run, 'w', 'waiting');
    expect(await run.step('stuck')).toMatchObject({ status: 'skipped', output: 'given' });
    expect(await refusal(run, { act: 'skip', path: 'stuck', output: 'other' })).toBe('conflict');
    expect(await run.steer({ act: 'skip', path: 'stuck', output: 'given' })).toMatchObject({ applied: false });
    await run.steer({ act: 'skip', path: 'w' });
    await reaches(run, 'block/long', 'waiting');
    await run.steer({ act: 'skip', path: 'block', output: 'done by hand' });
    expect(await run.end()).toEqual({
      status: 'succeeded',
      output: { stuck: 'given', later: 5, block: 'done by hand' },
    });
    expect(run.calls()).toEqual(['a.stuck:stuck', 'a.close:block/close', 'a.end:end']);
  });
});

describe('a step that only a person can judge', () => {
  const atoms = { 'a.once@1': { idempotency: 'none' as const, retry: { maximumAttempts: 1 } } };
  const doc = { do: [{ ...call('once'), timeout: { startToClose: '1s' } } as Step], output: '${steps.once.output}' };

  it('waits for the verdict, and is done again with a key of its own', async () => {
    h.on('a.once', (c) => (beforeVerdict(c) ? new Promise(() => undefined) : 'second'));
    const run = await h.run(doc, { atoms });
    await eventually(async () =>
      expect(await run.step('once')).toMatchObject({ status: 'waiting', problem: { code: 'timeout' } }),
    );
    expect(await run.steer({ act: 'retry', path: 'once' })).toMatchObject({ applied: true });
    expect(await run.end()).toEqual({ status: 'succeeded', output: 'second' });
    expect(h.recorded.filter((r) => r.type === 'a.once').map((r) => r.argument.context.key)).toEqual([
      stepKey(run.id, 'once', 0),
      stepKey(run.id, 'once', 1),
    ]);
  });

  it('or is skipped with what the person saw', async () => {
    h.on('a.once', () => new Promise(() => undefined));
    const run = await h.run(doc, { atoms });
    await reaches(run, 'once', 'waiting');
    expect(await refusal(run, { act: 'retry', path: 'elsewhere' })).toBe('validation');
    await run.steer({ act: 'skip', path: 'once', output: 'it is done' });
    expect(await run.end()).toEqual({ status: 'succeeded', output: 'it is done' });
  });
});

describe('a forEach', () => {
  it('follows the concurrency that an operator sets, and loses an aborted item alone', async () => {
    let now = 0;
    let most = 0;
    const gates = new Map<number, () => void>();
    h.on('a.item', async (c) => {
      most = Math.max(most, ++now);
      await new Promise<void>((resolve) => gates.set(c.input as unknown as number, resolve));
      now -= 1;
      return null;
    });
    const run = await h.run(
      {
        do: [
          {
            id: 'each',
            forEach: { in: '${input.list}', as: 'n', tolerate: { failures: 1 }, collect: '${n}' },
            do: [call('before'), { id: 'item', call: 'a.item@1', with: '${n}' }, call('after')],
          },
        ],
        output: { done: '${steps.each.output}', failed: '${steps.each.failed}' },
      },
      {
        input: { list: [0, 1, 2, 3, 4, 5] },
        atoms: { 'a.before@1': { compensate: { call: 'u.before@1' } } },
      },
    );
    await eventually(() => expect(gates.size).toBe(1));
    await run.steer({ act: 'setConcurrency', path: 'each', concurrency: 4 });
    await eventually(() => expect(now).toBe(4));
    await run.steer({ act: 'abortItem', path: 'each', item: '2' });
    // What runs hears of it at its next heartbeat; what it did is undone, and nothing more of it begins.
    gates.get(2)!();
    await eventually(() => expect(run.calls()).toContain('u.before:each[2]/before~undo'));
    expect(run.calls()).not.toContain('a.after:each[2]/after');
    expect(await refusal(run, { act: 'setConcurrency', path: 'each[1]/item', concurrency: 2 })).toBe('validation');
    await run.steer({ act: 'setConcurrency', path: 'each', concurrency: 1 });
    const free = async (): Promise<void> => {
      for (const open of gates.values()) open();
      expect((await run.handle.describe()).status.name).toBe('COMPLETED');
    };
    await eventually(free);
    expect((await run.end()).output).toMatchObject({
      done: [0, 1, 3, 4, 5],
      failed: [{ key: '2', error: { code: 'cancelled', detail: 'aborted by anna: for a test' } }],
    });
    expect(most).toBe(4);
  });

  it('adapts to a template over vars', async () => {
    let now = 0;
    let most = 0;
    h.on('a.work', async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 300));
      now -= 1;
      return null;
    });
    const run = await h.run(
      {
        vars: { limit: 1 },
        do: [
          {
            id: 'each',
            forEach: { in: '${input.list}', as: 'n', concurrency: '${vars.limit}' },
            do: [call('work'), { id: 'more', set: { limit: 3 } }],
          },
        ],
      },
      { input: { list: [0, 1, 2, 3, 4, 5, 6, 7] } },
    );
    expect((await run.end()).status).toBe('succeeded');
    expect(most).toBe(3);
  });
});
