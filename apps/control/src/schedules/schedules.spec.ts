/** Schedules fire once per time: with two controls, after a kill, and as overlap says. */
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import type { ScheduleDocument } from '@opsloop/contracts';
import { bundleChild, type ChildProgram, eventually } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ControlApp, type Peers, shared, type Shared, startControl, startPeers } from '../control-app.spec-kit.js';
import { SyncSchedules } from './sync.service.js';

let s: Shared;
let peers: Peers;
let program: ChildProgram;
let a: ControlApp;
let name: string;
let host: string;

beforeAll(async () => {
  [s, peers, program] = await Promise.all([
    shared(),
    startPeers(),
    bundleChild(new URL('../../fixtures/control-process.ts', import.meta.url)),
  ]);
});
afterAll(async () => {
  await a?.close();
  await program?.close();
  await Promise.all([s.drop(), peers.close()]);
});
beforeEach(() => {
  name = `spec/${randomUUID()}`;
  host = `host/${randomUUID()}`;
});

const schedule = (more: Partial<ScheduleDocument> = {}): ScheduleDocument => ({
  dsl: 'opsloop/v1',
  kind: 'schedule',
  name,
  every: '1s',
  run: 'demo/quick@1',
  with: { host },
  ...more,
});
const keep = async (...documents: ScheduleDocument[]): Promise<void> => {
  peers.schedules = documents;
  await a.app.get(SyncSchedules).sync();
};
interface Firing {
  at: string;
  result: string;
  run?: string;
}
const firings = async (): Promise<Firing[]> =>
  (await a.call('GET', `/v1/schedules/${name}/firings?limit=100`)).body.items.toReversed();
const act = (verb: string, body: object = {}) =>
  a.call('POST', `/v1/schedules/${name}/${verb}`, { reason: 'spec', ...body });

test('a killed control loses no time, and two of them fire none twice', async () => {
  peers.schedules = [schedule({ overlap: 'allow', with: { host: 'spot/${schedule.at}' } })];
  const child = program.start(s.databaseUrl, s.address, s.namespace, peers.target.url, 'schedule.before-commit:2');
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  expect((await exit)[1]).toBe('SIGKILL');
  a = await startControl(s, peers);
  const b = await startControl(s, peers, { worker: false });
  const before = (await firings()).length;
  await eventually(async () => expect((await firings()).length).toBeGreaterThan(before + 2), { timeoutMs: 40_000 });
  await keep();
  await b.close();
  const rows = await a.db.query<{ at: Date; run_id: string; state: string; initiator: object }>(
    `SELECT f.at, f.run_id, a.state, a.initiator FROM control.firing f LEFT JOIN control.admission a ON a.id = f.run_id WHERE f.schedule = $1 ORDER BY f.at`,
    [name],
  );
  const first = rows[0]!.at.getTime();
  // Second after second, also those around the kill.
  expect(rows.map((r) => (r.at.getTime() - first) / 1_000)).toEqual(rows.map((_, i) => i));
  expect(new Set(rows.map((r) => r.run_id)).size).toBe(rows.length);
  for (const row of rows) expect(row.initiator).toEqual({ kind: 'schedule', name });
  const [{ n }] = (await a.db.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM control.admission WHERE initiator->>'name' = $1`,
    [name],
  )) as [{ n: number }];
  expect(n).toBe(rows.length);
}, 60_000);

describe('while the last one still runs', () => {
  test('skip leaves times out, queue keeps them in order', async () => {
    await keep(schedule({ run: 'demo/slow@1' }));
    await eventually(async () => expect((await firings()).map((f) => f.result)).toContain('skipped'));
    const [first, second] = await firings();
    expect([first, second]).toMatchObject([
      { result: 'started' },
      { result: 'skipped', reason: `run ${first!.run} has not ended` },
    ]);
    await keep(schedule({ run: 'demo/slow@1', overlap: 'queue' }));
    await eventually(async () => expect((await firings()).map((f) => f.result)).toContain('waiting'));
    await act('pause');
    const waiting = (await firings()).find((f) => f.result === 'waiting')!;
    await a.call('POST', `/v1/runs/${first!.run}/terminate`, { reason: 'spec' });
    // Paused: it waits on.
    expect((await firings()).find((f) => f.at === waiting.at)?.result).toBe('waiting');
    await act('resume');
    const fired = await eventually(async () => {
      const one = (await firings()).find((f) => f.at === waiting.at)!;
      expect(one.result).toBe('started');
      return one;
    });
    await keep();
    // Its host is free only after the lock delay of the terminated run.
    await a.call('POST', `/v1/runs/${fired.run}/cancel`, { reason: 'spec' });
  });
});

test('pause, resume, next, run now, and what is wrong is told', async () => {
  await keep(
    schedule({ every: '1h' }),
    schedule({ name: `${name}-bad`, cron: '0 3 * * *', zone: 'Mars/Olympus', every: undefined } as never),
  );
  expect((await act('pause')).body).toMatchObject({ name, when: 'every 1h', paused: { by: 'admin', reason: 'spec' } });
  expect((await act('pause')).status).toBe(200);
  const listed = async () =>
    (await a.call('GET', '/v1/schedules/state')).body.items.find((i: { name: string }) => i.name === name);
  expect(await listed()).toMatchObject({ enabled: true, paused: { by: 'admin' } });
  expect((await listed()).nextAt).toBeUndefined();
  const resumed = await act('resume');
  expect(Date.parse(resumed.body.nextAt) % 3_600_000).toBe(0);
  const next = await a.call('GET', `/v1/schedules/${name}/next?count=2`);
  expect(next.body.items[0]).toBe(resumed.body.nextAt);
  const now = await act('run');
  expect(now).toMatchObject({ status: 202, body: { verdict: 'admitted' } });
  await eventually(async () => expect(await a.state(now.body.id)).toBe('closed'));
  expect((await a.call('GET', `/v1/runs/${now.body.id}`)).body).toMatchObject({
    initiator: { kind: 'user' },
    targets: [host],
  });
  expect(await act('run', { input: {} })).toMatchObject({ status: 400, body: { code: 'validation' } });
  expect(await act('pause', { reason: '' })).toMatchObject({ status: 400, body: { errors: [{ pointer: '/reason' }] } });
  expect(await a.call('GET', `/v1/schedules/${name}/next?count=0`)).toMatchObject({ status: 400 });
  expect(await a.call('GET', '/v1/schedules/no/such/firings')).toMatchObject({ status: 404 });
  expect((await a.call('GET', '/v1/status')).body.items).toContainEqual(
    expect.objectContaining({ level: 'failing', code: 'schedule', title: expect.stringContaining(`${name}-bad`) }),
  );
  await keep();
  expect(await act('pause')).toMatchObject({ status: 404 });
});
