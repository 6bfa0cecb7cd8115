import { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { newId } from '@opsloop/contracts/ids';
import { FAILPOINTS } from '@opsloop/platform';
import { bundleChild, type ChildProgram, eventually, freePort } from '@opsloop/testing';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  ADMIN,
  type ControlApp,
  type Peers,
  quiet,
  shared,
  type Shared,
  startControl,
  startPeers,
  workerFor,
} from './control-app.spec-kit.js';
import { ReconcileService } from './runs/reconcile.service.js';

let s: Shared;
let peers: Peers;
let program: ChildProgram;
let port: number;
let proxy: Awaited<ReturnType<typeof startProxy>>;
let worker: Awaited<ReturnType<typeof workerFor>>;
let lasting: Promise<ControlApp> | undefined;
/** The control that comes after those that were killed, at their address; what it knows of Temporal comes through the proxy. */
const survivor = (): Promise<ControlApp> =>
  (lasting ??= startControl(s, peers, { port, worker: false, address: proxy.address }));

beforeAll(async () => {
  [s, peers, program, port] = await Promise.all([
    shared(),
    startPeers(),
    bundleChild(new URL('../fixtures/control-process.ts', import.meta.url)),
    freePort(),
  ]);
  [proxy, worker] = await Promise.all([startProxy(s.address), workerFor(s, `http://127.0.0.1:${port}`)]);
});
afterAll(async () => {
  await program?.close();
  await worker?.stop();
  await (await lasting)?.close();
  await proxy?.close();
  await Promise.all([s.drop(), peers.close()]);
});

/** Where control may die between two things that are not one commit. */
const PLACES = FAILPOINTS.filter((place) => /^(control|close)\./.test(place));
/** Each place once; `OPSLOOP_FAULT_KILLS=200` is the full size, some eight minutes on two quiet cores. */
const KILLS = Math.max(PLACES.length, Number(process.env['OPSLOOP_FAULT_KILLS'] ?? 0));
/** Starts that each process gets at least: some wait for others, since two want one host. */
const STARTS = 4;

/** Runs without their locks, and locks whose run has ended longer than they may stay. */
const WRONG = `SELECT 'runs without its lock: ' || a.id AS wrong FROM control.admission a WHERE kind = 'run' AND state IN ('admitted', 'started')
    AND NOT EXISTS (SELECT 1 FROM control.claim c WHERE c.tenant = a.tenant AND c.run_id = a.id AND NOT c.releasing)
  UNION ALL SELECT 'kept after its end: ' || c.path FROM control.claim c JOIN control.admission a ON a.tenant = c.tenant AND a.id = c.run_id
    WHERE a.ended_at < clock_timestamp() - interval '30 seconds'
  UNION ALL SELECT 'held twice: ' || path FROM control.claim WHERE exclusive GROUP BY path HAVING count(*) > 1`;

test(
  `kill -9 of control ${KILLS} times, at each place between two commits: nothing is lost, started twice, freed early or kept`,
  async () => {
    const sender = await quiet(s.databaseUrl);
    const sent: string[] = [];
    const wrong = new Set<string>();
    for (let i = 0; i < KILLS; i += 1) {
      const place = PLACES[i % PLACES.length]!;
      const pass = 1 + (Math.floor(i / PLACES.length) % STARTS);
      const child = program.start(
        s.databaseUrl,
        s.address,
        s.namespace,
        peers.target.url,
        `${place}:${pass}`,
        `${port}`,
      );
      let died: string | null | undefined;
      child.once('exit', (_code, signal) => (died = signal));
      for (let n = 0; died === undefined; n += 1) {
        if (n < STARTS || n % 20 === 0)
          sent.push(await sender.send({ id: newId(), input: { host: `host/k${i}/${n % 2}` } }));
        for (const row of await sender.db.query<{ wrong: string }>(WRONG)) wrong.add(row.wrong);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      expect(died, `${place}:${pass}`).toBe('SIGKILL');
    }
    await survivor();
    await eventually(
      async () => {
        const open = await sender.db.query(`SELECT state FROM control.admission WHERE state <> 'closed'`);
        const [known] = await sender.db.query<{ n: number }>('SELECT count(*)::int AS n FROM control.admission');
        expect([open, known!.n]).toEqual([[], sent.length]);
      },
      { timeoutMs: 60_000 },
    );
    expect([...wrong]).toEqual([]);
    expect(await sender.db.query('SELECT * FROM control.claim')).toEqual([]);
    for (const id of sent)
      expect(
        (await sender.story(id)).filter((told) => told !== 'verdict:queued'),
        id,
      ).toEqual(['verdict:admitted', 'started', 'closed:succeeded']);
    await eventually(async () => expect(await worker.runs()).toBe(sent.length), { timeoutMs: 40_000 });
    console.log(`crash: ${KILLS} kills, ${sent.length} starts`);
    await sender.close();
  },
  // A process takes some 2 s to start, several times that when all cores are busy.
  60_000 + KILLS * 15_000,
);

/** Each is a control that stands still, or dies, while it takes and renews locks. `OPSLOOP_FAULT_FREEZES=300` is the full size. */
const FREEZES = Number(process.env['OPSLOOP_FAULT_FREEZES'] ?? 2);

test(
  `${FREEZES} times a control stands still or dies under its clients: nobody gets what somebody has, old fences are stale, others go on`,
  async () => {
    const here = await survivor();
    let child: ChildProcess | undefined;
    let url = '';
    const there = async (method: string, path: string, body?: unknown): Promise<{ status: number; body: Lock }> => {
      const headers = { authorization: `Bearer ${ADMIN}`, 'content-type': 'application/json' };
      const answer = await fetch(url + path, { method, headers, body: JSON.stringify(body ?? {}) });
      return { status: answer.status, body: (await answer.json().catch(() => ({}))) as Lock };
    };
    for (let i = 0; i < FREEZES; i += 1) {
      if (child === undefined) {
        const port = await freePort();
        url = `http://127.0.0.1:${port}`;
        child = program.start(s.databaseUrl, s.address, s.namespace, peers.target.url, '', `${port}`);
        await once(child.stdout!, 'data');
      }
      const paths = [`frozen/${i}/a`, `frozen/${i}/b`];
      const take = (path: string, owner: string, wait = '0s') => ({
        ...{ claims: [{ path, mode: 'exclusive' }], owner, ttl: owner === 'here' ? '5m' : '1s', wait, longPoll: wait },
      });
      const held = await there('POST', '/v1/locks', take(paths[0]!, 'there'));
      expect(held.status).toBe(201);
      // One request is on its way when it happens.
      const onItsWay = there('POST', '/v1/locks', take(paths[1]!, 'there')).catch(() => undefined);
      const dies = i % 2 === 1;
      child.kill(dies ? 'SIGKILL' : 'SIGSTOP');
      const began = performance.now();
      const taken = await Promise.all(paths.map((path) => here.call('POST', '/v1/locks', take(path, 'here', '10s'))));
      expect(performance.now() - began).toBeLessThan(10_000);
      expect(taken.map((t) => t.status)).toEqual([201, 201]);
      expect(BigInt(taken[0]!.body.fence as string)).toBeGreaterThan(BigInt(held.body.fence));
      if (!dies) child.kill('SIGCONT');
      const late = await onItsWay;
      // What it was granted after all had run out before the other got it.
      if (late?.status === 201) expect(BigInt(taken[1]!.body.fence as string)).toBeGreaterThan(BigInt(late.body.fence));
      if (!dies) {
        const renewed = await there('POST', `/v1/locks/${held.body.fence}/renew`, { ttl: '60s' });
        expect([renewed.status, renewed.body.code]).toEqual([409, 'lock-lost']);
        expect((await there('DELETE', `/v1/locks/${held.body.fence}`)).status).toBe(204);
      }
      const stale = await here.call('POST', `/v1/locks/${held.body.fence}/assert`, { paths: [paths[0]] });
      expect(stale.body.code).toBe('stale-fence');
      const doubles = await here.db.query(
        `SELECT path FROM control.claim WHERE exclusive AND path LIKE 'frozen/%' AND expires_at > clock_timestamp() GROUP BY path HAVING count(*) > 1`,
      );
      expect(doubles).toEqual([]);
      if (dies) child = undefined;
    }
  },
  60_000 + FREEZES * 15_000,
);

interface Lock {
  fence: string;
  code?: string;
}

test('while Temporal cannot be reached nothing is freed; what is admitted starts when it is back', async () => {
  const control = await survivor();
  const input = { host: `host/${newId()}` };
  const open = await control.send({ ref: 'demo/slow@1', input });
  await eventually(async () => expect(await control.state(open)).toBe('started'));
  await proxy.cut();
  const later = await control.send({ input: { host: `host/${newId()}` } });
  await eventually(async () => expect(await control.state(later)).toBe('admitted'));
  const [row] = await control.db.query<{ workflow_id: string; started_at: Date }>(
    'SELECT * FROM control.admission WHERE id = $1',
    [open],
  );
  const reconcile = control.app.get(ReconcileService);
  // Asked at the same time, since each waits until it gives Temporal up.
  const [, seen] = await Promise.all([
    expect(
      reconcile.check({ id: open, tenant: 'default', workflow_id: row!.workflow_id, started_at: new Date(0) }),
    ).rejects.toThrow(),
    control.call('GET', `/v1/runs/${open}`),
  ]);
  expect([seen.status, seen.body.stale]).toEqual([200, true]);
  expect(await control.state(open)).toBe('started');
  expect((await control.call('GET', `/v1/locks?path=${input.host}`)).body.items).toMatchObject([
    { runId: open, state: 'held' },
  ]);
  await proxy.restore();
  await eventually(async () => expect(await control.state(later)).toBe('closed'), { timeoutMs: 40_000 });
  await control.call('POST', `/v1/runs/${open}/terminate`, { reason: 'spec' });
}, 90_000);

test('a workflow that Temporal has lost is run-lost, but not within its first seconds', async () => {
  const control = await survivor();
  const id = await control.send({ ref: 'demo/slow@1' });
  await eventually(async () => expect(await control.state(id)).toBe('started'));
  const reconcile = control.app.get(ReconcileService);
  const lost = { id, tenant: 'default', workflow_id: `gone.${id}` };
  await reconcile.check({ ...lost, started_at: new Date() });
  expect(await control.state(id)).toBe('started');
  await reconcile.check({ ...lost, started_at: new Date(Date.now() - 31_000) });
  const run = (await control.call('GET', `/v1/runs/${id}`)).body;
  expect([run.status, run.problem.code]).toEqual(['failed', 'run-lost']);
  await control.temporal.client.workflow.getHandle(run.workflowId).terminate();
});

/** A TCP proxy that can be cut. */
async function startProxy(
  address: string,
): Promise<{ address: string; cut(): Promise<void>; restore(): Promise<void>; close(): Promise<void> }> {
  const [host = '', port = ''] = address.split(':');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const upstream = connect(Number(port), host);
    socket.pipe(upstream).pipe(socket);
    for (const end of [socket, upstream]) {
      end.on('error', () => end.destroy());
      sockets.add(end);
    }
  });
  const listen = (at: number): Promise<void> => new Promise((resolve) => server.listen(at, '127.0.0.1', resolve));
  await listen(0);
  const own = (server.address() as AddressInfo).port;
  const cut = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await closed;
  };
  return { address: `127.0.0.1:${own}`, cut, restore: () => listen(own), close: cut };
}
