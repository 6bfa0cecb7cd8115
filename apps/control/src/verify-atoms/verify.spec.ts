import { defineAtom, serveAtoms, type AtomService } from '@opsloop/atoms';
import { type AtomDocument, OpsError } from '@opsloop/contracts';
import { eventually, testTemporal } from '@opsloop/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ControlApp, type Peers, shared, type Shared, startControl, startPeers } from '../control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;
let service: AtomService;

const manifest = (name: string, more: Partial<AtomDocument>): AtomDocument => ({
  dsl: 'opsloop/v1',
  kind: 'atom',
  name,
  version: '1.0.0',
  effect: 'mutate',
  idempotency: 'native',
  worker: { queue: 'verify-spec', activity: name },
  ...more,
});
const count = { call: 'box.count@1', value: '${result.effects}' };
let effects = 0;
const done = new Map<string, { n: number }>();
const jobs = new Map<string, 'running' | 'done' | 'stopped'>();
let newest = 0;
const guard = (fence: string | undefined): void => {
  if (fence === undefined) return;
  if (Number(fence) < newest) throw new OpsError('stale-fence', 'a newer one was seen');
  newest = Number(fence);
};

const counting = defineAtom({
  manifest: manifest('box.count', { effect: 'read' }),
  execute: () => Promise.resolve({ effects }),
});
const careless = defineAtom({
  manifest: manifest('box.careless', { verify: { input: {}, count } }),
  execute: () => Promise.resolve({ n: (effects += 1) }),
});
const build = defineAtom<{ slow?: boolean }, { n: number }>({
  manifest: manifest('box.build', {
    job: { poll: { every: '100ms' }, cancel: {} },
    output: { schema: { type: 'object', required: ['n'] } },
    verify: { input: {}, count, slow: { slow: true } },
  }),
  start: ({ input, context: { key, fence } }) => {
    if (!done.has(key)) {
      guard(fence);
      done.set(key, { n: (effects += 1) });
      jobs.set(key, input.slow === true ? 'running' : 'done');
    }
    return Promise.resolve({ id: key });
  },
  poll: ({ id }) => {
    if (jobs.get(id) === 'stopped') return Promise.reject(new OpsError('conflict', 'the job was stopped'));
    return Promise.resolve(
      jobs.get(id) === 'done' ? { done: true, output: done.get(id)! } : { done: false, percent: 10 },
    );
  },
  cancel: ({ id }) => Promise.resolve(jobs.set(id, 'stopped')),
});

beforeAll(async () => {
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
  const atoms = [counting, careless, build];
  service = await serveAtoms(atoms, { address: (await testTemporal()).address, namespace: s.namespace });
  peers.atoms = [
    ...atoms.map((atom) => atom.manifest),
    manifest('box.nobody', { worker: { queue: 'nobody-there', activity: 'x' }, verify: { input: {} } }),
  ];
  // A worker polls some time after it was made; one that is verified has been there for long.
  const described = (): Promise<{ pollers?: unknown[] | null }> =>
    a.temporal.client.workflowService.describeTaskQueue({
      namespace: s.namespace,
      taskQueue: { name: 'verify-spec' },
      taskQueueType: 2,
    });
  await eventually(async () => expect((await described()).pollers).not.toHaveLength(0));
});
afterAll(async () => {
  await service?.shutdown();
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const verify = async (name: string): Promise<{ passed: boolean; checks: string[] }> => {
  const { status, body } = await a.call('POST', `/v1/catalog/atom/${name}/verify`, {});
  expect(status).toBe(200);
  return {
    passed: body.passed,
    checks: body.checks.map((c: { check: string; status: string }) => `${c.check} ${c.status}`),
  };
};

it('passes a job that honours its key, its fence and a cancel', async () => {
  expect(await verify('box.build')).toEqual({
    passed: true,
    checks: [
      'worker passed',
      'answers passed',
      'same-key passed',
      'stale-fence passed',
      'dry-run passed',
      'cancel passed',
    ],
  });
}, 60_000);

it('finds an atom that acts twice under one key and lets stale holders through', async () => {
  expect(await verify('box.careless')).toEqual({
    passed: false,
    checks: [
      'worker passed',
      'answers passed',
      'same-key failed',
      'stale-fence failed',
      'dry-run passed',
      'cancel skipped',
    ],
  });
}, 60_000);

it('says when nobody serves it, and refuses what is no atom', async () => {
  expect(await verify('box.nobody')).toEqual({ passed: false, checks: ['worker failed'] });
  expect(await a.call('POST', '/v1/catalog/atom/box.none/verify', {})).toMatchObject({ status: 404 });
  expect(await a.call('POST', '/v1/catalog/atom/box.build/verify', { wrong: 1 })).toMatchObject({ status: 400 });
});
