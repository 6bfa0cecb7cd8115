import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type {
  AnswerRequest,
  AnswerResult,
  ApprovalReport,
  ApprovalSpec,
  Json,
  JsonObject,
  Step,
} from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, compiled, type Run } from '../test/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
afterEach(() => h.reset());

const ask = (approval: Partial<ApprovalSpec> = {}): Step => ({
  id: 'ok',
  approval: { title: 'Really?', approvers: { groups: ['sre'] }, timeout: '1m', ...approval },
});
const reports = (run: Run): ApprovalReport[] =>
  h.recorded
    .filter((r) => r.type === TEMPORAL_NAMES.approvalActivity && (r.argument as JsonObject)['run'] === run.id)
    .map((r) => (r.argument as unknown as { report: ApprovalReport }).report);
const asked = (run: Run): Promise<void> =>
  eventually(async () => {
    if (!reports(run).some((r) => r.change === 'opened')) throw new Error('not yet');
  });

async function answer(
  run: Run,
  name: string,
  patch: Partial<AnswerRequest> = {},
  workflowId?: string,
): Promise<AnswerResult | string> {
  const request: AnswerRequest = {
    path: 'ok',
    answer: 'approve',
    person: { kind: 'user', name, groups: ['sre'] },
    reason: 'because',
    ...patch,
  };
  try {
    return await h.client.workflow
      .getHandle(workflowId ?? run.handle.workflowId)
      .executeUpdate<AnswerResult, [AnswerRequest]>(TEMPORAL_NAMES.approvalUpdate, { args: [request] });
  } catch (err) {
    const cause = (err as { cause?: { type?: string; message?: string } }).cause;
    return `${cause?.type}: ${cause?.message}`;
  }
}

describe('approval', () => {
  it('needs as many different persons as it says, none of them the initiator', async () => {
    const run = await h.run(
      {
        vars: { n: 3 },
        do: [
          ask({
            title: 'Replace ${vars.n} hosts',
            details: { hosts: '${input.hosts}' },
            approvers: { groups: ['sre'], users: ['zoe'], min: 2, excludeInitiator: true },
          }),
        ],
        output: '${steps.ok.output}',
      },
      { input: { hosts: ['a'] }, attributes: true },
    );
    await asked(run);
    expect(reports(run)[0]).toMatchObject({
      change: 'opened',
      path: 'ok',
      title: 'Replace 3 hosts',
      details: { hosts: ['a'] },
      workflowId: run.handle.workflowId,
      onTimeout: 'fail',
    });
    expect((await run.step('ok'))?.status).toBe('waiting');
    expect(await answer(run, 'anna')).toMatch(/^authorization: who started the run/);
    expect(await answer(run, 'eve', { person: { kind: 'user', name: 'eve', groups: ['dev'] } })).toMatch(
      /^authorization: needs user zoe or group sre/,
    );
    expect(await answer(run, 'bob', { path: 'other' })).toMatch(/^conflict: nothing is asked/);
    expect(await answer(run, 'bob')).toEqual({ status: 'open', approvals: 1, needed: 2 });
    expect(await answer(run, 'bob')).toEqual({ status: 'open', approvals: 1, needed: 2 });
    expect(await answer(run, 'bob', { answer: 'reject' })).toMatch(/^conflict: bob has answered approve/);
    expect(
      await answer(run, 'zoe', { person: { kind: 'user', name: 'zoe', groups: [] }, form: { window: 'now' } }),
    ).toEqual({ status: 'approved', approvals: 2, needed: 2 });
    const end = await run.end();
    expect(end).toMatchObject({
      status: 'succeeded',
      output: { answer: 'approve', by: ['bob', 'zoe'], form: { window: 'now' } },
    });
    expect((end.output as { answers: Json[] }).answers[0]).toMatchObject({ by: 'bob', reason: 'because' });
    expect(reports(run)[1]).toMatchObject({ change: 'closed', status: 'approved' });
  });

  it('one rejection rejects, which a flow may catch', async () => {
    const run = await h.run({
      do: [
        {
          id: 't',
          try: [{ ...ask({ approvers: { min: 2 } }) }],
          catch: [
            {
              errors: { type: 'approval-rejected', status: 403 },
              as: 'e',
              do: [{ id: 'said', set: { why: '${e.detail}' } }],
            },
          ],
        },
      ],
      output: '${vars.why}',
    });
    await asked(run);
    await answer(run, 'bob', { path: 't/ok' });
    expect(await answer(run, 'cy', { path: 't/ok', answer: 'reject', reason: 'not now' })).toMatchObject({
      status: 'rejected',
    });
    expect(await run.end()).toEqual({ status: 'succeeded', output: 'rejected by cy: not now' });
    expect(reports(run).at(-1)).toMatchObject({
      change: 'closed',
      status: 'rejected',
      reason: 'rejected by cy: not now',
    });
  });

  it.each([
    ['fail', 'failed', 'approval-timeout', 'timed-out'],
    [undefined, 'failed', 'approval-timeout', 'timed-out'],
    ['reject', 'failed', 'approval-rejected', 'rejected'],
    ['approve', 'succeeded', undefined, 'approved'],
    ['escalate', 'failed', 'approval-timeout', 'timed-out'],
  ] as const)('when nobody answers in time: %s', async (onTimeout, status, code, said) => {
    const run = await h.run({
      do: [ask({ timeout: '100ms', ...(onTimeout === undefined ? {} : { onTimeout }) })],
    });
    const end = await run.end();
    expect([end.status, end.problem?.['code']]).toEqual([status, code]);
    expect(reports(run).map((r) => r.change)).toEqual(
      onTimeout === 'escalate' ? ['opened', 'escalated', 'closed'] : ['opened', 'closed'],
    );
    expect(reports(run).at(-1)).toMatchObject({ status: said });
  });

  it('withdrawn ends the run as cancelled, with compensation and finally, past every catch', async () => {
    const run = await h.run(
      {
        do: [
          { id: 'a', call: 'a.a@1' },
          { id: 't', try: [ask()], catch: [{ do: [{ id: 'never', call: 'a.never@1' }] }] },
        ],
        finally: [{ id: 'f', call: 'a.f@1' }],
      },
      { atoms: { 'a.a@1': { compensate: { call: 'u.a@1' } } } },
    );
    await asked(run);
    expect(
      await answer(run, 'opsloop', {
        path: 't/ok',
        answer: 'withdraw',
        person: { kind: 'service', name: 'opsloop', groups: [] },
        reason: 'it is up again',
      }),
    ).toMatchObject({ status: 'withdrawn' });
    expect((await run.end()).status).toBe('cancelled');
    expect(run.calls()).toEqual(['a.a:a', 'u.a:a~undo', 'a.f:f']);
    expect(run.outcome()).toMatchObject({
      status: 'cancelled',
      problem: { code: 'cancelled', detail: 'the approval was withdrawn: it is up again' },
    });
    expect(await answer(run, 'bob', { path: 't/ok' })).not.toMatchObject({ status: 'approved' });
  });

  it('is asked in a sub-flow by the sub-flow; a cancel closes it', async () => {
    const child = compiled({ name: 'test/child', do: [ask()], output: '${steps.ok.output.by}' });
    const doc = { do: [{ id: 'sub', run: 'test/child@1' } as Step], output: '${steps.sub.output}' };
    const run = await h.run(doc, { flows: { 'test/child@1': child } });
    await asked(run);
    const [{ path, workflowId }] = reports(run) as [ApprovalReport];
    expect([path, workflowId]).not.toEqual(['ok', run.handle.workflowId]);
    await answer(run, 'bob', { path }, workflowId);
    expect(await run.end()).toEqual({ status: 'succeeded', output: ['bob'] });
    const other = await h.run(doc, { flows: { 'test/child@1': child } });
    await asked(other);
    await other.handle.cancel();
    expect((await other.end()).status).toBe('cancelled');
    expect(reports(other).at(-1)).toMatchObject({ change: 'closed', status: 'cancelled' });
  });

  it('keeps its answers when the run goes on in a new Temporal run, and while no worker lives', async () => {
    const run = await h.run(
      {
        do: [
          {
            id: 'p',
            parallel: {},
            do: [
              ask({ approvers: { min: 2 } }),
              { id: 'l', loop: { max: { iterations: 12 } }, do: [{ id: 'c', call: 'a.c@1' }] },
            ],
          },
        ],
        output: '${steps.ok.output.by}',
      },
      { continueAfter: 20 },
    );
    await asked(run);
    expect(await answer(run, 'bob', { path: 'p/ok' })).toMatchObject({ approvals: 1 });
    await eventually(async () => {
      if ((await run.continued()) < 1) throw new Error('not yet');
    });
    await h.stopWorkers();
    const late = answer(run, 'cy', { path: 'p/ok' });
    await h.startWorkers();
    expect(await late).toEqual({ status: 'approved', approvals: 2, needed: 2 });
    expect(await run.end()).toEqual({ status: 'succeeded', output: ['bob', 'cy'] });
    expect(reports(run).map((r) => r.change)).toEqual(['opened', 'closed']);
  }, 60_000);
});
