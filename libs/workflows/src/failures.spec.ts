import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import { eventually } from '@opsloop/testing';
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
