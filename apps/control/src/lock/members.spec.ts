/** Locks beyond a run's own: groups and their members, and what an atom takes while it runs. */
import { randomUUID } from 'node:crypto';
import { activityOf, type AtomArguments, defineAtom } from '@opsloop/atoms';
import type { AtomCall, AtomDocument, Json, ResourceView } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ADMIN,
  type ControlApp,
  EFFECTS,
  FLOWS,
  type Peers,
  SERVICE,
  shared,
  type Shared,
  startControl,
  startPeers,
  tokenOf,
} from '../control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;

const resource = (path: string, ...memberOf: string[]): ResourceView => ({
  path,
  kind: path.split('/')[0]!,
  labels: {},
  state: {},
  stateAt: {},
  memberOf,
  dependsOn: [],
});

beforeAll(async () => {
  FLOWS['fleet/wipe'] = { ...FLOWS['demo/slow']!, name: 'fleet/wipe' };
  EFFECTS['fleet/wipe'] = 'destroy';
  [s, peers] = await Promise.all([shared(), startPeers()]);
  peers.resources = [
    resource('host/m/1', 'service/pay'),
    resource('host/m/2', 'service/pay'),
    resource('service/pay', 'product/shop'),
  ];
  a = await startControl(s, peers);
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const becomes = (id: string, ...states: string[]): Promise<void> =>
  eventually(async () => expect(states).toContain(await a.state(id)));
const slow = (h: string, more: object = {}): Promise<string> =>
  a.send({ ref: 'demo/slow@1', input: { host: h }, targets: [h], ...more });
const cancel = async (...ids: string[]): Promise<void> => {
  for (const id of ids) {
    await a.call('POST', `/v1/runs/${id}/cancel`, { reason: 'spec' });
    await becomes(id, 'closed', 'cancelled');
  }
};
const take = (path: string, mode = 'exclusive', owner = 'spec') =>
  a.call('POST', '/v1/locks', { claims: [{ path, mode }], owner: `${owner} ${path} ${mode}` });
const admission = async (id: string) => (await a.call('GET', `/v1/admissions/${id}`)).body;

describe('groups', () => {
  test('overlap their members, the groups above them too, and members do not meet each other', async () => {
    const [one, two] = [await slow('host/m/1'), await slow('host/m/2')];
    await Promise.all([one, two].map((id) => becomes(id, 'started')));
    const busy = await take('service/pay');
    expect([busy.status, busy.body.code]).toEqual([409, 'lock-busy']);
    expect(busy.body.blockedBy.map((b: { path: string }) => b.path).sort()).toEqual([
      'service/pay/@/host/m/1',
      'service/pay/@/host/m/2',
    ]);
    expect((await take('product/shop', 'shared')).status).toBe(409);
    expect((await take('host/m', 'shared')).status).toBe(409);
    // Below the group there is nobody.
    const below = await take('service/pay/api');
    expect(below.status).toBe(201);
    await a.call('DELETE', `/v1/locks/${below.body.fence}`);
    expect((await admission(one)).claims).toContainEqual({ path: 'product/shop/@/host/m/1', mode: 'exclusive' });
    await cancel(one, two);
  });

  test('keep work on a member waiting, and who looks at the member sees who has the group', async () => {
    const group = await take('service/pay', 'shared');
    expect(group.status).toBe(201);
    const beside = await take('host/m/1', 'shared');
    expect(beside.status).toBe(201);
    const id = await slow('host/m/2');
    await becomes(id, 'queued');
    expect((await admission(id)).blockedBy[0].path).toBe('service/pay');
    const { items } = (await a.call('GET', '/v1/locks?path=host/m/2')).body;
    expect(items.map((l: { fence: string }) => l.fence)).toContain(group.body.fence);
    await a.call('DELETE', `/v1/locks/${group.body.fence}`);
    await becomes(id, 'started');
    await a.call('DELETE', `/v1/locks/${beside.body.fence}`);
    await cancel(id);
  });

  test('of a step: what the run holds of the group covers its members', async () => {
    const id = await slow('service/pay');
    await becomes(id, 'started');
    const claim = await a.call(
      'POST',
      `/internal/runs/${id}/claims`,
      { step: 's', claims: [{ path: 'host/m/1', mode: 'exclusive' }] },
      { authorization: `Bearer ${SERVICE}` },
    );
    expect(claim.body).toMatchObject({ granted: true });
    expect((await take('host/m/1')).status).toBe(409);
    await cancel(id);
  });

  test('that nobody can tell let work wait, and not start', async () => {
    const before = peers.resources!;
    peers.resources = undefined;
    const unknown = `host/m/${randomUUID()}`;
    const id = await slow(unknown);
    await becomes(id, 'queued');
    expect((await admission(id)).consulted[0]).toEqual({ policy: 'inventory', saw: 'no answer', said: 'queue' });
    expect(await take(unknown)).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    peers.resources = before;
    await becomes(id, 'started');
    await cancel(id);
  });
});

describe('an atom', () => {
  const manifest: AtomDocument = {
    dsl: 'opsloop/v1',
    kind: 'atom',
    name: 'team.work',
    version: '1.0.0',
    effect: 'mutate',
    idempotency: 'native',
    worker: { queue: 'team', activity: 'work' },
  };
  /** One attempt of a step of the run. */
  const perform = (
    run: string,
    execute: (args: AtomArguments<Json>) => Promise<Json>,
    more: { step?: string; attempt?: number } = {},
  ): Promise<Json> => {
    const context = { run, step: more.step ?? 'work', key: 'k', tenant: 'default', dryRun: false };
    const activity = activityOf(defineAtom({ manifest, execute }), undefined, undefined, { url: a.url, token: ADMIN });
    const environment = new MockActivityEnvironment({ attempt: more.attempt ?? 1 });
    return environment.run(activity, { input: null, context } as unknown as AtomCall) as Promise<Json>;
  };

  test('takes locks under its run, and gives them back however it ends', async () => {
    const id = await slow(`host/x/${randomUUID()}`);
    await becomes(id, 'started');
    const fences: string[] = [];
    for (const end of ['well', 'badly'])
      await perform(id, async ({ lock }) => {
        const { fence } = await lock('pool/a');
        fences.push(fence);
        expect((await take('pool/a')).body.blockedBy[0]).toMatchObject({ fence, runId: id });
        if (end === 'badly') throw new Error('it breaks');
        return null;
      }).catch(() => undefined);
    expect(BigInt(fences[1]!)).toBeGreaterThan(BigInt(fences[0]!));
    const free = await take('pool/a');
    expect(free.status).toBe(201);
    const refused = perform(id, async ({ lock }) => (await lock('pool/a')).fence);
    await expect(refused).rejects.toMatchObject({ type: 'lock-busy', nonRetryable: false });
    await a.call('DELETE', `/v1/locks/${free.body.fence}`);
    await cancel(id);
  });

  test('keeps other steps of its run out, takes over from its own last attempt, and stops when a lock is lost', async () => {
    const own = `host/x/${randomUUID()}`;
    const id = await slow(own);
    await becomes(id, 'started');
    await perform(id, async ({ lock }) => {
      const first = await lock('pool/b');
      // Its run has this one anyway.
      expect((await lock(own)).fence).toBe((await a.call('GET', `/v1/runs/${id}`)).body.fence);
      await expect(perform(id, async (other) => (await other.lock('pool/b')).fence, { step: 'other' })).rejects.toThrow(
        /another step/,
      );
      const again = await perform(id, async (next) => (await next.lock('pool/b')).fence, { attempt: 2 });
      expect(BigInt(again as string)).toBeGreaterThan(BigInt(first.fence));
      return null;
    });
    const lost = perform(id, async ({ lock, signal }) => {
      const { fence } = await lock('pool/c', { ttl: '3s' });
      await a.call('POST', `/v1/locks/${fence}/break`, { reason: 'spec' });
      return new Promise<Json>((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('stop'))));
    });
    await expect(lost).rejects.toMatchObject({ type: 'lock-lost', nonRetryable: true });
    await cancel(id);
    await expect(perform(id, async ({ lock }) => (await lock('pool/b')).fence)).rejects.toMatchObject({
      type: 'run-closed',
    });
  });
});

test('what destroys takes one target of a failure domain at a time, until a policy says otherwise', async () => {
  const rack = `host/${randomUUID()}`;
  const wipe = (n: number): Promise<string> => slow(`${rack}/${n}`, { ref: 'fleet/wipe@1' });
  const first = await wipe(1);
  await becomes(first, 'started');
  const second = await wipe(2);
  await becomes(second, 'queued');
  expect((await admission(second)).reason).toBe(
    `opsloop/destroy: ${rack}: 1 of 1 targets at once; held by run ${first}`,
  );
  await cancel(first);
  await becomes(second, 'started');
  const body = {
    dsl: 'opsloop/v1',
    kind: 'policy',
    name: 'ops/two',
    type: 'blast-radius',
    max: 2,
    match: { targets: `${rack}/*` },
  };
  await a.call('PUT', '/v1/policies/ops/two', body);
  const third = await wipe(3);
  await becomes(third, 'started');
  await cancel(second, third);
  await a.call('DELETE', '/v1/policies/ops/two');
});

test('a rule whose tier asks people waits for them', async () => {
  const approval = { groups: ['sre'], min: 1 };
  const id = await slow(`host/x/${randomUUID()}`, { approval, incidentId: randomUUID() });
  await becomes(id, 'needs-approval');
  const { approvalId, consulted } = await admission(id);
  expect(consulted).toContainEqual({ policy: 'rule demo/rule', saw: 'sre must approve', said: 'ask' });
  const answer = await a.call(
    'POST',
    `/v1/approvals/${approvalId}/answer`,
    { answer: 'approve', reason: 'go' },
    { authorization: `Bearer ${tokenOf('anna')}` },
  );
  expect(answer.body).toMatchObject({ status: 'approved' });
  await becomes(id, 'started');
  await cancel(id);
});

test("only who waits for a lock takes it out of the queue, or who may break another's", async () => {
  const held = await take('pool/d');
  const body = { start: false, claims: [{ path: 'pool/d', mode: 'exclusive' }], owner: 'cron' };
  const waits = await a.call('POST', '/v1/admissions', body, { authorization: `Bearer ${tokenOf('anna')}` });
  expect(waits.status).toBe(202);
  const remove = (name?: string) =>
    a.call(
      'DELETE',
      `/v1/admissions/${waits.body.id}`,
      undefined,
      name === undefined ? {} : { authorization: `Bearer ${tokenOf(name)}` },
    );
  expect(await remove('bob')).toMatchObject({ status: 403, body: { code: 'authorization' } });
  expect((await remove('anna')).status).toBe(204);
  await a.call('DELETE', `/v1/locks/${held.body.fence}`);
});
