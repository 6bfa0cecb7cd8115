import { randomUUID } from 'node:crypto';
import { stepKey } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ControlApp,
  FLOWS,
  SERVICE,
  type Peers,
  shared,
  type Shared,
  startControl,
  startPeers,
} from '../control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;

beforeAll(async () => {
  const base = FLOWS['demo/quick']!;
  FLOWS['demo/fails'] = {
    ...base,
    name: 'demo/fails',
    vars: { n: 1 },
    do: [
      { id: 'pause', wait: { for: '10ms' } },
      { id: 'note', set: { n: 2 } },
      {
        id: 'each',
        forEach: { in: ['a', 'b'], as: 'x', collect: '${x}', tolerate: { failures: 1 } },
        do: [{ id: 'bad', if: { '==': [{ var: 'x' }, 'b'] }, raise: { type: 'runtime' } }],
      },
      { id: 'boom', raise: { type: 'runtime', detail: 'on purpose' } },
    ],
  };
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const host = (): string => `host/dc1/${randomUUID()}`;
const post = (id: string, act: string, body: object, headers?: Record<string, string>) =>
  a.call('POST', `/v1/runs/${id}/${act}`, { reason: 'spec', ...body }, headers);
const get = async (id: string) => (await a.call('GET', `/v1/runs/${id}`)).body;
const becomes = (id: string, status: string): Promise<void> =>
  eventually(async () => expect((await get(id)).status).toBe(status));
const started = async (ref = 'demo/slow@1', h = host()): Promise<string> => {
  const id = await a.send({ ref, input: { host: h } });
  await eventually(async () => expect(['started', 'closed']).toContain(await a.state(id)));
  return id;
};

describe('steering a running run', () => {
  test('pause, resume and skip are done once, told by whom and why, and refused when it has ended', async () => {
    const id = await started();
    expect(await post(id, 'pause', {})).toMatchObject({
      status: 200,
      body: { id, status: 'paused', applied: true, paused: true },
    });
    expect(await post(id, 'pause', {})).toMatchObject({ status: 200, body: { applied: false, paused: true } });
    expect(await get(id)).toMatchObject({
      status: 'paused',
      acts: [{ act: 'pause', detail: 'flow', by: 'admin', reason: 'spec' }],
    });
    expect(await post(id, 'resume', {})).toMatchObject({ body: { status: 'running', applied: true, paused: false } });
    const key = { 'idempotency-key': 'one' };
    expect(await post(id, 'pause', { scope: 'step', path: 'note' }, key)).toMatchObject({ body: { applied: true } });
    await post(id, 'resume', { path: 'note' });
    // The same request again is the act of before, although the pause has been lifted since.
    expect(await post(id, 'pause', { scope: 'step', path: 'note' }, key)).toMatchObject({
      body: { applied: false, paused: false },
    });
    expect(await post(id, 'skip', { path: 'pause', output: { by: 'hand' } })).toMatchObject({
      status: 200,
      body: { applied: true },
    });
    await becomes(id, 'succeeded');
    const run = await get(id);
    expect(run.steps[0]).toMatchObject({ path: 'pause', status: 'skipped', output: { by: 'hand' } });
    const { items } = (await a.call('GET', `/v1/runs/${id}/timeline`)).body;
    const told = items.filter((e: { kind: string }) => e.kind === 'operator').map((e: { title: string }) => e.title);
    expect(told).toEqual([
      'pause by admin: spec',
      'resume by admin: spec',
      'pause before note by admin: spec',
      'resume note by admin: spec',
      'skip pause by admin: spec',
    ]);
    for (const [act, body] of [
      ['pause', {}],
      ['resume', {}],
      ['skip', { path: 'note' }],
      ['set-concurrency', { path: 'x', concurrency: 2 }],
      ['abort-item', { path: 'x', item: 'y' }],
    ] as const)
      expect(await post(id, act, body)).toMatchObject({ status: 409, body: { code: 'run-closed' } });
  });

  test('what cannot be done is refused, with the place that is wrong', async () => {
    const h = host();
    const id = await started('demo/slow@1', h);
    expect(await post(id, 'skip', { path: 'nowhere' })).toMatchObject({
      status: 400,
      body: { code: 'validation', errors: [{ pointer: '/path' }] },
    });
    expect(await post(id, 'set-concurrency', { path: 'note', concurrency: 2 })).toMatchObject({ status: 400 });
    expect(await post(id, 'set-concurrency', { path: 'note', concurrency: 501 })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/concurrency' }] },
    });
    expect(await post(id, 'pause', { scope: 'step' })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/path' }] },
    });
    expect(await post(id, 'pause', { scope: 'all' })).toMatchObject({ status: 400 });
    expect(await post(id, 'retry', { from: 'note' })).toMatchObject({ status: 409, body: { code: 'conflict' } });
    expect(await post(id, 'retry', {})).toMatchObject({ status: 409, body: { code: 'conflict' } });
    expect(await a.call('POST', `/v1/runs/${id}/pause`, {})).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/reason' }] },
    });
    expect(await post(randomUUID(), 'pause', {})).toMatchObject({ status: 404 });
    const waiting = await a.send({ ref: 'demo/slow@1', input: { host: h } });
    await eventually(async () => expect(await a.state(waiting)).toBe('queued'));
    expect(await post(waiting, 'pause', {})).toMatchObject({ status: 409, body: { code: 'conflict' } });
    await post(waiting, 'cancel', {});
    expect(await post(waiting, 'retry', {})).toMatchObject({ status: 409, body: { code: 'conflict' } });
    await post(id, 'cancel', {});
    await becomes(id, 'cancelled');
  });
});

describe('a retry', () => {
  test('is a new run that starts where the old one failed, once however often it is asked for', async () => {
    const h = host();
    const id = await started('demo/fails@1', h);
    await becomes(id, 'failed');
    const first = await post(id, 'retry', {}, { 'idempotency-key': 'again' });
    expect(first).toMatchObject({ status: 202, body: { retryOf: id, admission: { verdict: 'admitted' } } });
    expect(first.headers.get('location')).toBe(`/v1/runs/${first.body.id}`);
    expect((await post(id, 'retry', {}, { 'idempotency-key': 'again' })).body.id).toBe(first.body.id);
    await becomes(first.body.id, 'failed');
    const run = await get(first.body.id);
    expect(run).toMatchObject({
      flow: 'demo/fails',
      version: '1.0.0',
      retryOf: id,
      targets: [h],
      initiator: { name: 'admin' },
    });
    const steps = Object.fromEntries(
      run.steps.map((x: { path: string; reused?: boolean }) => [x.path, x.reused === true]),
    );
    expect(steps).toMatchObject({ pause: true, note: true, each: true, boom: false });
    expect((await get(id)).acts).toMatchObject([{ act: 'retry', detail: first.body.id, reason: 'spec' }]);
    // A retry of a retry: the epoch, and with it every key, goes on rising.
    const second = await post(first.body.id, 'retry', { from: 'each' });
    await becomes(second.body.id, 'failed');
    const [start] = await a.db.query<{ body: { epoch: number } }>(
      `SELECT body FROM control.journal WHERE run_id = $1 AND kind = 'start'`,
      [second.body.id],
    );
    expect(start!.body.epoch).toBe(2);
    expect(stepKey(second.body.id, 'boom', 2)).not.toBe(stepKey(second.body.id, 'boom', 1));
    expect((await get(second.body.id)).steps.filter((x: { reused?: boolean }) => x.reused === true)).toHaveLength(2);
  });

  test('of a terminated run starts from what its workflow knew; without a journal it says so', async () => {
    const id = await started();
    await eventually(async () => expect((await get(id)).steps?.length).toBeGreaterThan(0));
    await post(id, 'terminate', {});
    const again = await post(id, 'retry', {});
    expect(again).toMatchObject({ status: 202 });
    await post(again.body.id, 'terminate', {});
    const gone = await started('demo/fails@1');
    await becomes(gone, 'failed');
    await a.db.query('DELETE FROM control.journal WHERE run_id = $1', [gone]);
    await a.db.query(`UPDATE control.admission SET workflow_id = 'gone' WHERE id = $1`, [gone]);
    const refused = await post(gone, 'retry', {});
    expect(refused).toMatchObject({ status: 409, body: { code: 'conflict' } });
    expect(refused.body.detail).toContain('is not available');
    const well = await started('demo/quick@1');
    await becomes(well, 'succeeded');
    expect(await post(well, 'retry', {})).toMatchObject({ status: 409 });
    expect(await post(gone, 'retry', { from: 'pause/nowhere' })).toMatchObject({ status: 409 });
  });
});

test('what could not be undone is told to a person', async () => {
  const id = await started();
  const problem = { type: 'x', title: 't', status: 500, code: 'runtime', detail: 'no answer' };
  const undo = { id: 'a', verb: 'call', attempts: 1, startedAt: new Date().toISOString() };
  await a.call(
    'POST',
    `/internal/runs/${id}/outcome`,
    {
      status: 'failed',
      steps: [{ ...undo, path: 'a~undo', title: 'Undo drain', status: 'failed', problem }],
      targets: [],
    },
    { authorization: `Bearer ${SERVICE}` },
  );
  const { items } = (await a.call('GET', `/v1/runs/${id}/timeline`)).body;
  expect(items).toContainEqual(
    expect.objectContaining({
      kind: 'operator',
      title: expect.stringContaining('needs a person: Undo drain failed'),
      cause: 'no answer',
    }),
  );
  const status = (await a.call('GET', '/v1/status')).body;
  expect(status.items).toContainEqual(expect.objectContaining({ next: `opsloop runs show ${id}`, level: 'failing' }));
});

describe('acts on many runs', () => {
  test('are looked at first, and done only with the number that was seen', async () => {
    const under = `host/${randomUUID()}`;
    const ids = await Promise.all([1, 2, 3].map((n) => started('demo/slow@1', `${under}/${n}`)));
    const act = (body: object) =>
      a.call('POST', '/v1/runs/actions', { action: 'pause', filter: { under }, reason: 'spec', ...body });
    expect(await act({ dryRun: true })).toMatchObject({ status: 200, body: { count: 3, dryRun: true } });
    expect(await act({})).toMatchObject({ status: 400, body: { errors: [{ pointer: '/expectedCount' }] } });
    expect(await act({ expectedCount: 2 })).toMatchObject({ status: 409, body: { code: 'conflict', count: 3 } });
    const done = await act({ expectedCount: 3 });
    expect(done.body.failed).toEqual([]);
    expect([...done.body.done].sort()).toEqual([...ids].sort());
    for (const id of ids) {
      const run = await get(id);
      expect([run.status, run.diagnosis[0]]).toMatchObject([
        'paused',
        { code: 'paused', next: `opsloop runs resume ${id} --reason "…"` },
      ]);
    }
    expect(await act({ dryRun: true })).toMatchObject({ body: { count: 0 } });
    expect(await act({ action: 'resume', expectedCount: 3 })).toMatchObject({ status: 200, body: { count: 3 } });
    expect(await act({ action: 'skip', dryRun: true })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/path' }] },
    });
    const skipped = await act({ action: 'skip', path: 'note', expectedCount: 3 });
    expect([skipped.body.done.length, skipped.body.failed]).toEqual([3, []]);
    expect((await get(ids[0]!)).acts.at(-1)).toMatchObject({ act: 'skip', path: 'note' });
    expect((await act({ action: 'terminate', expectedCount: 3 })).body.failed).toEqual([]);
    expect(await act({ action: 'explode', dryRun: true })).toMatchObject({ status: 400 });
  });
});
