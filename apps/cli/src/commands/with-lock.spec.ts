/** The real command against a server that plays control. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { eventually, type HttpTarget, type RecordedCall, startHttpTarget, type TargetAnswer } from '@opsloop/testing';
import { afterAll, expect, it } from 'vitest';

const BIN = fileURLToPath(new URL('../../bin/opsloop.mjs', import.meta.url));
const ID = '018f0000-0000-7000-8000-000000000001';
const PROBLEM = { type: 'about:blank', title: 'lost', status: 409, code: 'lock-lost', detail: 'it ran out' };

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

interface Running {
  child: ChildProcess;
  said: { out: string; err: string };
  ended: Promise<{ code: number | null; out: string; err: string }>;
}

/** A server of its own for each test: they wait at the same time. */
interface Stage {
  server: HttpTarget;
  /** What is answered to one who asks, in turn; the last one over and over. */
  admissions: object[];
  renew: TargetAnswer;
  /** What waits for the lock is answered after this. */
  answering: Promise<void>;
  start(args: string[], env?: Record<string, string>): Running;
  run(args: string[], env?: Record<string, string>): Running['ended'];
  calls(): string[];
}

const servers: HttpTarget[] = [];
afterAll(() => Promise.all(servers.map((one) => one.close())));

async function stage(): Promise<Stage> {
  const server = await startHttpTarget(async ({ method, path }: RecordedCall): Promise<TargetAnswer> => {
    if (method === 'POST') await set.answering;
    if (method === 'DELETE') return { status: 204, body: undefined };
    if (path.endsWith('/renew')) return set.renew;
    return { status: 200, body: set.admissions.length > 1 ? set.admissions.shift() : set.admissions[0] };
  });
  servers.push(server);
  const start = (args: string[], env: Record<string, string> = {}): Running => {
    const child = spawn(process.execPath, [BIN, 'with-lock', ...args], {
      env: { PATH: process.env['PATH'], OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const said = { out: '', err: '' };
    child.stdout!.on('data', (chunk: Buffer) => void (said.out += chunk.toString()));
    child.stderr!.on('data', (chunk: Buffer) => void (said.err += chunk.toString()));
    return { child, said, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, ...said })) };
  };
  const set: Stage = {
    server,
    admissions: [granted],
    renew: { body: { fence: '42', expiresAt: '' } },
    answering: Promise.resolve(),
    start,
    run: (args, env) => start(args, env).ended,
    calls: () => server.calls.map(({ method, path }) => `${method} ${path.split('?')[0]}`),
  };
  return set;
}

it.concurrent('runs the command with the fence, gives the lock back, and ends with its exit code', async () => {
  const at = await stage();
  const { code, out } = await at.run([
    'host/a',
    '--shared',
    'rack/1',
    '--',
    'sh',
    '-c',
    'echo $OPSLOOP_FENCE $OPSLOOP_LOCK; exit 7',
  ]);
  expect([code, out]).toEqual([7, `42 ${ID}\n`]);
  expect(at.calls()).toEqual(['POST /v1/admissions', `DELETE /v1/admissions/${ID}`]);
  expect(at.server.calls[0]!.body).toMatchObject({
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

it.concurrent('says who is in the way, since when and until when, while it waits', async () => {
  const at = await stage();
  at.admissions = [queued, queued, granted];
  const { code, err } = await at.run(['host/a', '--', 'true']);
  expect(code).toBe(0);
  expect(err).toBe(
    'opsloop: waiting for host/a: host/a is held by backup by ci since 2026-01-01 00:00Z and 1 more, place 2, expected 2026-01-01 00:05Z\n',
  );
});

it.concurrent.each([
  ['at once, nothing runs', ['--wait', '0s'], 3],
  ['with an exit code of its own', ['--wait', '0s', '-E', '75'], 75],
])('leaves the queue when it does not get it: %s', async (_what, options, exit) => {
  const at = await stage();
  at.admissions = [queued];
  const { code, out } = await at.run([...options, 'host/a', '--', 'echo', 'ran']);
  expect([code, out, at.calls().at(-1)]).toEqual([exit, '', `DELETE /v1/admissions/${ID}`]);
});

it.concurrent('runs nothing when control cannot be reached, and says what is wrong with its arguments', async () => {
  const at = await stage();
  const ended = await Promise.all([
    at.run(['host/a', '--', 'echo', 'ran'], { OPSLOOP_URL: 'http://127.0.0.1:9' }),
    at.run(['host/a']),
    at.run(['--', 'echo', 'ran']),
    at.run(['--ttl', '3s', 'host/a', '--', 'echo', 'ran']),
    at.run(['host/a', '--', 'no-such-command-here']),
  ]);
  expect(ended.map(({ code, out }) => [code, out])).toEqual([2, 2, 2, 2, 127].map((code) => [code, '']));
});

it.concurrent('hands signals to the command, waits for it, and then gives the lock back', async () => {
  const at = await stage();
  const { child, said, ended } = at.start([
    'host/a',
    '--',
    'sh',
    '-c',
    'trap "echo cleaned; exit 5" TERM; echo up; while :; do sleep 0.05; done',
  ]);
  await eventually(() => expect(said.out).toContain('up'));
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ code: 5, out: expect.stringContaining('cleaned') });
  expect(at.calls().at(-1)).toBe(`DELETE /v1/admissions/${ID}`);
});

it.concurrent('gives back what is granted after a signal, and runs nothing', async () => {
  const at = await stage();
  let answer!: () => void;
  at.answering = new Promise((resolve) => (answer = resolve));
  const { child, said, ended } = at.start(['host/a', '--', 'echo', 'ran']);
  await eventually(() => expect(at.calls()).toEqual(['POST /v1/admissions']));
  child.kill('SIGTERM');
  await eventually(() => expect(said.err).toContain('SIGTERM: the lock is not wanted any more'));
  answer();
  expect(await ended).toMatchObject({ code: 143, out: '' });
  expect(at.calls().at(-1)).toBe(`DELETE /v1/admissions/${ID}`);
});

it.concurrent('leaves the queue at a signal', async () => {
  const at = await stage();
  at.admissions = [queued];
  const { child, said, ended } = at.start(['host/a', '--', 'echo', 'ran']);
  await eventually(() => expect(said.err).toContain('waiting'));
  child.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 130, out: '' });
  expect(at.calls().at(-1)).toBe(`DELETE /v1/admissions/${ID}`);
});

it.concurrent('stops the command when the lock is lost', async () => {
  const at = await stage();
  at.renew = { status: 409, headers: { 'content-type': 'application/problem+json' }, body: PROBLEM };
  const { code, err } = await at.run(['--ttl', '15s', '--kill-after', '1s', 'host/a', '--', 'sleep', '30']);
  expect([code, err]).toEqual([1, expect.stringContaining('the lock is lost: it ran out')]);
});

it.concurrent('inside another one runs under its lock, or only tries for more', async () => {
  const at = await stage();
  const outer = { OPSLOOP_LOCK: ID, OPSLOOP_FENCE: '42' };
  expect(await at.run(['host/a/disk', '--', 'sh', '-c', 'echo $OPSLOOP_FENCE'], outer)).toMatchObject({
    code: 0,
    out: '42\n',
  });
  expect(at.calls()).toEqual([`GET /v1/admissions/${ID}`]);
  at.admissions = [granted, queued];
  expect((await at.run(['host/b', '--', 'echo', 'ran'], outer)).code).toBe(3);
});
