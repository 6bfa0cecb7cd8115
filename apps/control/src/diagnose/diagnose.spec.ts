/** What a person sees of a run that does not go on: in the run, and on the one screen. */
import { randomUUID } from 'node:crypto';
import type { AtomDocument, Diagnosis, StatusItem } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  ATOMS,
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
const queue = `nobody-${randomUUID().slice(0, 8)}`;

beforeAll(async () => {
  ATOMS['spec.look'] = {
    dsl: 'opsloop/v1',
    kind: 'atom',
    name: 'spec.look',
    version: '1.0.0',
    effect: 'read',
    idempotency: 'native',
    input: { schema: { type: 'object' } },
    worker: { queue, activity: 'spec.look' },
    timeout: { startToClose: '1m' },
  } as AtomDocument;
  ATOMS['spec.change'] = {
    ...ATOMS['spec.look'],
    name: 'spec.change',
    effect: 'mutate',
    worker: { queue, activity: 'spec.change' },
  };
  FLOWS['demo/changes'] = {
    ...FLOWS['demo/quick']!,
    name: 'demo/changes',
    do: [
      {
        id: 'both',
        parallel: {},
        do: [
          { id: 'change', call: 'spec.change@1', with: {} },
          { id: 'look', call: 'spec.look@1', with: {} },
        ],
      },
    ],
    output: null,
  };
  FLOWS['demo/looks'] = {
    ...FLOWS['demo/quick']!,
    name: 'demo/looks',
    do: [{ id: 'look', call: 'spec.look@1', with: {} }],
    output: null,
  };
  [s, peers] = await Promise.all([shared(), startPeers()]);
  a = await startControl(s, peers);
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

const diagnosis = async (id: string): Promise<Diagnosis[]> => (await a.call('GET', `/v1/runs/${id}`)).body.diagnosis;
const items = async (): Promise<StatusItem[]> => (await a.call('GET', '/v1/status')).body.items;

test('a task that nobody takes is told in the run and on the screen, and is gone with the run', async () => {
  const host = `host/${randomUUID()}`;
  const id = await a.send({ ref: 'demo/looks@1', input: { host } });
  await eventually(
    async () => expect(await diagnosis(id)).toMatchObject([{ code: 'no-worker', stuck: true, path: 'look' }]),
    {
      timeoutMs: 40_000,
    },
  );
  const [found] = await diagnosis(id);
  expect(found!.says).toContain(queue);
  // The sweep looks at each run again after a while; for this one that while is over now.
  await a.db.query(`UPDATE control.admission SET checked_at = '-infinity' WHERE id = $1`, [id]);
  await eventually(async () =>
    expect(await items()).toContainEqual(
      expect.objectContaining({ level: 'stuck', code: 'stuck.no-worker', count: 1, next: `opsloop runs show ${id}` }),
    ),
  );
  const waiting = await a.send({ input: { host } });
  await eventually(async () =>
    expect(await diagnosis(waiting)).toMatchObject([
      { code: 'lock-wait', stuck: false, next: `opsloop runs show ${id}` },
    ]),
  );
  await a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
  await eventually(async () => expect((await items()).map((one) => one.code)).not.toContain('stuck.no-worker'));
  expect(await diagnosis(id)).toBeUndefined();
});

test('a halt holds what waits for a worker of others, a lift lets it go, and what only reads is left alone', async () => {
  const host = `host/${randomUUID()}`;
  const id = await a.send({ ref: 'demo/changes@1', input: { host } });
  const waiting = async (): Promise<Record<string, boolean>> => {
    const { raw } = await a.temporal.client.workflow.getHandle(`demo.changes.${id}`).describe();
    return Object.fromEntries(
      (raw.pendingActivities ?? []).map((one) => [
        (one.activityId ?? '').split('#')[0]!.split('/').at(-1),
        one.paused === true,
      ]),
    );
  };
  await eventually(async () => expect(await waiting()).toEqual({ change: false, look: false }));
  await eventually(async () => expect(await a.state(id)).toBe('started'));
  const halt = await a.call('POST', '/v1/halts', { scope: { paths: [host] }, reason: 'spec' });
  await eventually(async () => expect(await waiting()).toEqual({ change: true, look: false }), { timeoutMs: 5_000 });
  await a.call('POST', `/v1/halts/${halt.body.id}/lift`, { reason: 'spec' });
  await eventually(async () => expect(await waiting()).toEqual({ change: false, look: false }), { timeoutMs: 5_000 });
  await a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
});
