import { startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { runCli } from '../program.js';

const ID = '018f0000-0000-7000-8000-000000000001';
let server: HttpTarget;
let answer: TargetAnswer;

beforeAll(async () => {
  server = await startHttpTarget(() => answer);
});
afterAll(() => server.close());
beforeEach(() => {
  server.calls.length = 0;
  answer = { body: { id: ID, status: 'running', applied: true, paused: false } };
});

async function opsloop(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await runCli(args, {
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    isTTY: false,
    env: { OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key' },
    cwd: '/',
    stdin: () => Promise.resolve(''),
  });
  return { code, ...said };
}

it.each([
  [['pause', ID], 'pause', { scope: 'flow' }],
  [['pause', ID, '--step', 'a/b'], 'pause', { scope: 'step', path: 'a/b' }],
  [['pause', ID, '--after-batch'], 'pause', { scope: 'afterBatch' }],
  [['pause', ID, '--after-batch', 'each'], 'pause', { scope: 'afterBatch', path: 'each' }],
  [['resume', ID], 'resume', {}],
  [['resume', ID, '--step', 'a'], 'resume', { path: 'a' }],
  [['skip', ID, 'a/b', '--output', '{"n":1}'], 'skip', { path: 'a/b', output: { n: 1 } }],
  [['skip', ID, 'a', '--output', 'by hand'], 'skip', { path: 'a', output: 'by hand' }],
  [['set-concurrency', ID, 'each', '4'], 'set-concurrency', { path: 'each', concurrency: 4 }],
  [['abort-item', ID, 'each', 'host/a'], 'abort-item', { path: 'each', item: 'host/a' }],
])('runs %j posts the act with its reason', async (args, act, body) => {
  expect(await opsloop('runs', ...args, '--reason', 'why')).toMatchObject({ code: 0 });
  expect(server.calls[0]).toMatchObject({
    method: 'POST',
    path: `/v1/runs/${ID}/${act}`,
    body: { ...body, reason: 'why' },
  });
});

it('says what is so already, and prints the answer as JSON', async () => {
  answer = { body: { id: ID, status: 'paused', applied: false, paused: true } };
  expect((await opsloop('runs', 'pause', ID, '--reason', 'x')).out).toContain('it was so already; it is paused');
  expect(JSON.parse((await opsloop('--json', 'runs', 'pause', ID, '--reason', 'x')).out)).toMatchObject({
    paused: true,
  });
});

it('retries with a key and names the new run', async () => {
  answer = { status: 202, body: { id: 'new', status: 'running', admission: { verdict: 'admitted' }, retryOf: ID } };
  const { out } = await opsloop('runs', 'retry', ID, '--item', 'a', '--item', 'b', '--key', 'k', '--reason', 'x');
  expect(out).toContain('is retried as run new');
  expect(server.calls[0]).toMatchObject({ body: { from: 'failed', items: ['a', 'b'], reason: 'x' } });
  expect(server.calls[0]!.headers['idempotency-key']).toBe('k');
});

it('looks before it acts on many, and fails when some refuse', async () => {
  answer = { body: { action: 'pause', count: 2, runs: [{ id: ID, flow: 'a/b' }], dryRun: true } };
  expect((await opsloop('runs', 'act', 'pause', '--under', 'host/a', '--reason', 'x')).out).toContain('--count 2');
  expect(server.calls[0]!.body).toEqual({ action: 'pause', filter: { under: 'host/a' }, reason: 'x', dryRun: true });
  answer = {
    body: {
      action: 'pause',
      count: 2,
      runs: [],
      dryRun: false,
      done: ['a'],
      failed: [{ id: 'b', problem: { code: 'run-closed', title: 't' } }],
    },
  };
  expect(await opsloop('runs', 'act', 'pause', '--count', '2', '--reason', 'x')).toMatchObject({ code: 1 });
  expect(server.calls[1]!.body).toMatchObject({ expectedCount: 2 });
  expect(await opsloop('runs', 'act', 'explode', '--reason', 'x')).toMatchObject({ code: 2 });
  expect(await opsloop('runs', 'pause', ID)).toMatchObject({ code: 2 });
});
