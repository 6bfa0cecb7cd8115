// Locks: ours over HTTP and from a process of control, beside etcd's lock and PostgreSQL's advisory locks in the same run;
// and how ours grows with locks that are held elsewhere.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectDatabase } from '@opsloop/postgres';
import pg from 'pg';
import { LockTurns } from '../../apps/control/dist/lock/lock-turns.service.js';
import { Signals } from '../../apps/control/dist/signals.service.js';
import { say, spread, summary } from './stats.mjs';

const SECONDS = Number(process.env.OPSLOOP_BENCH_SECONDS ?? 4);
/** Each case is measured this often, all sides in turn, so that a noisy minute hits all alike. */
const ROUNDS = Number(process.env.OPSLOOP_BENCH_ROUNDS ?? 3);
const CASES = [
  [1, false],
  [8, false],
  [64, false],
  [8, true],
];
/** Locks held on other paths; a million take half a minute to put there. */
const HELD = (process.env.OPSLOOP_BENCH_HELD ?? '10000,100000,1000000')
  .split(',')
  .map(Number)
  .filter((n) => n > 0);
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Runs that are open when a halt is made. */
const OPEN = Number(process.env.OPSLOOP_BENCH_OPEN ?? 1_000);
/** Parts of this bench by name; all of them without it. */
const PARTS = (process.env.OPSLOOP_BENCH_PARTS ?? 'compare,grow,admit,halt').split(',');

const ASLEEP = {
  dsl: 'opsloop/v1',
  kind: 'flow',
  name: 'bench/asleep',
  version: '1.0.0',
  input: { schema: { type: 'object', required: ['host'], properties: { host: { type: 'string' } } } },
  targets: '${input.host}',
  do: [{ id: 'sleep', wait: { for: '1h' } }],
  output: null,
};

export async function benchControl({ stack, api }) {
  const url = databaseUrl(stack.dataDir);
  const db = await connectDatabase({ url, poolMax: 8, migrations: [] }, silent);
  const turns = new LockTurns(db, new Signals(), silent);
  await turns.onApplicationBootstrap();
  const etcd = PARTS.includes('compare') ? buildEtcd() : undefined;
  try {
    const sides = {
      'over HTTP': httpSide(stack),
      'in a process of control': turnsSide(turns),
      'PostgreSQL advisory': advisorySide(url),
    };
    if (PARTS.includes('compare')) await compare(sides, etcd);
    if (PARTS.includes('grow')) await grow(db, turns);
    if (PARTS.includes('admit')) await admissions(api);
    if (PARTS.includes('halt')) await halts(api, db);
  } finally {
    await turns.onApplicationShutdown();
    await db.dataSource.destroy();
  }
}

async function compare(sides, etcd) {
  const rates = new Map();
  const times = new Map();
  const note = (name, rate, all) => {
    rates.set(name, [...(rates.get(name) ?? []), rate]);
    times.set(name, [...(times.get(name) ?? []), ...all]);
  };
  for (const side of Object.values(sides)) await hammer(side, 8, false, 'warm');
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, side] of round % 2 === 0 ? Object.entries(sides) : Object.entries(sides).toReversed())
      for (const [clients, hot] of CASES) {
        const all = await hammer(side, clients, hot, `${name}-${round}`);
        note(`${caseName(clients, hot)}, ${name}`, all.length / SECONDS, all);
      }
    for (const one of await etcd()) note(`${caseName(one.clients, one.hot)}, etcd`, one.rate, [one.p50, one.p99]);
  }
  for (const [clients, hot] of CASES)
    for (const name of [...Object.keys(sides), 'etcd']) {
      const what = `${caseName(clients, hot)}, ${name}`;
      if (!rates.has(what)) continue;
      const rate = summary(rates.get(what));
      const all = times.get(what);
      const spans =
        name === 'etcd'
          ? `p50 ${mean(all.filter((_, i) => i % 2 === 0))}, p99 ${mean(all.filter((_, i) => i % 2 === 1))} ms`
          : spread(summary(all));
      say(
        'control',
        what,
        `${rate.p50.toFixed(0)} acquire+release/s (${rate.min.toFixed(0)}–${rate.max.toFixed(0)}), ${spans}`,
      );
    }
}

const caseName = (clients, hot) => `${clients} client${clients === 1 ? '' : 's'}, ${hot ? 'one hot path' : 'distinct'}`;
const mean = (values) => (values.reduce((sum, v) => sum + v, 0) / values.length).toFixed(1);

async function hammer(side, clients, hot, round, seconds = SECONDS) {
  const until = performance.now() + seconds * 1_000;
  const times = [];
  const slug = round.replaceAll(/\W+/g, '-');
  const client = async (n) => {
    for (let i = 0; performance.now() < until; i++) {
      const path = hot ? 'bench/hot' : `bench/c${n}/i${i % 50}`;
      const began = performance.now();
      await side(path, `${slug}-${n}-${i}`);
      times.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, n) => client(n)));
  return times;
}

/** As scripts and people ask: two requests, a waiter's answer kept back until its turn. */
function httpSide(stack) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const { hostname, port } = new URL(stack.url);
  const call = (method, path, body) =>
    new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${stack.key}`,
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      };
      const req = request({ agent, hostname, port, method, path, headers }, (res) => {
        let text = '';
        res.setEncoding('utf8');
        res.on('data', (chunk) => (text += chunk));
        res.on('end', () =>
          res.statusCode < 300
            ? resolve(text === '' ? {} : JSON.parse(text))
            : reject(new Error(`${method} ${path} → ${res.statusCode} ${text}`)),
        );
      });
      req.on('error', reject);
      req.end(body);
    });
  return async (path, owner) => {
    const body = JSON.stringify({
      claims: [{ path, mode: 'exclusive' }],
      owner,
      ttl: '30s',
      wait: '30s',
      longPoll: '10s',
    });
    let lock = {};
    while (lock.fence === undefined) lock = await call('POST', '/v1/locks', body);
    await call('DELETE', `/v1/locks/${lock.fence}`);
  };
}

/** The same without HTTP: what a process of control does for each request; etcd's own client is its counterpart. */
function turnsSide(turns) {
  return async (path, owner) => {
    const wish = {
      tenant: 'default',
      claims: [{ path, mode: 'exclusive' }],
      holder: `bench:${owner}`,
      owner,
      principal: 'bench',
      ttlMs: 30_000,
      waitMs: 30_000,
      rankAt: new Date(),
    };
    const turn = await turns.wait(wish, 10_000);
    await turns.release('default', turn.fence, 'bench');
  };
}

/** No fence, no queue by priority, no sets, no leases: the floor of what a lock in PostgreSQL costs. */
function advisorySide(url) {
  const pool = new pg.Pool({ connectionString: url, max: 24 });
  pool.on('error', () => undefined);
  return async (path) => {
    const client = await pool.connect();
    try {
      await client.query({ name: 'lock', text: 'SELECT pg_advisory_lock(hashtextextended($1, 1))', values: [path] });
      await client.query({
        name: 'unlock',
        text: 'SELECT pg_advisory_unlock(hashtextextended($1, 1))',
        values: [path],
      });
    } finally {
      client.release();
    }
  };
}

/** Built at the first use: the module is large. Without Go or a way to fetch it, etcd is left out and that is said. */
function buildEtcd() {
  const folder = mkdtempSync(join(tmpdir(), 'opsloop-etcd-'));
  const binary = process.env.OPSLOOP_ETCD_BENCH ?? join(folder, 'etcd-bench');
  if (process.env.OPSLOOP_ETCD_BENCH === undefined) {
    const cwd = fileURLToPath(new URL('./etcd', import.meta.url));
    const built = spawnSync('go', ['build', '-o', binary, '.'], { cwd, encoding: 'utf8', timeout: 900_000 });
    if (built.status !== 0) {
      say('control', 'etcd', `left out: ${built.error?.message ?? built.stderr.trim().split('\n').at(-1)}`);
      return () => Promise.resolve([]);
    }
  }
  return async () => {
    const data = mkdtempSync(join(tmpdir(), 'opsloop-etcd-data-'));
    try {
      const child = spawn(binary, [String(SECONDS), data], { stdio: ['ignore', 'pipe', 'pipe'] });
      let out = '';
      let err = '';
      child.stdout.on('data', (chunk) => (out += chunk));
      child.stderr.on('data', (chunk) => (err += chunk));
      const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
      if (code !== 0) throw new Error(`etcd ended with ${code}: ${err.slice(-500)}`);
      // The first line is its warm-up.
      return out
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => JSON.parse(line));
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  };
}

/** Whole admissions over HTTP: policies, claims, row, message, and their end. */
async function admissions(api) {
  for (const clients of [1, 8]) {
    const rates = [];
    const times = [];
    for (let round = 0; round < ROUNDS; round++) {
      const until = performance.now() + SECONDS * 1_000;
      let count = 0;
      const client = async (n) => {
        for (let i = 0; performance.now() < until; i++) {
          const began = performance.now();
          const body = {
            start: false,
            claims: [{ path: `bench/a${n}/i${i % 50}`, mode: 'exclusive' }],
            owner: 'bench',
          };
          const { id } = await api.post('/v1/admissions', body);
          times.push(performance.now() - began);
          await api.send('DELETE', `/v1/admissions/${id}`);
          count += 1;
        }
      };
      await Promise.all(Array.from({ length: clients }, (_, n) => client(n)));
      rates.push(count / SECONDS);
    }
    const rate = summary(rates);
    say(
      'control',
      `${clients} client${clients === 1 ? '' : 's'}, admissions that begin and end`,
      `${rate.p50.toFixed(0)}/s (${rate.min.toFixed(0)}–${rate.max.toFixed(0)}), the admission ${spread(summary(times))}`,
    );
  }
}

/** How long it takes until a halt is in force, with many runs open in its scope. */
async function halts(api, db) {
  await api.put(`/v1/flows/${ASLEEP.name}`, ASLEEP);
  await api.post(`/v1/flows/${ASLEEP.name}/publish`, { version: '1.0.0' });
  const began = performance.now();
  let left = OPEN;
  const starter = async () => {
    while (left-- > 0) await api.post(`/v1/catalog/${ASLEEP.name}/runs`, { input: { host: `bench/h/${left}` } });
  };
  await Promise.all(Array.from({ length: 8 }, starter));
  const open = async () =>
    Number(
      (
        await db.query(
          `SELECT count(*) AS n FROM control.admission WHERE flow = '${ASLEEP.name}' AND state = 'started'`,
        )
      )[0].n,
    );
  while ((await open()) < OPEN) await new Promise((resolve) => setTimeout(resolve, 100));
  const took = (performance.now() - began) / 1_000;
  say('control', `${OPEN} runs admitted and started`, `${(OPEN / took).toFixed(0)}/s over HTTP, 8 clients`);
  const times = [];
  for (let i = 0; i < 10; i++) {
    const asked = performance.now();
    const { id } = await api.post('/v1/halts', { scope: { paths: ['bench'] }, reason: 'bench', running: 'pause' });
    times.push(performance.now() - asked);
    await api.post(`/v1/halts/${id}/lift`, { reason: 'bench' });
  }
  say('control', `a halt with ${OPEN} open runs is in force after`, spread(summary(times)));
  for (let gone = 0; gone < OPEN;) {
    const ids = (
      await db.query(`SELECT id FROM control.admission WHERE flow = '${ASLEEP.name}' AND state = 'started' LIMIT 500`)
    ).map((r) => r.id);
    if (ids.length === 0) break;
    gone += ids.length;
    await api.post('/v1/runs/actions', {
      action: 'terminate',
      filter: { ids },
      reason: 'bench',
      expectedCount: ids.length,
    });
  }
}

/** Ratio of the medians with so many locks held on other paths to none. */
async function grow(db, turns) {
  const side = turnsSide(turns);
  const one = async (round) => summary(await hammer(side, 1, false, round, SECONDS));
  await one('grow-warm');
  const before = await one('grow-none');
  say('control', 'nothing else held', spread(before));
  let there = 0;
  try {
    for (const held of HELD) {
      await db.query(
        `INSERT INTO control.claim (tenant, path, fence, exclusive, holder, owner, principal, expires_at)
          SELECT 'default', 'held/' || n % 1000 || '/' || n, -n, true, 'held:' || n, 'bench', 'bench', clock_timestamp() + interval '1 day' FROM generate_series($1::int, $2::int) n`,
        [there + 1, held],
      );
      there = held;
      await db.query('VACUUM ANALYZE control.claim');
      const now = await one(`grow-${held}`);
      say(
        'control',
        `${held} held elsewhere`,
        `${spread(now)}, ${(now.p50 / before.p50).toFixed(2)} × the median with none`,
      );
    }
    const again = await one('grow-sets');
    say('control', `${there} held elsewhere, once more`, spread(again));
  } finally {
    await db.query('DELETE FROM control.claim WHERE fence < 0');
  }
}

function databaseUrl(dataDir) {
  const { ports } = JSON.parse(readFileSync(join(dataDir, 'stack.json'), 'utf8'));
  const password = readFileSync(join(dataDir, 'postgres.password'), 'utf8').trim();
  const base = `postgres://opsloop:${password}@127.0.0.1:${ports.postgres}/opsloop`;
  // As the apps of the embedded stack reach it: see socketUrl in libs/embedded.
  const dir = join(dataDir, 'postgres');
  return existsSync(join(dir, `.s.PGSQL.${ports.postgres}`)) ? `${base}?host=${encodeURIComponent(dir)}` : base;
}
