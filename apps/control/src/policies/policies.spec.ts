import { randomUUID } from 'node:crypto';
import type { JsonObject, ResourceView } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  type ControlApp,
  FLOWS,
  SERVICE,
  tokenOf,
  type Peers,
  shared,
  type Shared,
  startControl,
  startPeers,
} from '../control-app.spec-kit.js';
import { OfferingService } from '../admit/offering.service.js';

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

test('a rate counts starts over several times, and says when there is room again', async () => {
  await put('ops/rate', {
    type: 'quota',
    match: { targets: 'host/r/*' },
    by: '${resource.path}',
    windows: [
      // Wide enough that the second start is judged inside of it on a busy machine too.
      { runs: 1, within: '4s' },
      { runs: 2, within: '1h' },
    ],
  });
  const h = host('r', 'x');
  peers.resources = [resource(h, {})];
  const first = await start(h);
  await running(first);
  await cancel(first);
  const second = await start(h);
  await becomes(second, 'queued');
  expect(await said(second, 'ops/rate')).toMatchObject({ saw: `${h}: 1 of 1 runs within 4s`, said: 'queue' });
  const { eta } = await admission(second);
  expect(Date.parse(eta) - Date.now()).toBeLessThan(4_000);
  await running(second);
  await cancel(second);
  const third = await start(h);
  await becomes(third, 'queued');
  await eventually(async () =>
    expect(Date.parse((await admission(third)).eta) - Date.now()).toBeGreaterThan(3_000_000),
  );
  await cancel(third);
});

test('a blast radius counts targets of all causes by failure domain, and fails closed without the inventory', async () => {
  await put('ops/rack', {
    type: 'blast-radius',
    match: { targets: 'host/*' },
    by: '${resource.labels.rack}',
    max: 1,
    percent: 10,
  });
  const [one, two, other] = [host('b', 1), host('b', 2), host('c', 1)];
  peers.resources = [resource(one, { rack: 'b' }), resource(two, { rack: 'b' }), resource(other, { rack: 'c' })];
  const first = await start(one);
  await running(first);
  const api = await a.call('POST', '/v1/catalog/demo/slow/runs', { input: { host: two } });
  expect(api.body.admission).toMatchObject({ verdict: 'queued' });
  await running(await start(other));
  const unknown = await start(host('nowhere', 'z'));
  await becomes(unknown, 'rejected');
  expect((await said(unknown, 'ops/rack')).saw).toMatch(/is not in the inventory/);
  const forecast = await a.call('POST', '/v1/admissions/forecast', { flow: 'demo/slow', input: { host: two } });
  expect(forecast.body.forecast).toMatch(new RegExp(`^queued behind run ${first}, place 2`));
  await cancel(first);
  await running(api.body.id);
  await cancel(api.body.id);
  const cached = host('d', 1);
  const resources = peers.resources;
  peers.resources = undefined;
  const blind = await start(cached);
  await becomes(blind, 'queued');
  expect((await said(blind, 'ops/rack')).saw).toBe('the inventory does not answer');
  peers.resources = [...resources, resource(cached, { rack: 'd' })];
  await eventually(async () => expect(await a.state(blind)).toBe('started'), { timeoutMs: 40_000 });
  await cancel(blind);
});

test('targets that take turns are charged one by one, and freed with their claims', async () => {
  await put('ops/turns', { type: 'blast-radius', match: { targets: 'host/t/*' }, max: 1 });
  const [one, two] = [host('t', 1), host('t', 2)];
  const id = await start(host('elsewhere'));
  await running(id);
  const claim = (step: string, path: string) =>
    a.call(
      'POST',
      `/internal/runs/${id}/claims`,
      { step, claims: [{ path, mode: 'exclusive' }] },
      { authorization: `Bearer ${SERVICE}` },
    );
  expect((await claim('s1', one)).body).toMatchObject({ granted: true });
  const busy = (await claim('s2', two)).body;
  expect(busy).toMatchObject({ granted: false });
  expect(busy.blockedBy[0].owner).toMatch(/ops\/turns: all: 1 of 1 targets at once/);
  expect((await claim('s1', one)).body).toMatchObject({ granted: true });
  await a.call('POST', `/internal/runs/${id}/release`, { step: 's1' }, { authorization: `Bearer ${SERVICE}` });
  expect((await claim('s2', two)).body).toMatchObject({ granted: true });
  await cancel(id);
  expect(await a.db.query("SELECT * FROM control.charge WHERE policy = 'ops/turns'")).toEqual([]);
});

test('a run over many targets goes through a failure domain as its budget allows, target by target', async () => {
  await put('ops/one', { type: 'blast-radius', match: { targets: 'host/pt/*' }, max: 1 });
  FLOWS['fleet/short'] = { ...FLOWS['demo/quick']!, name: 'fleet/short', lockTargets: 'none' };
  const paths = [host('pt', 1), host('pt', 2)];
  const items = paths.map((path) => ({ path, input: { host: path } }));
  const id = await a.send({
    ref: 'fleet/short@1',
    input: {},
    targets: paths,
    perTarget: { items, batches: [[paths[0]!], [paths[1]!]] },
  });
  await becomes(id, 'closed');
  expect((await a.call('GET', `/v1/runs/${id}`)).body.status).toBe('succeeded');
  expect(await said(id, 'ops/one')).toEqual({
    policy: 'ops/one',
    saw: 'charged for each target at its turn',
    said: 'ok',
  });
  expect(await a.db.query('SELECT * FROM control.charge WHERE run_id = $1', [id])).toEqual([]);
});

test('a freeze holds, and at its end what still stands starts and what has cleared is withdrawn', async () => {
  const from = new Date(Date.now() - 60_000).toISOString();
  const until = new Date(Date.now() + 3_000).toISOString();
  await put('ops/freeze', { type: 'freeze', match: { targets: 'host/f/*' }, during: { from, until }, perMinute: 6000 });
  const [stands, clears] = [host('f', 1), host('f', 2)];
  const ids = [await start(stands), await start(clears)];
  for (const id of ids) await becomes(id, 'held');
  expect(await admission(ids[0]!)).toMatchObject({
    verdict: 'held',
    heldUntil: until,
    reason: expect.stringContaining('frozen until') as string,
  });
  peers.recheck = (path) => (path === clears ? 'cleared' : 'stands');
  await running(ids[0]!);
  await becomes(ids[1]!, 'withdrawn');
  await cancel(ids[0]!);
});

test('an exception lets one start through a freeze; one that rejects says so', async () => {
  const during = { rrule: 'FREQ=DAILY', for: '1d', zone: 'Asia/Shanghai' };
  await put('ops/lockdown', {
    type: 'freeze',
    match: { targets: 'host/e/*' },
    during,
    exceptions: { groups: ['sre'] },
  });
  await put('ops/never', { type: 'freeze', match: { targets: 'host/n/*' }, during, then: 'reject' });
  const [one, two] = [await start(host('e')), await start(host('e'))];
  for (const id of [one, two]) await becomes(id, 'held');
  const { approvalId } = await admission(one);
  const answer = await a.call(
    'POST',
    `/v1/approvals/${approvalId}/answer`,
    { answer: 'approve', reason: 'outage' },
    { authorization: `Bearer ${tokenOf('anna')}` },
  );
  expect(answer.body).toMatchObject({ status: 'approved', policy: 'ops/lockdown' });
  await running(one);
  expect(await said(one, 'ops/lockdown')).toMatchObject({
    said: 'ok',
    saw: expect.stringContaining('approved by anna') as string,
  });
  expect(await a.state(two)).toBe('held');
  await cancel(one, two);
  const api = await a.call('POST', '/v1/catalog/demo/slow/runs', { input: { host: host('n') } });
  expect(api).toMatchObject({ status: 409, body: { code: 'admission-rejected' } });
});

test('a change needs two of a group, none of them who asked; drift refuses, a cleared cause withdraws', async () => {
  await put('ops/two-eyes', {
    type: 'approval',
    match: { targets: 'host/a/*' },
    approvers: { groups: ['sre'], min: 2, excludeInitiator: true },
    remind: '1s',
    timeout: '10m',
  });
  const answer = (id: string, who: string, what = 'approve') =>
    a.call(
      'POST',
      `/v1/approvals/${id}/answer`,
      { answer: what, reason: 'spec' },
      { authorization: `Bearer ${tokenOf(who)}` },
    );
  const initiator = { kind: 'token' as const, name: 'anna' };
  const id = await start(host('a'), { initiator });
  await becomes(id, 'needs-approval');
  const { approvalId, reason } = await admission(id);
  expect(reason).toBe('ops/two-eyes: 2 of sre must approve');
  expect((await answer(approvalId, 'anna')).status).toBe(403);
  expect((await answer(approvalId, 'eve')).status).toBe(403);
  expect((await answer(approvalId, 'bob')).body).toMatchObject({ status: 'open', approvals: 1, needed: 2 });
  await eventually(async () =>
    expect((await a.call('GET', `/v1/approvals/${approvalId}`)).body.reminders).toBeGreaterThan(0),
  );
  expect((await answer(approvalId, 'cy')).body).toMatchObject({ status: 'approved', approvals: 2 });
  await running(id);
  expect(await said(id, 'ops/two-eyes')).toMatchObject({ saw: 'approved by bob, cy', said: 'ok' });
  await cancel(id);

  const drifts = await start(host('a'), { initiator });
  await becomes(drifts, 'needs-approval');
  const before = FLOWS['demo/slow']!;
  FLOWS['demo/slow'] = { ...before, do: [...before.do, { id: 'more', set: { now: 'this' } }] };
  a.app.get(OfferingService).forget();
  try {
    const asked = (await admission(drifts)).approvalId;
    await answer(asked, 'bob');
    await answer(asked, 'cy');
    await becomes(drifts, 'rejected');
    expect((await admission(drifts)).reason).toMatch(/what was approved is not what would run: steps \+more/);
  } finally {
    FLOWS['demo/slow'] = before;
    a.app.get(OfferingService).forget();
  }

  const refused = await start(host('a'), { initiator });
  await becomes(refused, 'needs-approval');
  await answer((await admission(refused)).approvalId, 'bob', 'reject');
  await becomes(refused, 'rejected');

  const h = host('a');
  const clears = await start(h, { initiator });
  await becomes(clears, 'needs-approval');
  peers.recheck = () => 'cleared';
  const late = await answer((await admission(clears)).approvalId, 'bob');
  expect(late).toMatchObject({ status: 409 });
  await becomes(clears, 'withdrawn');
});

test('a storm holds the many and starts one run that looks at the group as a whole', async () => {
  FLOWS['fleet/diagnose'] = {
    ...FLOWS['demo/slow']!,
    name: 'fleet/diagnose',
    targets: '${input.rack}',
    input: { schema: { type: 'object', required: ['rack'], properties: { rack: { type: 'string' } } } },
    output: null,
  };
  await put('ops/storm', {
    type: 'storm',
    match: { targets: 'host/s/*' },
    by: '${resource.labels.rack}',
    unhealthy: '40%',
    then: { run: 'fleet/diagnose@1', with: { rack: 'rack/${group.key}' } },
    cooldown: '1m',
  });
  const hosts = Array.from({ length: 5 }, (_, i) => host('s', i));
  peers.resources = hosts.map((h) => resource(h, { rack: 's' }));
  const first = await start(hosts[0]!);
  await running(first);
  const second = await start(hosts[1]!);
  const third = await start(hosts[2]!);
  for (const id of [second, third]) await becomes(id, 'held');
  expect((await said(third, 'ops/storm')).saw).toMatch(/^s: [23] of 5 in trouble within 10m, 2 are a storm; run /);
  // It is asked for over the bus, in the transaction that held the second one.
  const runs = await eventually(async () => {
    const found = await a.db.query<{ id: string }>("SELECT id FROM control.admission WHERE flow = 'fleet/diagnose'");
    expect(found.length).toBeGreaterThan(0);
    return found;
  });
  await running(runs[0]!.id);
  // The third one came into the same storm: by now its run would be here as well.
  expect(await a.db.query("SELECT 1 FROM control.admission WHERE flow = 'fleet/diagnose'")).toHaveLength(1);
  await cancel(first, second, third, runs[0]!.id);
});

test('work of a higher tier makes a lower one give way at a safe point', async () => {
  await put('ops/urgent', { type: 'mutex', match: { targets: 'host/p/*' }, onConflict: 'preempt' });
  const h = host('p');
  const low = await start(h, { tier: 'P3' });
  await becomes(low, 'started');
  const equal = await start(h, { tier: 'P3' });
  await becomes(equal, 'queued');
  expect(await said(equal, 'ops/urgent')).toMatchObject({ said: 'queue' });
  const high = await start(h, { tier: 'P0' });
  await eventually(async () => expect(await a.state(high)).toBe('started'), { timeoutMs: 40_000 });
  expect(await a.state(low)).toBe('closed');
  expect((await a.call('GET', `/v1/runs/${low}`)).body.status).toBe('cancelled');
  expect(await a.state(equal)).toBe('queued');
  await cancel(high, equal);
});

test('policies are tried before they are in force, looked over for contradictions, and kept', async () => {
  await put('ops/wide', { type: 'quota', match: { domain: 'demo' }, runs: 50 });
  const narrow = {
    dsl: 'opsloop/v1',
    kind: 'policy',
    name: 'ops/narrow',
    type: 'quota',
    layer: 'team',
    match: { domain: 'demo' },
    runs: 60,
  };
  const frozen = {
    dsl: 'opsloop/v1',
    kind: 'policy',
    name: 'ops/new-year',
    type: 'freeze',
    during: { from: '2030-01-01T00:00:00', until: '2030-01-02T00:00:00', zone: 'Asia/Tokyo' },
  };
  const tried = await a.call('POST', '/v1/policies/test', {
    flow: 'demo/slow',
    input: { host: host('x') },
    at: '2030-01-01T10:00:00Z',
    policies: [narrow, frozen],
  });
  expect(tried.body).toMatchObject({ said: 'held', reason: 'ops/new-year: frozen until 2030-01-01T15:00:00.000Z' });
  expect(tried.body.policies.find((p: { name: string }) => p.name === 'ops/wide').lines).toEqual([
    { saw: 'all: 0 of 50 runs at once', said: 'ok' },
  ]);
  expect(tried.body.findings).toMatchObject([
    { policy: 'ops/narrow', other: 'ops/wide', message: expect.stringContaining('never reached') as string },
  ]);
  const wrong = await a.call('POST', '/v1/policies/test', {
    flow: 'demo/slow',
    input: { host: host('x') },
    policies: [{ ...narrow, runs: 0 }],
  });
  expect(wrong).toMatchObject({ status: 400, body: { errors: [{ pointer: '/policies/0/runs' }] } });
  const second = await a.call('PUT', '/v1/policies/ops/narrow', narrow);
  expect(second.body.contradictions[0]).toMatch(/a policy of the team cannot loosen one of the tenant/);
  named.push('ops/narrow');
  expect((await a.call('GET', '/v1/policies/lint')).body.items).toHaveLength(1);
  await put('ops/wide', { type: 'quota', match: { domain: 'demo' }, runs: 55 });
  expect(
    (await a.call('GET', '/v1/policies/ops/wide/versions')).body.items.map(
      (d: { body: { runs: number } }) => d.body.runs,
    ),
  ).toEqual([55, 50]);
});

test('what waits is looked at again when its policy changes or goes', async () => {
  await put('ops/shut', { type: 'freeze', match: { targets: 'host/w/*' }, during: { rrule: 'FREQ=DAILY', for: '1d' } });
  const id = await start(host('w'));
  await becomes(id, 'held');
  await a.call('DELETE', '/v1/policies/ops/shut');
  await running(id);
  await cancel(id);
});
