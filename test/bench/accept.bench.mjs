// `npm run bench accept`: how many events a second one event-ingest accepts durably: stored with its body, with its bus message, committed.
// Beside it, in the same run: PostgreSQL alone with one commit per row, and where it is installed Node-RED's `http in`,
// which stores nothing.
import { spawn, fork } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from '../../tools/bootstrap.mjs';
import { cpuSeconds, onPath, say, spread, summary } from './stats.mjs';

const CONCURRENCY = 50;
const SECONDS = 6;
const WARM_SECONDS = 3;
const REPEATS = 3;
const KEY = 'a'.repeat(64);
/** Each load has ids of its own. */
let measured = 0;

export async function benchAccept() {
  const dir = mkdtempSync(join(tmpdir(), 'opsloop-bench-'));
  // PostgreSQL runs as somebody else when we are root, and has to reach its folder.
  chmodSync(dir, 0o711);
  const { startEmbeddedPostgres } = await import('@opsloop/embedded');
  const postgres = await startEmbeddedPostgres({ dataDir: dir, port: await freePort(), log: () => undefined });
  let ingest;
  try {
    ingest = await startIngest(postgres.url);
    await load(ingest.port, WARM_SECONDS, 'warm', '/v1/events');
    await measure('one event per request', ingest, '/v1/events');
    await measure('the same, webhook of a generic source', ingest, '/v1/hooks/bench');
    await measure('batches of 20 events', ingest, '/v1/events', 20);
    await commitsAlone(postgres.url);
    await nodeRed();
  } finally {
    await ingest?.stop();
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measure(what, { port, pid }, path, batch = 1) {
  const rates = [];
  const p50 = [];
  const p99 = [];
  let cpu = 0;
  let clientCpu = 0;
  let done = 0;
  for (let i = 0; i < REPEATS; i++) {
    const before = cpuSeconds(pid) ?? 0;
    const one = await load(port, SECONDS, `m${(measured += 1)}`, path, batch);
    cpu += (cpuSeconds(pid) ?? 0) - before;
    clientCpu += one.cpu;
    done += one.done;
    if (one.failed > 0) say('accept', what, `${one.failed} of ${one.done + one.failed} were refused`);
    rates.push(one.done / SECONDS);
    p50.push(one.p50);
    p99.push(one.p99);
  }
  const rate = summary(rates);
  const each = (seconds) => ((seconds / done) * 1e6).toFixed(0);
  const cost = cpu > 0 ? `, CPU each ${each(cpu)} µs, of the client ${each(clientCpu)} µs` : '';
  say(
    'accept',
    `${what}, ${CONCURRENCY} at once`,
    `${rate.p50.toFixed(0)} accepted/s (${rate.min.toFixed(0)}–${rate.max.toFixed(0)}), p50 ${summary(p50).p50.toFixed(1)}, p99 ${summary(p99).p50.toFixed(1)} ms${cost}`,
  );
}

/** The client is a process of its own and speaks HTTP by hand: what it costs is as small as it gets. */
function load(port, seconds, run, path, batch = 1) {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('accept-load.process.mjs', import.meta.url)), [
      String(port),
      String(CONCURRENCY),
      String(seconds),
      run,
      KEY,
      path,
      String(batch),
    ]);
    child.once('message', resolve);
    child.once('exit', (code) => code !== 0 && reject(new Error(`the load ended with ${code}`)));
  });
}

async function startIngest(databaseUrl) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(process.execPath, [join(root, 'apps/event-ingest/dist/main.js')], {
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      OPSLOOP_PORT: String(port),
      OPSLOOP_ADMIN_KEY: KEY,
      OPSLOOP_SERVICE_TOKEN: 'b'.repeat(64),
      OPSLOOP_INGEST_URL: url,
      OPSLOOP_DECISION_URL: url,
      OPSLOOP_CONTROL_URL: url,
      OPSLOOP_CATALOG_URL: url,
      OPSLOOP_LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill('SIGTERM');
    await gone;
  };
  const until = performance.now() + 60_000;
  for (;;) {
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    if (answer?.ok) break;
    if (performance.now() > until || child.exitCode !== null) {
      await stop();
      throw new Error('event-ingest did not become ready');
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const source = { dsl: 'opsloop/v1', kind: 'source', name: 'bench', type: 'generic', auth: { type: 'none' } };
  const mapping = { id: '${body.id}', type: '${body.type}', subject: '${body.subject}', data: '${body.data}' };
  const put = await fetch(`${url}/v1/sources/bench`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...source, mapping }),
  });
  if (!put.ok) throw new Error(`the source was not taken: ${await put.text()}`);
  return { port, pid: child.pid, stop };
}

/** What the disk and PostgreSQL give: one row, one commit, as many at once. */
async function commitsAlone(url) {
  const { default: pg } = await import('pg');
  const pool = new pg.Pool({ connectionString: url, max: CONCURRENCY });
  await pool.query('CREATE TABLE bench_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)');
  const until = performance.now() + 4_000;
  const times = [];
  const client = async () => {
    while (performance.now() < until) {
      const began = performance.now();
      await pool.query({ name: 'one', text: 'INSERT INTO bench_row (body) VALUES ($1)', values: ['x'.repeat(300)] });
      times.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, client));
  await pool.end();
  say(
    'accept',
    'PostgreSQL alone, a commit per row',
    `${(times.length / 4).toFixed(0)} rows/s, ${spread(summary(times))}`,
  );
}

/** Only where somebody has put it: `node-red` on the PATH, or what `NODE_RED` names. */
async function nodeRed() {
  const program = process.env.NODE_RED ?? onPath('node-red');
  if (program === undefined || !existsSync(program)) {
    say(
      'accept',
      'Node-RED http in',
      'NOT MEASURED: npm install node-red somewhere, and put node_modules/.bin on the PATH',
    );
    return;
  }
  const dir = mkdtempSync(join(tmpdir(), 'node-red-'));
  const port = await freePort();
  const flow = [
    { id: 't', type: 'tab', label: 'bench' },
    { id: 'in', z: 't', type: 'http in', url: '/v1/events', method: 'post', wires: [['out']] },
    { id: 'out', z: 't', type: 'http response', statusCode: '202', wires: [] },
  ];
  writeFileSync(join(dir, 'flows.json'), JSON.stringify(flow));
  const child = spawn(
    process.execPath,
    [realpathSync(program), '--userDir', dir, '--port', String(port), 'flows.json'],
    {
      stdio: 'ignore',
    },
  );
  try {
    const until = performance.now() + 60_000;
    while (performance.now() < until && !(await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined)))
      await new Promise((resolve) => setTimeout(resolve, 200));
    await load(port, WARM_SECONDS, 'warm', '/v1/events');
    await measure('Node-RED http in, nothing stored', { port, pid: child.pid }, '/v1/events');
  } finally {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await gone;
    rmSync(dir, { recursive: true, force: true });
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
