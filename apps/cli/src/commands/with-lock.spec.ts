/** The real command against a server that plays control. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { eventually, type HttpTarget, type RecordedCall, startHttpTarget, type TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';

const BIN = fileURLToPath(new URL('../../bin/opsloop.mjs', import.meta.url));
const ID = '018f0000-0000-7000-8000-000000000001';
const PROBLEM = { type: 'about:blank', title: 'lost', status: 409, code: 'lock-lost', detail: 'it ran out' };
let server: HttpTarget;
let admissions: object[];
let renew: TargetAnswer;

const view = (state: string, more: object = {}): object => ({
  id: ID,
  state,
  kind: 'lock',
  flow: 'outside/x',
  targets: ['host/a'],
  claims: [{ path: 'host/a', mode: 'exclusive' }],
  tier: 'P3',
  verdict: state,
  consulted: [],
  createdAt: '',
  validUntil: '',
  ...more,
});
const granted = view('admitted', { fence: '42', expiresAt: '2026-01-01T00:00:00Z' });
const queued = view('queued', {
  position: 2,
  eta: '2026-01-01T00:05:00Z',
  blockedBy: [
    { fence: '7', path: 'host/a', owner: 'backup by ci', since: '2026-01-01T00:00:00Z' },
    { path: 'host/a', owner: 'z' },
  ],
});

beforeAll(async () => {
  server = await startHttpTarget(({ method, path }: RecordedCall): TargetAnswer => {
    if (method === 'DELETE') return { status: 204, body: undefined };
    if (path.endsWith('/renew')) return renew;
    return { status: 200, body: admissions.length > 1 ? admissions.shift() : admissions[0] };
  });
});
afterAll(() => server.close());
beforeEach(() => {
  server.calls.length = 0;
  admissions = [granted];
  renew = { body: { fence: '42', expiresAt: '' } };
});

interface Running {
  child: ChildProcess;
  said: { out: string; err: string };
  ended: Promise<{ code: number | null; out: string; err: string }>;
}

function start(args: string[], env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, [BIN, 'with-lock', ...args], {
    env: { PATH: process.env['PATH'], OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout!.on('data', (chunk: Buffer) => void (said.out += chunk.toString()));
  child.stderr!.on('data', (chunk: Buffer) => void (said.err += chunk.toString()));
  return { child, said, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, ...said })) };
}
const run = (args: string[], env?: Record<string, string>) => start(args, env).ended;
const calls = (): string[] => server.calls.map(({ method, path }) => `${method} ${path.split('?')[0]}`);

it('runs the command with the fence, gives the lock back, and ends with its exit code', async () => {
  const { code, out } = await run([
    'host/a',
    '--shared',
    'rack/1',
    '--',
    'sh',
    '-c',
    'echo $OPSLOOP_FENCE $OPSLOOP_LOCK; exit 7',
  ]);
  expect([code, out]).toEqual([7, `42 ${ID}\n`]);
  expect(calls()).toEqual(['POST /v1/admissions', `DELETE /v1/admissions/${ID}`]);
  expect(server.calls[0]!.body).toMatchObject({
    start: false,
    claims: [
      { path: 'host/a', mode: 'exclusive' },
      { path: 'rack/1', mode: 'shared' },
    ],
    owner: expect.stringContaining('sh -c'),
    ttl: '60000ms',
    heartbeat: '12s',
  });
});

it('says who is in the way, since when and until when, while it waits', async () => {
  admissions = [queued, queued, granted];
  const { code, err } = await run(['host/a', '--', 'true']);
  expect(code).toBe(0);
  expect(err).toBe(
    'opsloop: waiting for host/a: host/a is held by backup by ci since 2026-01-01 00:00Z and 1 more, place 2, expected 2026-01-01 00:05Z\n',
  );
});

it.each([
  ['at once, nothing runs', ['--wait', '0s'], 3],
  ['with an exit code of its own', ['--wait', '0s', '-E', '75'], 75],
])('leaves the queue when it does not get it: %s', async (_what, options, exit) => {
  admissions = [queued];
  const { code, out } = await run([...options, 'host/a', '--', 'echo', 'ran']);
  expect([code, out, calls().at(-1)]).toEqual([exit, '', `DELETE /v1/admissions/${ID}`]);
});

it('runs nothing when control cannot be reached, and says what is wrong with its arguments', async () => {
  const ended = await Promise.all([
    run(['host/a', '--', 'echo', 'ran'], { OPSLOOP_URL: 'http://127.0.0.1:9' }),
    run(['host/a']),
    run(['--', 'echo', 'ran']),
    run(['--ttl', '3s', 'host/a', '--', 'echo', 'ran']),
    run(['host/a', '--', 'no-such-command-here']),
  ]);
  expect(ended.map(({ code, out }) => [code, out])).toEqual([2, 2, 2, 2, 127].map((code) => [code, '']));
});

it('hands signals to the command, waits for it, and then gives the lock back', async () => {
  const { child, said, ended } = start([
    'host/a',
    '--',
    'sh',
    '-c',
    'trap "echo cleaned; exit 5" TERM; echo up; while :; do sleep 0.05; done',
  ]);
  await eventually(() => expect(said.out).toContain('up'));
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ code: 5, out: expect.stringContaining('cleaned') });
  expect(calls().at(-1)).toBe(`DELETE /v1/admissions/${ID}`);
});

it('leaves the queue at a signal', async () => {
  admissions = [queued];
  const { child, said, ended } = start(['host/a', '--', 'echo', 'ran']);
  await eventually(() => expect(said.err).toContain('waiting'));
  child.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 130, out: '' });
  expect(calls().at(-1)).toBe(`DELETE /v1/admissions/${ID}`);
});

it('stops the command when the lock is lost', async () => {
  renew = { status: 409, headers: { 'content-type': 'application/problem+json' }, body: PROBLEM };
  const { code, err } = await run(['--ttl', '15s', '--kill-after', '1s', 'host/a', '--', 'sleep', '30']);
  expect([code, err]).toEqual([1, expect.stringContaining('the lock is lost: it ran out')]);
});

it('inside another one runs under its lock, or only tries for more', async () => {
  const outer = { OPSLOOP_LOCK: ID, OPSLOOP_FENCE: '42' };
  expect(await run(['host/a/disk', '--', 'sh', '-c', 'echo $OPSLOOP_FENCE'], outer)).toMatchObject({
    code: 0,
    out: '42\n',
  });
  expect(calls()).toEqual([`GET /v1/admissions/${ID}`]);
  admissions = [granted, queued];
  expect((await run(['host/b', '--', 'echo', 'ran'], outer)).code).toBe(3);
});
