/** What people and other workflows say in the moments in which a worker may lose it, or a new Temporal run just begins. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AnswerRequest, JsonObject, SteerAct, Step } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { beforeVerdict, compiled, Harness, type Run } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => h.reset());

const ask: Step = { id: 'ok', approval: { title: 'Really?', approvers: {}, timeout: '1m' } };
const call = (id: string, atom = `a.${id}@1`): Step => ({ id, call: atom });
const approve = (run: Run, more: Partial<AnswerRequest> = {}): Promise<unknown> => {
  const person = { kind: 'user' as const, name: 'bob', groups: [] };
  const request: AnswerRequest = { path: 'ok', answer: 'approve', person, reason: 'so', ...more };
  return run.handle.executeUpdate(TEMPORAL_NAMES.approvalUpdate, { args: [request] });
};
const carried = (more: JsonObject): JsonObject => ({
  ...{ v: 1, startedMs: Date.now(), journal: {}, cursors: {}, remembered: {}, vars: {}, scopes: {}, undo: {} },
  records: [],
  ...more,
});

describe('an answer', () => {
  it.each(['approve', 'withdraw'] as const)(
    '%s stands in the history before control hears of the end',
    async (answer) => {
      const held: { types: string[] } = { types: [] };
      h.on(TEMPORAL_NAMES.approvalActivity, async (request) => {
        if ((request['report'] as JsonObject)['change'] !== 'closed') return null;
        const { events } = await run.handle.fetchHistory();
        held.types = events!.map((event) => Object.keys(event).find((key) => key.endsWith('EventAttributes'))!);
        return null;
      });
      const run = await h.run({ do: [ask] });
      await eventually(async () => expect((await run.step('ok'))?.status).toBe('waiting'));
      await approve(run, { answer });
      await run.end();
      expect(held.types).toContain('workflowExecutionUpdateAcceptedEventAttributes');
    },
  );
});

describe('in the first task of a new Temporal run', () => {
  it('what is said is judged by all that the run before knew', async () => {
    await h.stopWorkers();
    const sub = { parentPath: 'sub', within: ['test/root'] };
    const waiting = await h.run(
      { do: [{ id: 'w', waitForEvent: { one: { type: 'a.up' }, timeout: '3s' } }], output: '${steps.w.output.type}' },
      {
        context: sub,
        carried: carried({
          inbox: { mailbox: { seq: 0, seen: [], held: [], dropped: 0, subs: [] }, waits: ['sub/w'], early: [] },
        }),
      },
    );
    const event = { eventId: 'e', id: 'e', source: 's', type: 'a.up', time: '2026-01-01' };
    const offer = { sub: 'sub/w', entry: 0, held: { seq: 1, event, chars: 10 } };
    await waiting.handle.signal(TEMPORAL_NAMES.offerSignal, offer);

    const paused = await h.run(
      { do: [call('one')] },
      { carried: carried({ steering: { acts: [], ids: ['before'], pauses: [] } }) },
    );
    const act: SteerAct = { act: 'pause', scope: 'flow' };
    const pausing = paused.steer(act);
    const ended = await h.run(
      { do: [call('done'), { id: 'w', wait: { for: '200ms' } }] },
      {
        carried: carried({
          journal: { done: { status: 'succeeded' } },
          records: [
            {
              ...{ path: 'done', id: 'done', verb: 'call', status: 'succeeded', attempts: 1 },
              ...{ startedAt: '2026-01-01T00:00:00.000Z', endedAt: '2026-01-01T00:00:01.000Z' },
            },
          ],
        }),
      },
    );
    const refused = ended
      .steer({ act: 'skip', path: 'done' })
      .catch((e: { cause?: { type?: string } }) => e.cause?.type);
    const unknown = ended
      .steer({ act: 'skip', path: 'nowhere' })
      .catch((e: { cause?: { type?: string } }) => e.cause?.type);
    await h.startWorkers();

    expect(await pausing).toEqual({ applied: true, paused: true });
    await eventually(async () => expect((await paused.step('one'))?.status).toBe('paused'));
    expect(await refused).toBe('conflict');
    expect(await unknown).toBe('validation');
    expect(await waiting.end()).toEqual({ status: 'succeeded', output: 'a.up' });
    await paused.steer({ act: 'resume' });
    expect((await paused.end()).status).toBe('succeeded');
    expect((await ended.end()).status).toBe('succeeded');
  });

  it('a sub-flow that has just begun hears a pause beside what it began with', async () => {
    await h.stopWorkers();
    const flow = compiled({ do: [call('one')] });
    const run = await h.run(flow, { steering: { acts: [], ids: ['before'], pauses: [] } });
    const request = { act: 'pause', scope: 'flow', id: 'p', by: 'anna', reason: 'so', at: '2026-01-01T00:00:00.000Z' };
    await run.handle.signal(TEMPORAL_NAMES.steerSignal, request);
    await h.startWorkers();
    await eventually(async () => expect((await run.step('one'))?.status).toBe('paused'));
    await run.steer({ act: 'resume' });
    expect((await run.end()).status).toBe('succeeded');
  });
});

it('a step that only a person can judge still waits for the verdict in a new Temporal run', async () => {
  let free!: (value: null) => void;
  const stuck = new Promise<null>((resolve) => (free = resolve));
  h.on('a.once', (c) => (beforeVerdict(c) ? stuck : 'second'));
  const run = await h.run(
    {
      do: [
        {
          id: 'p',
          parallel: {},
          do: [
            // Time enough for the second attempt on a busy machine; the turns go on for longer.
            { ...call('once'), timeout: { startToClose: '1s' } } as Step,
            { id: 'l', loop: { max: { iterations: 20 }, every: '100ms' }, do: [call('turn')] },
          ],
        },
      ],
      output: '${steps.once.output}',
    },
    { atoms: { 'a.once@1': { idempotency: 'none', retry: { maximumAttempts: 1 } } }, continueAfter: 40 },
  );
  await eventually(async () =>
    expect(await run.step('p/once')).toMatchObject({ status: 'waiting', problem: { code: 'timeout' } }),
  );
  const before = await run.continued();
  await eventually(async () => expect(await run.continued()).toBeGreaterThan(before));
  expect(await run.step('p/once')).toMatchObject({ status: 'waiting', problem: { code: 'timeout' } });
  expect(run.calls().filter((one) => one.startsWith('a.once'))).toHaveLength(1);
  expect(await run.steer({ act: 'retry', path: 'p/once' })).toMatchObject({ applied: true });
  free(null);
  expect(await run.end()).toEqual({ status: 'succeeded', output: 'second' });
  expect(run.calls().filter((one) => one.startsWith('a.once'))).toHaveLength(2);
});
