import { randomUUID } from 'node:crypto';
import { newId } from '@opsloop/contracts/ids';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ControlApp, type Peers, shared, type Shared, startControl, startPeers } from './control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;
/** A second process on the same database and namespace. */
let b: ControlApp;

beforeAll(async () => {
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
  b = await startControl(s, peers, { worker: false });
});
afterAll(async () => {
  await Promise.all([a, b].map((c) => c?.close()));
  await Promise.all([s.drop(), peers.close()]);
});

/** On their way when a halt comes: some are before it and some behind. */
const STARTS = 20;
const host = (): string => `host/dc1/${randomUUID()}`;
const slow = (h: string): Promise<string> => a.send({ ref: 'demo/slow@1', input: { host: h } });
const becomes = (id: string, state: string, timeoutMs = 10_000): Promise<void> =>
  eventually(async () => expect(await a.state(id)).toBe(state), { timeoutMs });
const terminate = (id: string) => a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
const free = async (h: string): Promise<boolean> =>
  (await a.call('GET', `/v1/locks?path=${encodeURIComponent(h)}`)).body.items.length === 0;
/** Ends what a test left running and lifts the lock delay, so that tests do not wait for it. */
const clear = async (...ids: string[]): Promise<void> => {
  for (const id of ids) await terminate(id);
  await a.db.query('DELETE FROM control.claim WHERE run_id = ANY($1)', [ids]);
};

describe('a start from the bus', () => {
  test('is admitted, started and closed by its own report; the locks are free again', async () => {
    const h = host();
    const id = await a.send({ input: { host: h } });
    await becomes(id, 'closed');
    expect(await a.story(id)).toEqual(['verdict:admitted', 'started', 'closed:succeeded']);
    const run = (await a.call('GET', `/v1/runs/${id}`)).body;
    expect(run).toMatchObject({
      id,
      flow: 'demo/quick',
      version: '1.0.0',
      status: 'succeeded',
      output: { host: h },
      targets: [h],
      tier: 'P2',
      decisionId: id,
      workflowId: `demo.quick.${id}`,
    });
    expect(run.steps.map((x: { path: string }) => x.path)).toEqual(['pause', 'note']);
    expect(run.admission.consulted.map((c: { policy: string }) => c.policy)).toEqual([
      'coalesce',
      'halts',
      'mutex',
      'validFor',
    ]);
    expect(await free(h)).toBe(true);
    const { items } = (await a.call('GET', `/v1/runs/${id}/timeline`)).body;
    expect(new Set(items.map((e: { kind: string }) => e.kind))).toEqual(
      new Set(['event', 'admission', 'lock', 'run', 'step']),
    );
    expect(items.map((e: { at: string }) => e.at)).toEqual(items.map((e: { at: string }) => e.at).toSorted());
  });

  test('twice is started once', async () => {
    const id = newId();
    const input = { host: host() };
    await Promise.all([a.send({ id, input }), b.send({ id, input }), a.send({ id, input })]);
    await becomes(id, 'closed');
    await eventually(async () => {
      const [row] = await a.db.query<{ n: string }>(
        `SELECT count(*) AS n FROM bus.message m WHERE topic = 'starts' AND key = $1 AND id <= (SELECT position FROM bus.cursor c WHERE grp = 'control' AND c.topic = m.topic AND c.part = m.part)`,
        [id],
      );
      expect(row!.n).toBe('3');
    });
    expect(await a.story(id)).toEqual(['verdict:admitted', 'started', 'closed:succeeded']);
  });

  test('of an unknown flow is rejected, with the reason', async () => {
    const id = await a.send({ ref: 'demo/nothing@1' });
    await becomes(id, 'rejected');
    const { body } = await a.call('GET', `/v1/runs/${id}`);
    expect(body).toMatchObject({ status: 'cancelled', admission: { verdict: 'rejected' } });
    expect(body.admission.reason).toContain('demo/nothing');
  });

  test('waits in the queue while the catalog is away', async () => {
    peers.catalogUp = false;
    // Remembered for a second; a reference of its own is not.
    const id = await a.send({ ref: 'demo/quick@1.0' });
    await becomes(id, 'queued');
    peers.catalogUp = true;
    await becomes(id, 'closed');
    expect((await a.story(id)).filter((x) => x === 'started')).toHaveLength(1);
  });

  test('per target runs the flow for each under one fence', async () => {
    const [x, y] = [host(), host()];
    const id = await a.send({
      input: null,
      targets: [x, y],
      perTarget: { items: [x, y].map((path) => ({ path, input: { host: path } })), batches: [[x], [y]] },
    });
    await becomes(id, 'closed', 20_000);
    const rows = await a.db.query<{ body: { outcome: { path: string; status: string }[] } }>(
      `SELECT body FROM bus.message WHERE topic = 'runs' AND key = $1 ORDER BY id DESC LIMIT 1`,
      [id],
    );
    expect(rows[0]!.body.outcome.toSorted((p, q) => (p.path < q.path ? -1 : 1))).toEqual(
      [x, y].toSorted().map((path) => ({ path, status: 'succeeded' })),
    );
  });
});

describe('the queue', () => {
  test('names the holder, hands over at once when it ends, and asks decision again', async () => {
    const h = host();
    const first = await slow(h);
    await becomes(first, 'started');
    const second = await a.send({ input: { host: h } });
    await becomes(second, 'queued');
    const waiting = (await a.call('GET', `/v1/runs/${second}`)).body;
    expect(waiting.admission).toMatchObject({ verdict: 'queued', position: 1, blockedBy: [{ path: h, runId: first }] });
    await a.call('POST', `/v1/runs/${first}/cancel`, { reason: 'spec' });
    await becomes(second, 'closed');
    expect(await a.story(first)).toEqual(['verdict:admitted', 'started', 'closed:cancelled']);
    expect(await a.story(second)).toEqual(['verdict:queued', 'verdict:admitted', 'started', 'closed:succeeded']);
    const { body } = await a.call('GET', `/v1/runs/${second}`);
    expect(body.admission.consulted[0]).toMatchObject({ policy: 'recheck', said: 'ok' });
  });

  test('a cleared cause is withdrawn, an unknown one keeps its place', async () => {
    const h = host();
    const first = await slow(h);
    await becomes(first, 'started');
    const second = await a.send({ input: { host: h } });
    await becomes(second, 'queued');
    peers.recheck = (path) => (path === h ? 'unknown' : 'stands');
    await clear(first);
    const asked = peers.target.calls.length;
    await eventually(() =>
      expect(peers.target.calls.slice(asked).filter((c) => c.path.endsWith('recheck')).length).toBeGreaterThan(1),
    );
    expect(await a.state(second)).toBe('queued');
    peers.recheck = (path) => (path === h ? 'cleared' : 'stands');
    await becomes(second, 'withdrawn');
    peers.recheck = () => 'stands';
    expect(await a.story(second)).toEqual(['verdict:queued', 'verdict:withdrawn']);
  });

  test('what waits too long expires; a withdrawal ends what waits and not what runs', async () => {
    const h = host();
    const first = await slow(h);
    await becomes(first, 'started');
    const short = await a.send({ input: { host: h }, validFor: '300ms' });
    const other = await a.send({ input: { host: h } });
    await becomes(other, 'queued');
    await becomes(short, 'expired');
    await a.withdraw(first);
    await a.withdraw(other);
    await becomes(other, 'withdrawn');
    expect(await a.state(first)).toBe('started');
    await clear(first);
  });

  test('identical work in two processes runs once', async () => {
    const h = host();
    const ids = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        [a, b][i % 2]!.send({ ref: 'demo/slow@1', input: { host: h }, coalesce: true }),
      ),
    );
    await eventually(async () => {
      const states = await Promise.all(ids.map((id) => a.state(id)));
      expect(states.filter((x) => x === 'coalesced')).toHaveLength(7);
      expect(states.filter((x) => x === 'started')).toHaveLength(1);
    });
    const [{ into_id }] = (await a.db.query<{ into_id: string }>(
      `SELECT DISTINCT into_id FROM control.admission WHERE id = ANY($1) AND state = 'coalesced'`,
      [ids],
    )) as [{ into_id: string }];
    await clear(into_id);
  });
});

describe('the end of a run', () => {
  test('terminate keeps the locks for the lock delay, is idempotent, and closed runs refuse acts', async () => {
    const h = host();
    const id = await slow(h);
    await becomes(id, 'started');
    expect((await terminate(id)).body).toMatchObject({ id, status: 'terminated' });
    expect((await a.call('GET', `/v1/locks?path=${encodeURIComponent(h)}`)).body.items).toMatchObject([
      { runId: id, state: 'releasing' },
    ]);
    expect((await terminate(id)).status).toBe(200);
    const cancelled = await a.call('POST', `/v1/runs/${id}/cancel`, { reason: 'spec' });
    expect([cancelled.status, cancelled.body.code]).toEqual([409, 'run-closed']);
    await a.db.query(`UPDATE control.claim SET expires_at = clock_timestamp() WHERE run_id = $1`, [id]);
    await eventually(async () => expect(await free(h)).toBe(true));
  });

  test('a workflow terminated behind our back is noticed', async () => {
    const id = await slow(host());
    await becomes(id, 'started');
    await a.temporal.client.workflow.getHandle(`demo.slow.${id}`).terminate('behind our back');
    await becomes(id, 'closed', 25_000);
    expect(await a.story(id)).toEqual(['verdict:admitted', 'started', 'closed:terminated']);
  });
});

describe('halts', () => {
  test('hold what comes, name themselves, and let it go when lifted', async () => {
    const h = host();
    const made = await a.call('POST', '/v1/halts', { scope: { paths: [h] }, reason: 'spec halt' });
    expect([made.status, made.body.hits]).toEqual([201, { rules: 0, queued: 0, running: 0, targets: 0 }]);
    const id = await a.send({ input: { host: h } });
    const other = await a.send({ input: { host: host() } });
    await becomes(id, 'held');
    await becomes(other, 'closed');
    expect((await a.call('GET', `/v1/runs/${id}`)).body.admission.reason).toContain('spec halt');
    const lifted = await a.call('POST', `/v1/halts/${made.body.id}/lift`, { reason: 'over' });
    expect(lifted.body).toEqual({ id: made.body.id, released: 1 });
    await becomes(id, 'closed');
    expect(await a.story(id)).toEqual(['verdict:held', 'verdict:admitted', 'started', 'closed:succeeded']);
  });

  test('after the answer nothing in scope starts, however many starts are on their way', async () => {
    const kind = `rack${randomUUID()}`;
    const ids = await Promise.all(
      Array.from({ length: STARTS }, (_, i) => [a, b][i % 2]!.send({ input: { host: `${kind}/${i}` } })),
    );
    const made = await a.call('POST', '/v1/halts', {
      scope: { paths: [`${kind}/*`] },
      running: 'leave',
      reason: 'race',
    });
    const startedAfter = async (): Promise<number> => {
      const rows = await a.db.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM control.admission a, control.halt h WHERE a.id = ANY($1) AND h.id = $2 AND a.started_at > $3`,
        [ids, made.body.id, answered],
      );
      return rows[0]!.n;
    };
    const answered = (await a.db.query<{ now: Date }>('SELECT clock_timestamp() AS now'))[0]!.now;
    const inState = async (...states: string[]): Promise<number> => {
      const [row] = await a.db.query<{ n: number }>(
        'SELECT count(*)::int AS n FROM control.admission WHERE id = ANY($1) AND state = ANY($2)',
        [ids, states],
      );
      return row!.n;
    };
    await eventually(async () => expect(await inState('held', 'closed', 'started')).toBe(STARTS));
    expect(await startedAfter()).toBe(0);
    await a.call('POST', `/v1/halts/${made.body.id}/lift`, { reason: 'over', perMinute: 6_000 });
    await eventually(async () => expect(await inState('closed')).toBe(STARTS), { timeoutMs: 40_000 });
  });

  test('with an end lift themselves', async () => {
    const h = host();
    await a.call('POST', '/v1/halts', {
      scope: { paths: [h] },
      reason: 'short',
      until: new Date(Date.now() + 700).toISOString(),
    });
    const id = await a.send({ input: { host: h } });
    await becomes(id, 'closed');
    expect((await a.story(id))[0]).toBe('verdict:held');
  });
});

describe('the catalog route', () => {
  test('starts a dry run beside the run that holds the lock; it takes none and nobody shares it', async () => {
    const h = host();
    const holder = await slow(h);
    await becomes(holder, 'started');
    const body = { input: { host: h }, dryRun: true, timeScale: 0.5, coalesce: true, wait: '20s' };
    const { status, body: run } = await a.call('POST', '/v1/catalog/demo/quick/runs', body);
    expect([status, run.status]).toEqual([200, 'succeeded']);
    const [row] = await a.db.query<{ fence: string | null; n: string }>(
      'SELECT fence, (SELECT count(*) FROM control.claim WHERE run_id = $1) AS n FROM control.admission WHERE id = $1',
      [run.id],
    );
    expect(row).toEqual({ fence: null, n: '0' });
    const wrong = await a.call('POST', '/v1/catalog/demo/quick/runs', {
      input: { host: h },
      dryRun: true,
      timeScale: 0,
    });
    expect([wrong.status, wrong.body.errors[0].pointer]).toEqual([400, '/timeScale']);
    await clear(holder);
  });

  const start = (name: string, body: unknown, headers: Record<string, string> = {}) =>
    a.call('POST', `/v1/catalog/${name}/runs`, body, headers);

  test('answers 202 with a location, or 200 with the run when it ends within wait', async () => {
    const begun = await start('demo/quick', { input: { host: host() } });
    expect([begun.status, begun.body.status, begun.body.admission.verdict, begun.headers.get('location')]).toEqual([
      202,
      'running',
      'admitted',
      `/v1/runs/${begun.body.id}`,
    ]);
    const waited = await start('demo/quick', { input: { host: host() }, wait: '20s' });
    expect([waited.status, waited.body.status]).toEqual([200, 'succeeded']);
    const slowly = await start('demo/slow', { input: { host: host() }, wait: '50ms' });
    expect(slowly.status).toBe(202);
    expect(['running', 'waiting']).toContain(slowly.body.status);
    await clear(slowly.body.id);
  });

  test('refuses unknown flows, wrong input and wrong bodies before anything is admitted', async () => {
    expect((await start('demo/nothing', {})).status).toBe(404);
    const wrong = await start('demo/quick', { input: { host: 7 } });
    expect([wrong.status, wrong.body.errors[0].pointer]).toEqual([400, '/input/host']);
    expect((await start('demo/quick', { inputs: {} })).body.errors).toEqual([
      { pointer: '/inputs', message: 'unknown member' },
    ]);
    expect((await start('demo/quick', { input: { host: host() }, wait: '61s' })).status).toBe(400);
  });

  test('one Idempotency-Key is one run', async () => {
    const body = { input: { host: host() } };
    const key = { 'idempotency-key': randomUUID() };
    const first = await start('demo/quick', body, key);
    const again = await start('demo/quick', body, key);
    expect([again.status, again.body, again.headers.get('idempotency-replayed')]).toEqual([202, first.body, 'true']);
    const other = await start('demo/quick', { input: { host: host() } }, key);
    expect([other.status, other.body.code]).toEqual([409, 'idempotency-conflict']);
  });

  test('concurrent requests with one key start one run', async () => {
    const body = { input: { host: host() } };
    const key = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(Array.from({ length: 6 }, () => start('demo/quick', body, key)));
    expect(new Set(answers.map((x) => x.body.id)).size).toBe(1);
    expect(answers.map((x) => x.status)).toEqual(Array(6).fill(202));
  });
});

describe('locks of people', () => {
  test('are leases with a fence: taken, repeated, renewed, asserted, given back', async () => {
    const claims = [{ path: host(), mode: 'exclusive' }];
    const body = { claims, owner: 'me' };
    const taken = await a.call('POST', '/v1/locks', body);
    expect(taken.status).toBe(201);
    const { fence } = taken.body;
    expect(await a.call('POST', '/v1/locks', body)).toMatchObject({ status: 200, body: { fence } });
    const other = await a.call('POST', '/v1/locks', { ...body, owner: 'you' });
    expect([other.status, other.body.code, other.body.blockedBy[0].fence]).toEqual([409, 'lock-busy', fence]);
    expect((await a.call('POST', `/v1/locks/${fence}/renew`, { ttl: '5m' })).status).toBe(200);
    expect((await a.call('POST', `/v1/locks/${fence}/assert`, { paths: [claims[0]!.path] })).status).toBe(200);
    expect((await a.call('POST', `/v1/locks/${fence}/assert`, { paths: ['host/else'] })).body.code).toBe('stale-fence');
    expect((await a.call('DELETE', `/v1/locks/${fence}`)).status).toBe(204);
    expect((await a.call('DELETE', `/v1/locks/${fence}`)).status).toBe(204);
    expect((await a.call('POST', `/v1/locks/${fence}/renew`, {})).body.code).toBe('lock-lost');
  });

  test('wait with a ticket and get it at their turn; a run waits for them too', async () => {
    const path = host();
    const claims = [{ path, mode: 'exclusive' }];
    const first = await a.call('POST', '/v1/locks', { claims, owner: 'first' });
    const ticket = await a.call('POST', '/v1/locks', { claims, owner: 'second', wait: '30s' });
    expect([ticket.status, ticket.body.position]).toEqual([202, 1]);
    const run = await a.send({ input: { host: path } });
    await becomes(run, 'queued');
    await a.call('DELETE', `/v1/locks/${first.body.fence}`);
    const granted = await a.call('POST', '/v1/locks', { claims, owner: 'second', wait: '30s' });
    expect(granted.status).toBe(201);
    expect(BigInt(granted.body.fence)).toBeGreaterThan(BigInt(first.body.fence));
    expect(await a.state(run)).toBe('queued');
    await a.call('POST', `/v1/locks/${granted.body.fence}/break`, { reason: 'spec' });
    await becomes(run, 'closed');
  });

  test('a lock for work outside is an admission', async () => {
    const claims = [{ path: host(), mode: 'exclusive' }];
    const made = await a.call('POST', '/v1/admissions', { start: false, claims, owner: 'backup' });
    expect([made.status, made.body.verdict]).toEqual([201, 'admitted']);
    const second = await a.call('POST', '/v1/admissions', { start: false, claims, owner: 'other' });
    expect([second.status, second.body.verdict]).toEqual([202, 'queued']);
    expect((await a.call('DELETE', `/v1/admissions/${made.body.id}`)).status).toBe(204);
    await becomes(second.body.id, 'admitted');
    expect((await a.call('DELETE', `/v1/admissions/${second.body.id}`)).status).toBe(204);
    expect(await free(claims[0]!.path)).toBe(true);
  });
});

test('a forecast says what would happen and does nothing', async () => {
  const before = await a.db.query('SELECT count(*) FROM control.admission');
  const answer = await a.call('POST', '/v1/admissions/forecast', { flow: 'demo/quick', input: { host: host() } });
  expect([answer.status, answer.body.verdict]).toEqual([200, 'admitted']);
  expect(await a.db.query('SELECT count(*) FROM control.admission')).toEqual(before);
});

test('policies that would not be evaluated are refused; a mutex policy counts', async () => {
  const freeze = {
    dsl: 'opsloop/v1',
    kind: 'policy',
    name: 'ops/freeze',
    owner: 't',
    type: 'freeze',
    match: { tier: ['P0'] },
  };
  expect((await a.call('PUT', '/v1/policies/ops/freeze', freeze)).status).toBe(400);
  const kind = `rack${randomUUID()}`;
  const policy = {
    dsl: 'opsloop/v1',
    kind: 'policy',
    name: 'ops/one',
    owner: 't',
    type: 'mutex',
    match: { targets: `${kind}/*` },
    locks: [{ path: `${kind}/all`, mode: 'exclusive' }],
    onConflict: 'reject',
  };
  expect((await a.call('PUT', '/v1/policies/ops/one', policy)).status).toBe(201);
  const first = await a.call('POST', '/v1/catalog/demo/slow/runs', { input: { host: `${kind}/1` } });
  const second = await a.call('POST', '/v1/catalog/demo/slow/runs', { input: { host: `${kind}/2` } });
  expect([second.status, second.body.code, second.body.policies[0].policy]).toEqual([
    409,
    'admission-rejected',
    'ops/one',
  ]);
  expect((await a.call('DELETE', '/v1/policies/ops/one')).status).toBe(204);
  await clear(first.body.id);
});

test('status and lists answer', async () => {
  const status = await a.call('GET', '/v1/status');
  expect(status.status).toBe(200);
  expect(status.body.items.length).toBeGreaterThan(0);
  const page = await a.call('GET', '/v1/runs?limit=2&status=succeeded&under=host/dc1');
  expect(page.body.items).toHaveLength(2);
  const next = await a.call('GET', `/v1/runs?limit=2&status=succeeded&under=host/dc1&cursor=${page.body.nextCursor}`);
  expect(next.body.items.map((r: { id: string }) => r.id)).not.toContain(page.body.items[1].id);
  expect((await a.call('GET', '/v1/runs/not-a-run')).status).toBe(404);
  expect((await a.call('GET', '/v1/runs?cursor=zzz')).status).toBe(400);
});
