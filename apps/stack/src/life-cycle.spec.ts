import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isAlive } from '@opsloop/embedded';
import { eventually, freePort } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { StackFile } from './data-dir.js';

/** A start on two cores that others use as well takes 4–10 s, and many times that where much else runs. */
const READY_MS = 240_000;
vi.setConfig({ testTimeout: 300_000 });
const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));

let dir: string;
let dataDir: string;
let port: number;
let stack: Stack;
const started: Stack[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-life-'));
  // As root, PostgreSQL runs as another account, which must reach its data.
  chmodSync(dir, 0o711);
  dataDir = join(dir, 'data');
  port = await freePort(4);
});
afterAll(async () => {
  for (const { child } of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  await Promise.all(started.map(({ ended }) => ended));
  for (const mark of serversOf(dataDir)) if (isAlive(mark)) process.kill(mark.pid, 'SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

interface Stack {
  child: ChildProcess;
  out: string[];
  err: string[];
  ended: Promise<number | null>;
}

/** The process behind `opsloop up`, with servers of its own, whatever the environment of the tests points at. */
function run(args: string[], env: NodeJS.ProcessEnv = {}): Stack {
  const { DATABASE_URL: _database, TEMPORAL_ADDRESS: _temporal, ...rest } = process.env;
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: dir,
    env: { ...rest, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const it: Stack = { child, out: [], err: [], ended: once(child, 'exit').then(([code]) => code as number | null) };
  child.stdout!.on('data', (chunk: Buffer) => it.out.push(...linesOf(chunk)));
  child.stderr!.on('data', (chunk: Buffer) => it.err.push(...linesOf(chunk)));
  started.push(it);
  return it;
}

const linesOf = (chunk: Buffer): string[] =>
  chunk
    .toString()
    .split('\n')
    .filter((line) => line !== '');

async function up(): Promise<Stack> {
  const it = run(['--port', String(port), '--data-dir', dataDir]);
  await eventually(
    () => {
      if (it.child.exitCode !== null) return;
      expect(it.out.some((line) => line.startsWith('opsloop is ready'))).toBe(true);
    },
    { timeoutMs: READY_MS },
  );
  if (it.child.exitCode !== null) throw new Error(`ended with ${it.child.exitCode}: ${it.err.join('\n')}`);
  return it;
}

/** Ends at once, and says one line beside its progress. */
async function refused(args: string[], env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; said: string }> {
  const it = run(args, env);
  const code = await it.ended;
  expect(it.out).toEqual([]);
  return { code, said: it.err.at(-1) ?? '' };
}

const stackFile = (): StackFile => JSON.parse(readFileSync(join(dataDir, 'stack.json'), 'utf8')) as StackFile;
const serversOf = (path: string) => {
  if (!existsSync(join(path, 'stack.json'))) return [];
  const { postgres, temporal } = stackFile();
  return [postgres, temporal].filter((mark) => mark !== undefined);
};

async function api(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
  const key = readFileSync(join(dataDir, 'admin.key'), 'utf8').trim();
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}

const CONFIG = { dsl: 'opsloop/v1', kind: 'config', name: 'kept', owner: 'me', values: { url: 'http://a' } };
let first: StackFile;

test('starts, prints every address, and says nothing that nobody asked for', async () => {
  stack = await up();
  first = stackFile();
  expect(first.ports.http).toBe(port);
  const text = stack.out.join('\n');
  for (const part of [
    `http://127.0.0.1:${port}/docs`,
    `http://127.0.0.1:${first.ports.temporalUi}`,
    'admin.key',
    dataDir,
  ])
    expect(text).toContain(part);
  expect(stack.err.filter((line) => !line.startsWith('opsloop: '))).toEqual([]);
  expect((await api('GET', '/readyz')).body).toMatchObject({ ready: true });
  expect((await fetch(`http://127.0.0.1:${first.ports.temporalUi}`)).status).toBe(200);
  expect((await api('PUT', '/v1/configs/kept', CONFIG)).status).toBe(201);
});

test('refuses a second stack on the same data, and a port that is taken, in one sentence with the remedy', async () => {
  const free = String(await freePort());
  expect(await refused(['--port', free, '--data-dir', dataDir])).toEqual({
    code: 1,
    said: expect.stringMatching(
      /already runs on .* \(pid \d+, http.*\); stop it with `kill \d+` or use --data-dir/,
    ) as string,
  });
  expect(await refused(['--port', String(port), '--data-dir', join(dir, 'other')])).toEqual({
    code: 1,
    said: `opsloop: port ${port} is in use; stop what listens there or choose another with --port`,
  });
});

test('SIGTERM drains and leaves no process behind', async () => {
  stack.child.kill('SIGTERM');
  expect(await stack.ended).toBe(0);
  expect(stack.err.at(-1)).toBe('opsloop: stopped');
  expect([first.postgres!, first.temporal!].map(isAlive)).toEqual([false, false]);
});

test('the next start has the data and the ports of the last one', async () => {
  stack = await up();
  expect(stackFile().ports).toEqual(first.ports);
  expect((await api('GET', '/v1/configs/kept')).body).toMatchObject({ body: CONFIG });
});

test('after kill -9 the next start adopts PostgreSQL, replaces Temporal and keeps the ports', async () => {
  const before = stackFile();
  stack.child.kill('SIGKILL');
  await stack.ended;
  expect([before.postgres!, before.temporal!].map(isAlive)).toEqual([true, true]);
  stack = await up();
  const after = stackFile();
  expect(after.postgres).toEqual(before.postgres);
  expect(after.temporal).not.toEqual(before.temporal);
  expect([before.temporal!, after.temporal!].map(isAlive)).toEqual([false, true]);
  expect(after.ports).toEqual(before.ports);
  expect((await api('GET', '/v1/configs/kept')).status).toBe(200);
});

test('a server that dies under the stack ends it, with a word, and the rest with it', async () => {
  const { postgres, temporal } = stackFile();
  process.kill(postgres!.pid, 'SIGKILL');
  expect(await stack.ended).toBe(1);
  expect(stack.err.join('\n')).toContain('opsloop: PostgreSQL ended unexpectedly; stopping');
  expect(isAlive(temporal!)).toBe(false);
});

// From here on each has a process of its own.
test.concurrent('Ctrl-C in the middle of a start leaves no process behind', async () => {
  stack = run(['--port', String(port), '--data-dir', dataDir]);
  await eventually(() => expect(stack.err).toContain('opsloop: starting the five apps'), { timeoutMs: READY_MS });
  const servers = serversOf(dataDir);
  expect(servers.map(isAlive)).toEqual([true, true]);
  stack.child.kill('SIGINT');
  expect(await stack.ended).toBe(0);
  expect(servers.map(isAlive)).toEqual([false, false]);
});

test.concurrent.each([
  ['a port that is no number', ['--port', 'abc'], {}, /^opsloop: --port abc is not a port .* usage: opsloop up/],
  ['an option that is none', ['--prot', '1'], {}, /^opsloop: Unknown option '--prot'.* usage: opsloop up/],
  ['a port in the environment', [], { OPSLOOP_PORT: '0' }, /^opsloop: OPSLOOP_PORT 0 is not a port/],
  [
    'a log level',
    [],
    { OPSLOOP_LOG_LEVEL: 'loud' },
    /^opsloop: OPSLOOP_LOG_LEVEL is "loud"; write one of trace, debug/,
  ],
])('usage: %s', async (_name, args, env, said) => {
  const answer = await refused(args, env);
  expect(answer.code).toBe(2);
  expect(answer.said).toMatch(said);
});

test.concurrent('a file where the data should be', async () => {
  const file = join(dir, 'a-file');
  writeFileSync(file, '');
  for (const path of [file, join(file, 'below')])
    expect(await refused(['--port', String(port), '--data-dir', path])).toEqual({
      code: 1,
      said: `opsloop: the data directory ${path} cannot be written; choose another with --data-dir`,
    });
});

test.concurrent(
  'without any way to Temporal it names every way that was tried, and stops what it had started',
  async () => {
    // What the start of PostgreSQL calls, and nothing else: no temporal, no python3.
    const bin = join(dir, 'bin');
    mkdirSync(bin);
    for (const name of ['id', 'ps', 'useradd']) {
      const program = ['/usr/bin', '/bin', '/usr/sbin'].map((at) => join(at, name)).find(existsSync);
      if (program !== undefined) symlinkSync(program, join(bin, name));
    }
    const empty = join(dir, 'no-temporal');
    const answer = await refused(['--port', String(await freePort()), '--data-dir', empty], {
      PATH: bin,
      OPSLOOP_CACHE: join(dir, 'empty-cache'),
      // A proxy that nobody is: downloads fail at once, also where there is a network.
      NODE_USE_ENV_PROXY: '1',
      HTTPS_PROXY: 'http://127.0.0.1:9',
    });
    expect(answer.code).toBe(1);
    expect(answer.said).toMatch(
      /^opsloop: no Temporal server could be found\. Tried: PATH: .*; cache: no .*; cdn: .*; pypi: python3 is not installed\. Remedy: .*TEMPORAL_ADDRESS/,
    );
    expect(existsSync(join(empty, 'postgres', 'postmaster.pid'))).toBe(false);
  },
);
