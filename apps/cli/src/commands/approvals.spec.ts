import type { ApprovalView } from '@opsloop/contracts';
import { startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, RecordedCall, TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { runCli } from '../program.js';

const ID = '018f0000-0000-7000-8000-000000000001';
const RUN = '018f0000-0000-7000-8000-000000000002';
const approval: ApprovalView = {
  id: ID,
  run: RUN,
  flow: 'db/failover',
  path: 'ok',
  title: 'Fail over?',
  details: { cluster: 'a' },
  approvers: { groups: ['dba'], users: ['anna'], min: 2, excludeInitiator: true },
  form: { type: 'object' },
  onTimeout: 'escalate',
  status: 'open',
  openedAt: '2026-01-01T00:00:00.000Z',
  expiresAt: '2026-01-01T02:00:00.000Z',
  initiator: { kind: 'rule', name: 'db/down' },
  answers: [{ by: 'bob', answer: 'approve', at: '2026-01-01T00:01:00.000Z', reason: 'fine' }],
  approvals: 1,
  needed: 2,
};
let server: HttpTarget;
let answer: (call: RecordedCall) => TargetAnswer;

beforeAll(async () => {
  server = await startHttpTarget((call) => answer(call));
});
afterAll(() => server.close());
beforeEach(() => {
  server.calls.length = 0;
  answer = ({ path }) => ({ body: path.startsWith('/v1/approvals?') ? { items: [approval] } : approval });
});

async function opsloop(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await runCli(args, {
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    isTTY: false,
    env: { OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key' },
    cwd: '/',
    stdin: () => Promise.resolve('window: now\n'),
  });
  return { code, ...said };
}

it.each([
  [['approve', ID], { answer: 'approve' }],
  [['approve', ID, '--form', 'n=3', '--form', '@-'], { answer: 'approve', form: { n: 3, window: 'now' } }],
  [['reject', ID], { answer: 'reject' }],
])('%j answers with its reason', async (args, body) => {
  const { code, out } = await opsloop(...args, '--reason', 'why');
  expect([code, out]).toEqual([0, expect.stringContaining('1 more approval is needed')]);
  expect(server.calls[0]).toMatchObject({
    method: 'POST',
    path: `/v1/approvals/${ID}/answer`,
    body: { ...body, reason: 'why' },
  });
});

it('lists what is open, mine, or all', async () => {
  expect((await opsloop('approvals', 'ls')).out).toMatch(/Fail over\? +open +1\/2 +dba, anna/);
  await opsloop('approvals', 'ls', '--mine', '--run', RUN, '--status', 'all', '--limit', '5');
  expect(server.calls.map((call) => call.path)).toEqual([
    '/v1/approvals?limit=20&status=open',
    `/v1/approvals?limit=5&run=${RUN}&mine=true`,
  ]);
});

it('shows one with everything that whoever answers needs to know', async () => {
  const { out } = await opsloop('approvals', 'show', ID);
  for (const part of [
    'Fail over?',
    RUN,
    'dba, anna, not the initiator',
    'then escalate',
    '"cluster": "a"',
    'bob approved: fine',
    `opsloop approve ${ID} --form`,
  ])
    expect(out).toContain(part);
  expect(JSON.parse((await opsloop('--json', 'approvals', 'show', ID)).out)).toEqual(approval);
});

it('says what is wrong: no reason, a form that is none, an answer that is refused', async () => {
  expect((await opsloop('approve', ID)).code).toBe(2);
  expect(await opsloop('approve', ID, '--form', 'x', '--reason', 'y')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--form "x" is neither') as string,
  });
  answer = () => ({
    status: 403,
    headers: { 'content-type': 'application/problem+json' },
    body: {
      type: 'https://opsloop.dev/errors/authorization',
      title: 'No',
      status: 403,
      code: 'authorization',
      detail: 'You may not answer this',
    },
  });
  expect(await opsloop('reject', ID, '--reason', 'y')).toMatchObject({
    code: 1,
    err: expect.stringContaining('You may not answer this') as string,
  });
});
