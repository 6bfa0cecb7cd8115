import { randomUUID } from 'node:crypto';
import type { FlowDocument } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type ControlApp,
  FLOWS,
  type Peers,
  shared,
  type Shared,
  startControl,
  startPeers,
} from './control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;

/** Flows with a limit: `fleet/<act>` sleeps until it is ended, and is one per `group`. */
const limited = (act: NonNullable<FlowDocument['limit']>['onConflict']): FlowDocument => ({
  dsl: 'opsloop/v1',
  kind: 'flow',
  name: `fleet/${act}`,
  version: '1.0.0',
  input: {
    schema: {
      type: 'object',
      required: ['host', 'group'],
      properties: { host: { type: 'string' }, group: { type: 'string' } },
    },
  },
  targets: '${input.host}',
  limit: { runs: 1, by: '${input.group}', onConflict: act! },
  do: [{ id: 'pause', wait: { for: '10m' } }],
  output: null,
});

beforeAll(async () => {
  for (const act of ['queue', 'reject', 'coalesce'] as const) FLOWS[`fleet/${act}`] = limited(act);
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const host = (): string => `host/dc1/${randomUUID()}`;
const group = (): string => `rack/${randomUUID()}`;
const start = (act: string, by: string, h = host(), more: object = {}): Promise<string> =>
  a.send({ ref: `fleet/${act}@1`, input: { host: h, group: by }, targets: [h], ...more });
const becomes = (id: string, state: string): Promise<void> =>
  eventually(async () => expect(await a.state(id)).toBe(state));
const run = async (id: string) => (await a.call('GET', `/v1/runs/${id}`)).body;
const cancel = (id: string) => a.call('POST', `/v1/runs/${id}/cancel`, { reason: 'spec' });
const limitOf = async (id: string) =>
  (await run(id)).admission.consulted.find((c: { policy: string }) => c.policy === 'limit');
const waiters = async (id: string): Promise<number> =>
  (await a.db.query('SELECT 1 FROM control.waiter WHERE run_id = $1', [id])).length;

test('a second run of one limit waits, says for whom, and starts when the first ends; another key does not wait', async () => {
  const by = group();
  const path = `limit/fleet/queue/${by.replace('/', '%2F')}`;
  const first = await start('queue', by);
  await becomes(first, 'started');
  expect(await limitOf(first)).toEqual({
    policy: 'limit',
    saw: `1 run of fleet/queue for ${by}; none alive`,
    said: 'ok',
  });
  const second = await start('queue', by);
  await becomes(second, 'queued');
  const saw = `1 run of fleet/queue for ${by}; held by run ${first}`;
  expect((await run(second)).admission).toMatchObject({
    verdict: 'queued',
    reason: `limit: ${saw}`,
    position: 1,
    blockedBy: [{ path, runId: first }],
  });
  expect(await limitOf(second)).toEqual({ policy: 'limit', saw, said: 'queue' });
  const third = await start('queue', by);
  await becomes(third, 'queued');
  expect((await run(third)).admission.position).toBe(2);

  const other = await start('queue', group());
  await becomes(other, 'started');
  const forecast = await a.call('POST', '/v1/admissions/forecast', {
    flow: 'fleet/queue',
    input: { host: host(), group: by },
  });
  expect(forecast.body).toMatchObject({ verdict: 'queued', position: 3 });
  expect(forecast.body.consulted).toContainEqual({ policy: 'limit', saw, said: 'queue' });

  await cancel(first);
  await becomes(second, 'started');
  expect(await a.state(third)).toBe('queued');
  expect(await limitOf(second)).toMatchObject({ said: 'ok' });
  await cancel(second);
  await becomes(third, 'started');
  await Promise.all([third, other].map(cancel));
  await eventually(async () =>
    expect((await a.call('GET', `/v1/locks?path=${encodeURIComponent(path)}`)).body.items).toEqual([]),
  );
});

test('many at once run one after the other, also those of one batch', async () => {
  const by = group();
  const ids = await Promise.all(Array.from({ length: 6 }, () => start('queue', by)));
  const count = async () => {
    const states = await Promise.all(ids.map((id) => a.state(id)));
    return [states.filter((x) => x === 'started').length, states.filter((x) => x === 'queued').length];
  };
  for (let left = 5; left >= 0; left -= 1) {
    await eventually(async () => expect(await count()).toEqual([1, left]));
    for (const id of ids) if ((await a.state(id)) === 'started') await cancel(id);
  }
});

test('what is cancelled while it waits leaves its place to the next', async () => {
  const by = group();
  const first = await start('queue', by);
  await becomes(first, 'started');
  const second = await start('queue', by);
  await becomes(second, 'queued');
  const third = await start('queue', by);
  await becomes(third, 'queued');
  await cancel(second);
  await becomes(second, 'cancelled');
  expect(await waiters(second)).toBe(0);
  expect((await run(third)).admission.position).toBe(1);
  await cancel(first);
  await becomes(third, 'started');
  await cancel(third);
});

test('reject refuses the second, also while the first still waits for its host', async () => {
  const [by, h] = [group(), host()];
  const blocker = await start('queue', group(), h);
  await becomes(blocker, 'started');
  const first = await start('reject', by, h);
  await becomes(first, 'queued');
  expect(await limitOf(first)).toMatchObject({ said: 'ok' });
  const early = await start('reject', by);
  await becomes(early, 'rejected');
  expect((await run(early)).admission.reason).toBe(
    `limit: 1 run of fleet/reject for ${by}; run ${first} waits before it`,
  );
  await cancel(blocker);
  await becomes(first, 'started');
  const late = await start('reject', by, h);
  await becomes(late, 'rejected');
  expect((await run(late)).admission.reason).toBe(`limit: 1 run of fleet/reject for ${by}; held by run ${first}`);
  await cancel(first);
  await becomes(first, 'closed');
  const next = await start('reject', by);
  await becomes(next, 'started');
  await cancel(next);
});

test('coalesce joins the run that is there, whatever its input; without one there is nothing to join', async () => {
  const by = group();
  const path = `limit/fleet/coalesce/${by.replace('/', '%2F')}`;
  const first = await start('coalesce', by);
  await becomes(first, 'started');
  const second = await start('coalesce', by);
  await becomes(second, 'coalesced');
  expect(await a.story(second)).toEqual(['verdict:coalesced']);
  expect((await run(second)).admission).toMatchObject({
    verdict: 'coalesced',
    reason: `limit: 1 run of fleet/coalesce for ${by}; held by run ${first}`,
  });
  const [row] = await a.db.query<{ into_id: string }>('SELECT into_id FROM control.admission WHERE id = $1', [second]);
  expect(row!.into_id).toBe(first);
  await cancel(first);
  await becomes(first, 'closed');

  const lock = await a.call('POST', '/v1/locks', {
    claims: [{ path, mode: 'exclusive' }],
    owner: 'anna',
    ttl: '1m',
  });
  expect(lock.status).toBe(201);
  const third = await start('coalesce', by);
  await becomes(third, 'queued');
  expect(await limitOf(third)).toMatchObject({ saw: expect.stringContaining('held by anna'), said: 'queue' });
  await a.call('DELETE', `/v1/locks/${lock.body.fence}`);
  await becomes(third, 'started');
  await cancel(third);
});

test('what a halt took out of the queue is judged by its limit when it comes back', async () => {
  const by = group();
  const halt = await a.call('POST', '/v1/halts', {
    scope: { flows: ['fleet/*'] },
    running: 'leave',
    reason: 'spec',
  });
  expect(halt.status).toBe(201);
  const ids = [await start('coalesce', by)];
  await becomes(ids[0]!, 'held');
  ids.push(await start('coalesce', by));
  await becomes(ids[1]!, 'held');
  const lifted = await a.call('POST', `/v1/halts/${halt.body.id}/lift`, { reason: 'over', perMinute: 6_000 });
  expect(lifted.body.released).toBe(2);
  await eventually(async () =>
    expect((await Promise.all(ids.map((id) => a.state(id)))).toSorted()).toEqual(['coalesced', 'started']),
  );
  for (const id of ids) await cancel(id);
});

test('a key that is nothing is refused with the reason', async () => {
  const nothing = await start('queue', '');
  await becomes(nothing, 'rejected');
  expect((await run(nothing)).admission.reason).toContain('/limit/by of the flow gives ""');
});
