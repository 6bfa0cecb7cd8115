#!/usr/bin/env node
/**
 * The rack agent of the demo fleet: starts, stops and replaces machine processes when it is told to over HTTP. It
 * stands for what a real fleet has: a BMC, a node agent, a cloud API.
 *
 *   node agent.mjs --machines host/dc1/rack1/web-01,host/dc1/rack1/web-02 [--port 0] [--journal FILE]
 *                  [--liars NAME,NAME] [--work-ms 1200] [--watch-parent]
 *
 * POST /machines/{name}/restart   stops the process and starts a new one
 * POST /machines/{name}/replace   provisions a fresh machine in its place (also heals a liar)
 * POST /machines/{name}/kill      kill -9 of the machine: the injury; at once, honours nothing
 * POST /machines/{name}/lie       from now on restarts exit 0, but the new process is sick until it is replaced
 * GET  /machines, GET /stats
 *
 * It is a good target in two ways that every atom can rely on:
 * - `Idempotency-Key`: the same key gets the same answer and is applied once, also while the first call still works;
 * - `Opsloop-Fence`: a fence below the highest one seen for that machine is refused with 409 `stale-fence`.
 * A caller that sends neither is served as well, and what then happens is counted.
 */
import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { createServer as createSocket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const MACHINE = fileURLToPath(new URL('./machine.mjs', import.meta.url));
/** Answers remembered for repeats: far more than a demo makes, and still only a few MB. */
const KEYS_MAX = 10_000;
/** A machine that does not listen by then is reported as not started. */
const START_MS = 10_000;

const { values } = parseArgs({
  options: {
    machines: { type: 'string', default: '' },
    port: { type: 'string', default: '0' },
    journal: { type: 'string' },
    liars: { type: 'string', default: '' },
    'work-ms': { type: 'string', default: '1200' },
    'watch-parent': { type: 'boolean', default: false },
  },
});
const list = (text) =>
  text
    .split(',')
    .map((s) => s.trim())
    .filter(Boolean);
const workMs = Number(values['work-ms']);

/** name → { name, port, child, lies, fence, working, acts, starts, generation, turn } */
const machines = new Map();
/** Idempotency-Key → { what, answer: Promise } */
const remembered = new Map();
const stats = {
  acts: 0,
  restarts: 0,
  replaces: 0,
  kills: 0,
  starts: 0,
  overlaps: 0,
  duplicatesAbsorbed: 0,
  staleFences: 0,
  exitZeroButSick: 0,
  maxAtOnce: 0,
};

function journal(event, machine, more = {}) {
  if (values.journal)
    appendFileSync(
      values.journal,
      `${JSON.stringify({ at: Date.now(), event, machine, agent: process.pid, ...more })}\n`,
    );
}

function freePort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket();
    socket.on('error', reject);
    socket.listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

const alive = (m) => m.child !== undefined && m.child.exitCode === null && m.child.signalCode === null;

async function stopMachine(m, signal = 'SIGTERM') {
  const { child } = m;
  if (!alive(m)) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

async function startMachine(m) {
  const args = [MACHINE, '--name', m.name, '--port', String(m.port)];
  if (values.journal) args.push('--journal', values.journal);
  if (m.lies) args.push('--sick');
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => undefined);
  m.child = child;
  m.starts += 1;
  stats.starts += 1;
  const timeout = AbortSignal.timeout(START_MS);
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', (code) => reject(new Error(`machine ${m.name} ended with ${code} before it listened`)));
    timeout.addEventListener('abort', () =>
      reject(new Error(`machine ${m.name} did not listen within ${START_MS} ms`)),
    );
  });
}

/** Stop and start belong together: two acts on one machine may overlap in their work, not in this short section. */
function swapProcess(m) {
  const turn = m.turn.then(async () => {
    await stopMachine(m);
    await startMachine(m);
  });
  m.turn = turn.catch(() => undefined);
  return turn;
}

/** The work itself: takes its time before and after the process is swapped, as real restarts do. */
async function act(m, action) {
  m.working += 1;
  m.acts += 1;
  stats.acts += 1;
  stats[action === 'restart' ? 'restarts' : 'replaces'] += 1;
  if (m.working > 1) stats.overlaps += 1;
  stats.maxAtOnce = Math.max(stats.maxAtOnce, m.working);
  journal(`work-begin:${action}`, m.name, { atOnce: m.working });
  try {
    await sleep(workMs / 2);
    if (action === 'replace') {
      m.lies = false;
      m.generation += 1;
    }
    await swapProcess(m);
    await sleep(workMs / 2);
    if (m.lies) stats.exitZeroButSick += 1;
    // A liar says what every such tool says: it did its part and exits 0.
    return { status: 200, body: { machine: m.name, action, exitCode: 0, pid: m.child.pid, generation: m.generation } };
  } catch (error) {
    return { status: 500, body: { machine: m.name, action, exitCode: 1, error: String(error) } };
  } finally {
    m.working -= 1;
    journal(`work-end:${action}`, m.name, { atOnce: m.working });
  }
}

const refusal = (status, code, detail) => ({
  status,
  body: { type: `https://opsloop.dev/errors/${code}`, status, code, detail },
});

/** Decides about key and fence before anything is touched. */
function order(m, action, key, fence) {
  const what = `${action} ${m.name}`;
  const earlier = key === undefined ? undefined : remembered.get(key);
  if (earlier !== undefined) {
    if (earlier.what !== what) return refusal(409, 'idempotency-conflict', `the key was used for "${earlier.what}"`);
    stats.duplicatesAbsorbed += 1;
    return earlier.answer;
  }
  if (fence !== undefined) {
    if (!/^\d{1,19}$/.test(fence)) return refusal(400, 'validation', 'Opsloop-Fence must be a decimal number');
    if (BigInt(fence) < m.fence) {
      stats.staleFences += 1;
      return refusal(409, 'stale-fence', `fence ${fence} is older than ${m.fence}`);
    }
    m.fence = BigInt(fence);
  }
  const answer = act(m, action);
  if (key !== undefined) {
    remembered.set(key, { what, answer });
    if (remembered.size > KEYS_MAX) remembered.delete(remembered.keys().next().value);
  }
  return answer;
}

function probe(m) {
  return new Promise((resolve) => {
    const req = request({ host: '127.0.0.1', port: m.port, path: '/healthz', timeout: 1000 }, (res) => {
      res.resume();
      resolve(res.statusCode === 200 ? 'up' : 'sick');
    });
    req.on('timeout', () => req.destroy());
    req.on('error', () => resolve('down'));
    req.end();
  });
}

async function view(m) {
  return {
    name: m.name,
    addr: `127.0.0.1:${m.port}`,
    state: await probe(m),
    pid: alive(m) ? m.child.pid : null,
    starts: m.starts,
    acts: m.acts,
    working: m.working,
    generation: m.generation,
    lies: m.lies,
    fence: String(m.fence),
  };
}

async function handle(req) {
  const path = decodeURIComponent(new URL(req.url, 'http://agent').pathname);
  if (req.method === 'GET' && path === '/healthz') return { status: 200, body: { state: 'up' } };
  if (req.method === 'GET' && path === '/stats') return { status: 200, body: stats };
  if (req.method === 'GET' && path === '/machines')
    return { status: 200, body: { items: await Promise.all([...machines.values()].map(view)) } };
  const match = /^\/machines\/(.+)\/(restart|replace|kill|lie)$/.exec(path);
  const m = match === null ? undefined : machines.get(match[1]);
  if (m === undefined) return refusal(404, 'not-found', `no such machine or act: ${req.method} ${path}`);
  if (req.method !== 'POST') return refusal(405, 'method-not-allowed', 'use POST');
  if (match[2] === 'lie') {
    m.lies = true;
    return { status: 200, body: { machine: m.name, lies: true } };
  }
  if (match[2] === 'kill') {
    stats.kills += 1;
    journal('injury:kill', m.name);
    await stopMachine(m, 'SIGKILL');
    return { status: 200, body: { machine: m.name, killed: true } };
  }
  return order(m, match[2], req.headers['idempotency-key'], req.headers['opsloop-fence']);
}

const server = createServer((req, res) => {
  req.resume();
  handle(req)
    .catch((error) => refusal(500, 'internal', String(error)))
    .then(({ status, body }) =>
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
    );
});

async function stopAll() {
  server.close();
  await Promise.all([...machines.values()].map((m) => stopMachine(m)));
  process.exit(0);
}

for (const name of list(values.machines)) {
  const m = {
    name,
    port: await freePort(),
    child: undefined,
    lies: false,
    fence: 0n,
    working: 0,
    acts: 0,
    starts: 0,
    generation: 1,
    turn: Promise.resolve(),
  };
  machines.set(name, m);
}
await Promise.all([...machines.values()].map(startMachine));
for (const name of list(values.liars)) {
  const m = machines.get(name);
  if (m !== undefined) m.lies = true;
}
// The starts that set the fleet up are not part of the story.
stats.starts = 0;
for (const m of machines.values()) m.starts = 0;

process.on('SIGTERM', () => void stopAll());
process.on('SIGINT', () => void stopAll());
if (values['watch-parent']) {
  process.stdin.on('end', () => void stopAll());
  process.stdin.resume();
}
server.listen(Number(values.port), '127.0.0.1', () => {
  const { port } = server.address();
  const items = [...machines.values()].map((m) => ({ name: m.name, addr: `127.0.0.1:${m.port}`, pid: m.child.pid }));
  process.stdout.write(`${JSON.stringify({ agent: `http://127.0.0.1:${port}`, machines: items })}\n`);
});
