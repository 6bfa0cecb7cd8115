import { randomUUID } from 'node:crypto';
import type { JsonObject, ResourceView } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  type ControlApp,
  FLOWS,
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
  const base = { ...FLOWS['demo/slow']!, lockTargets: 'none' as const };
  FLOWS['fleet/five'] = { ...base, name: 'fleet/five', limit: { runs: 2, by: 'fleet', onConflict: 'queue' } };
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const named: string[] = [];
const put = async (name: string, body: JsonObject): Promise<void> => {
  const answer = await a.call('PUT', `/v1/policies/${name}`, { dsl: 'opsloop/v1', kind: 'policy', name, ...body });
  expect(answer.body).toMatchObject({ change: expect.stringMatching(/created|changed/) as string });
  named.push(name);
};
afterEach(async () => {
  for (const name of named.splice(0)) await a.call('DELETE', `/v1/policies/${name}`);
  peers.resources = [];
  peers.recheck = () => 'stands';
});

const host = (rack: string, n: number | string = randomUUID().slice(0, 8)): string => `host/${rack}/${n}`;
const resource = (path: string, labels: Record<string, string>): ResourceView => ({
  path,
  kind: 'host',
  labels,
  state: {},
  stateAt: {},
  memberOf: [],
  dependsOn: [],
});
const start = (h: string, more: object = {}, ref = 'demo/slow@1'): Promise<string> =>
  a.send({ ref, input: { host: h }, targets: [h], ...more });
const becomes = (id: string, ...states: string[]): Promise<void> =>
  eventually(async () => expect(states).toContain(await a.state(id)));
const running = (id: string): Promise<void> => becomes(id, 'admitted', 'started');
const admission = async (id: string) => (await a.call('GET', `/v1/admissions/${id}`)).body;
const said = async (id: string, policy: string) =>
  (await admission(id)).consulted.find((c: { policy: string }) => c.policy === policy);
const cancel = async (...ids: string[]): Promise<void> => {
  for (const id of ids) {
    await a.call('POST', `/v1/runs/${id}/cancel`, { reason: 'spec' });
    await becomes(id, 'closed', 'cancelled');
  }
};

test('a quota holds so many at once whoever asks, says who has the room, and gives it to the next in line', async () => {
  await put('ops/two', { type: 'quota', match: { targets: 'host/q/*' }, runs: 2 });
  const [first, second] = [await start(host('q')), await start(host('q'))];
  await Promise.all([first, second].map(running));
  expect(await said(first, 'ops/two')).toEqual({
    policy: 'ops/two',
    saw: expect.stringMatching(/^all: [01] of 2 runs at once$/) as string,
    said: 'ok',
  });
  const third = await start(host('q'));
  await becomes(third, 'queued');
  const fourth = await start(host('q'));
  await becomes(fourth, 'queued');
  expect(await admission(fourth)).toMatchObject({
    verdict: 'queued',
    position: 2,
    blockedBy: expect.arrayContaining([expect.objectContaining({ runId: first })]) as object,
  });
  expect(await said(third, 'ops/two')).toMatchObject({
    saw: expect.stringMatching(/^all: 2 of 2 runs at once; held by run /) as string,
    said: 'queue',
  });
  const other = await start(host('elsewhere'));
  await running(other);
  await cancel(first);
  await running(third);
  expect(await a.state(fourth)).toBe('queued');
  await cancel(third);
  await running(fourth);
  await cancel(second, fourth, other);
  expect(await a.db.query('SELECT * FROM control.charge')).toEqual([]);
  expect(await a.db.query('SELECT * FROM control.budget_wait')).toEqual([]);
});

test('many at once never exceed it, and what is cancelled while it waits leaves its place', async () => {
  await put('ops/three', { type: 'quota', match: { targets: 'host/m/*' }, runs: 3, by: '${initiator.kind}' });
  const ids = await Promise.all(Array.from({ length: 9 }, () => start(host('m'))));
  const count = async () => {
    const states = await Promise.all(ids.map((id) => a.state(id)));
    return [states.filter((x) => x === 'started').length, states.filter((x) => x === 'queued').length];
  };
  await eventually(async () => expect(await count()).toEqual([3, 6]));
  const waiting = [];
  for (const id of ids) if ((await a.state(id)) === 'queued') waiting.push(id);
  await cancel(waiting[0]!);
  for (let left = 5; left > 0; left -= 1) {
    for (const id of ids)
      if ((await a.state(id)) === 'started') {
        await cancel(id);
        break;
      }
    await eventually(async () => expect(await count()).toEqual([3, left - 1]));
  }
  await cancel(...(await Promise.all(ids.map(async (id) => ((await a.state(id)) === 'started' ? [id] : [])))).flat());
});

test('a flow with a limit of two has two runs alive, on one counter', async () => {
  const ids = [await start(host('l'), {}, 'fleet/five@1'), await start(host('l'), {}, 'fleet/five@1')];
  await Promise.all(ids.map(running));
  const third = await start(host('l'), {}, 'fleet/five@1');
  await becomes(third, 'queued');
  expect(await said(third, 'limit')).toMatchObject({
    saw: expect.stringMatching(/^fleet\/five for fleet: 2 of 2 runs at once/) as string,
    said: 'queue',
  });
  await cancel(ids[0]!);
  await running(third);
  await cancel(ids[1]!, third);
});
