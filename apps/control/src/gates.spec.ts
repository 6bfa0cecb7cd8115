/** What stands before and inside a run: policies at admission and at its turn, halts of every scope, claims of steps. */
import { randomUUID } from 'node:crypto';
import type { HaltScope, RuleReach, StartRequest } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ControlApp,
  type Peers,
  SERVICE,
  shared,
  type Shared,
  startControl,
  startPeers,
} from './control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;

beforeAll(async () => {
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const host = (): string => `host/dc1/${randomUUID()}`;
const slow = (h: string, more: Partial<StartRequest> = {}): Promise<string> =>
  a.send({ ref: 'demo/slow@1', input: { host: h }, ...more });
const becomes = (id: string, state: string, timeoutMs = 10_000): Promise<void> =>
  eventually(async () => expect(await a.state(id)).toBe(state), { timeoutMs });
const clear = async (...ids: string[]): Promise<void> => {
  for (const id of ids) await a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
  await a.db.query('DELETE FROM control.claim WHERE run_id = ANY($1)', [ids]);
};
const internal = (path: string, body: unknown) =>
  a.call('POST', `/internal/${path}`, body, { authorization: `Bearer ${SERVICE}` });
const putPolicy = (name: string, more: object) =>
  a.call('PUT', `/v1/policies/${name}`, { dsl: 'opsloop/v1', kind: 'policy', name, type: 'mutex', ...more });
/** Policies are remembered for a second by whoever did not change them; this process changed them itself. */
const dropPolicy = async (name: string): Promise<void> =>
  expect((await a.call('DELETE', `/v1/policies/${name}`)).status).toBe(204);

describe('mutex policies', () => {
  test.each([
    [{ onConflict: 'dance' }, '/onConflict'],
    [{ validFor: 'soon' }, '/validFor'],
    [{ match: { lables: { a: 'b' } } }, '/match/lables'],
    [{ locks: [{ path: 'rack/${event.rack}', mode: 'shared' }] }, '/locks/0/path'],
    [{ max: 3 }, '/max'],
  ])('%j is refused at %s', async (member, pointer) => {
    const answer = await putPolicy('ops/wrong', member);
    expect([answer.status, answer.body.code, answer.body.errors[0].pointer]).toEqual([400, 'validation', pointer]);
  });

  test('validFor counts, also for what is queued already; a list of patterns matches', async () => {
    const h = host();
    const first = await slow(h);
    await becomes(first, 'started');
    await putPolicy('ops/short', { match: { targets: ['nothing/*', h] }, validFor: '400ms' });
    const id = await a.send({ input: { host: h } });
    await becomes(id, 'expired');
    expect((await a.call('GET', `/v1/runs/${id}`)).body.admission.consulted.at(-1)).toMatchObject({
      policy: 'validFor',
      saw: 'valid for 400ms',
    });
    await dropPolicy('ops/short');
    await clear(first);
  });

  test('are read again at the turn of queued work: new ones count, old ones no longer', async () => {
    const [h, other, extra] = [host(), host(), `pool/${randomUUID()}`];
    const first = await slow(h);
    const owner = await slow(other);
    await Promise.all([becomes(first, 'started'), becomes(owner, 'started')]);
    await putPolicy('ops/old', { match: { targets: h }, locks: [{ path: other, mode: 'exclusive' }] });
    const id = await slow(h);
    await becomes(id, 'queued');
    await dropPolicy('ops/old');
    await putPolicy('ops/new', { match: { targets: h }, locks: [{ path: extra, mode: 'shared' }] });
    await clear(first);
    // It still stands in the queue for the lock of the old policy until somebody frees it.
    await clear(owner);
    await becomes(id, 'started');
    const held = (await a.call('GET', `/v1/admissions/${id}`)).body.claims.map((c: { path: string }) => c.path);
    expect(held.toSorted()).toEqual([h, extra].toSorted());
    await dropPolicy('ops/new');
    await clear(id);
  });
});

describe('the place in the queue', () => {
  test('has no ETA without a past, and one from the median of past runs', async () => {
    const h = host();
    const first = await slow(h);
    await becomes(first, 'started');
    const start = () => a.call('POST', '/v1/catalog/demo/quick/runs', { input: { host: h } });
    const second = await start();
    expect(second.body.admission).toMatchObject({ verdict: 'queued', blockedBy: [{ runId: first }] });
    expect(second.body.admission.eta).toBeUndefined();
    await clear(first);
    await becomes(second.body.id, 'closed');
    // Three runs of the slow flow that took 60 s, 120 s and 600 s: 120 s are expected.
    const past = await Promise.all([60, 120, 600].map(() => slow(host())));
    for (const id of past) await becomes(id, 'started');
    await clear(...past);
    for (const [i, id] of past.entries())
      await a.db.query(
        `UPDATE control.admission SET status = 'succeeded', ended_at = started_at + make_interval(secs => $2) WHERE id = $1`,
        [id, [60, 120, 600][i]],
      );
    const holder = await slow(h);
    await becomes(holder, 'started');
    const begun = Date.parse((await a.call('GET', `/v1/runs/${holder}`)).body.startedAt);
    const third = await start();
    expect(Date.parse(third.body.admission.eta) - begun).toBeGreaterThan(119_000);
    expect(Date.parse(third.body.admission.eta) - begun).toBeLessThan(121_000);
    expect((await a.call('GET', `/v1/runs/${third.body.id}`)).body.admission.eta).toBeDefined();
    await a.call('POST', `/v1/runs/${third.body.id}/cancel`, { reason: 'spec' });
    await clear(holder);
  });
});

describe('halts', () => {
  const make = (scope: HaltScope, more: object = {}) =>
    a.call('POST', '/v1/halts', { scope, reason: 'spec halt', ...more });
  const lift = (id: string) => a.call('POST', `/v1/halts/${id}/lift`, { reason: 'over', perMinute: 6_000 });

  test.each<[string, HaltScope, Partial<StartRequest>]>([
    ['a tier', { tiers: ['P0'] }, { tier: 'P0' }],
    [
      'rules',
      { rules: ['only/*'] },
      { cause: { rule: 'only/this', ruleVersion: '1.0.0', branch: 'b', rung: 'r', episodes: [] } },
    ],
    ['flows', { flows: ['demo/slow'] }, { ref: 'demo/slow@1' }],
    ['paths', { paths: ['lab'] }, { input: { host: 'lab/x/1' }, targets: ['lab/x/1'] }],
    [
      'paths and a tier',
      { paths: ['lab'], tiers: ['P1'] },
      { tier: 'P1', input: { host: 'lab/x/2' }, targets: ['lab/x/2'] },
    ],
  ])('on %s hold what is in scope and nothing else', async (_name, scope, start) => {
    const { body } = await make(scope);
    const inside = await a.send(start);
    const outside = await a.send({});
    await becomes(inside, 'held');
    await becomes(outside, 'closed');
    expect((await a.call('GET', `/v1/runs/${inside}`)).body.admission).toMatchObject({ verdict: 'held' });
    await a.call('POST', `/v1/runs/${inside}/cancel`, { reason: 'spec' });
    await lift(body.id);
  });

  test('count the active rules in scope, as decision knows them, and do without it', async () => {
    const rule = (name: string, more: Partial<RuleReach> = {}): RuleReach => ({
      name,
      mode: 'active',
      refs: ['demo/slow@1'],
      ...more,
    });
    peers.rules = [
      rule('fleet/down', { subjects: ['host/*'], tiers: ['P0'] }),
      rule('fleet/shadow', { mode: 'shadow' }),
      rule('db/slow', { subjects: ['db/*'], tiers: ['P2'], refs: ['notify.webhook@1'] }),
      rule('net/any'),
    ];
    const hits = async (scope: HaltScope): Promise<number> => (await make(scope, { dryRun: true })).body.hits.rules;
    expect(await hits({})).toBe(3);
    expect(await hits({ rules: ['fleet/*'] })).toBe(1);
    expect(await hits({ paths: ['host/dc1/r1'] })).toBe(2);
    expect(await hits({ paths: ['switch/*'] })).toBe(1);
    expect(await hits({ tiers: ['P2'] })).toBe(2);
    expect(await hits({ flows: ['demo/*'] })).toBe(2);
    expect(await hits({ atoms: ['notify.*'] })).toBe(3);
    expect(await hits({ atoms: ['bmc.*'] })).toBe(2);
    expect(await hits({ domain: 'atom' })).toBe(1);
    peers.rules = undefined;
    const made = await make({ paths: [host()] });
    expect([made.status, made.body.hits]).toEqual([201, { queued: 0, running: 0, targets: 0 }]);
    await lift(made.body.id);
    peers.rules = [];
  });

  test('with cancel end the runs in scope; a lift wakes those that go on with a signal', async () => {
    const [h, paused] = [host(), host()];
    const [gone, stays] = [await slow(h), await slow(paused)];
    await Promise.all([becomes(gone, 'started'), becomes(stays, 'started')]);
    const cancel = await make({ paths: [h] }, { running: 'cancel' });
    expect(cancel.body.hits).toMatchObject({ running: 1, targets: 1 });
    await becomes(gone, 'closed');
    expect(await a.story(gone)).toEqual(['verdict:admitted', 'started', 'closed:cancelled']);
    const pause = await make({ paths: [paused] });
    await Promise.all([lift(cancel.body.id), lift(pause.body.id)]);
    const handle = a.temporal.client.workflow.getHandle(`demo.slow.${stays}`);
    await eventually(async () => {
      const { events } = await handle.fetchHistory();
      const signals = (events ?? []).flatMap((e) => e.workflowExecutionSignaledEventAttributes?.signalName ?? []);
      expect(signals).toEqual(['halt-changed']);
    });
    await clear(stays);
  });
});

describe('claims of a step', () => {
  test('are covered by the run, granted by try, given back; the path says who holds and waits', async () => {
    const [h, taken] = [host(), host()];
    const [id, other] = [await slow(h), await slow(taken)];
    await Promise.all([becomes(id, 'started'), becomes(other, 'started')]);
    const claim = (step: string, path: string) =>
      internal(`runs/${id}/claims`, { step, claims: [{ path, mode: 'exclusive' }] });
    const own = (await a.call('GET', `/v1/runs/${id}`)).body.fence;
    expect((await claim('s1', `${h}/disk`)).body).toEqual({ granted: true, fence: own });
    const free = await claim('s2', `pool/${id}`);
    expect(BigInt(free.body.fence)).toBeGreaterThan(BigInt(own));
    expect((await claim('s2', `pool/${id}`)).body).toEqual(free.body);
    expect((await claim('s3', taken)).body).toMatchObject({
      granted: false,
      blockedBy: [{ runId: other, path: taken }],
    });
    expect((await claim('s4', 'a//b')).body).toMatchObject({ code: 'validation', errors: [{ pointer: '/claims' }] });
    const waiting = await a.send({ input: { host: h } });
    await becomes(waiting, 'queued');
    expect((await internal('control/holds', { path: h })).body).toMatchObject({
      locks: [{ path: h, runId: id, state: 'held' }],
      waiting: [{ id: waiting, verdict: 'queued', position: 1 }],
      halts: [],
    });
    const { flow } = (await a.call('GET', `/v1/runs/${id}`)).body;
    // The two that run, not the one that waits; and nothing of a flow that has none.
    const open = async () => (await internal('control/open-runs', { flows: [flow, 'spec/nobody'] })).body.open;
    expect(Object.keys(await open())).toEqual([flow]);
    expect((await open())[flow]).toBeGreaterThanOrEqual(2);
    expect((await internal('control/open-runs', { flows: 'all' })).body).toMatchObject({ code: 'validation' });
    expect((await internal(`runs/${id}/release`, { step: 's2' })).body).toEqual({ released: true });
    expect((await internal(`runs/${id}/release`, { step: 's2' })).body).toEqual({ released: false });
    await a.call('POST', `/v1/runs/${waiting}/cancel`, { reason: 'spec' });
    await clear(id, other);
    expect((await claim('s5', h)).body.code).toBe('run-closed');
  });
});

describe('acts of operators', () => {
  test('take a reason, are idempotent, and a closed run refuses the others', async () => {
    const id = await slow(host());
    await becomes(id, 'started');
    for (const act of ['cancel', 'terminate']) {
      const bare = await a.call('POST', `/v1/runs/${id}/${act}`, {});
      expect([bare.status, bare.body.errors[0].pointer]).toEqual([400, '/reason']);
    }
    const cancel = () => a.call('POST', `/v1/runs/${id}/cancel`, { reason: 'spec' });
    expect((await cancel()).status).toBe(202);
    await becomes(id, 'closed');
    expect((await cancel()).body).toEqual({ id, status: 'cancelled' });
    const late = await a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
    expect([late.status, late.body.code]).toEqual([409, 'run-closed']);
    const h = host();
    const holder = await slow(h);
    await becomes(holder, 'started');
    const queued = await slow(h);
    await becomes(queued, 'queued');
    const end = () => a.call('POST', `/v1/runs/${queued}/terminate`, { reason: 'spec' });
    expect((await end()).body).toEqual({ id: queued, status: 'cancelled', undone: [] });
    expect((await end()).body).toEqual({ id: queued, status: 'cancelled', undone: [] });
    await clear(holder);
  });
});

test('what was published about runs is told again from their rows alone', async () => {
  const quick = await a.send({ input: { host: host() } });
  await becomes(quick, 'closed');
  const refused = await a.send({ ref: 'no/such@1' });
  await becomes(refused, 'rejected');
  const open = await slow(host());
  await becomes(open, 'started');
  const ids = [quick, refused, open];
  const { messages } = (await internal('control/tell-again', { ids: [...ids, randomUUID()] })).body;
  const said = await a.db.query<{ body: { kind: string; verdict?: string } }>(
    `SELECT body FROM bus.message WHERE topic = 'runs' AND key = ANY($1) ORDER BY id`,
    [ids],
  );
  // An admission that was followed by its start needs no telling, and a fence is of no use to who comes late.
  const told = said.map((m) => m.body).filter((b) => b.kind !== 'verdict' || b.verdict === 'rejected');
  const plain = (list: { kind: string }[]): unknown[] =>
    list
      .map(({ at: _at, fence: _fence, ...rest }: { kind: string; at?: string; fence?: string }) => rest)
      .map((m) => JSON.stringify(m, Object.keys(m).sort()))
      .sort();
  expect(plain(messages)).toEqual(plain(told));
  expect(told.map((b) => b.kind).sort()).toEqual(['closed', 'started', 'started', 'verdict']);
  await clear(open);
});
