import { eventually, startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, RecordedCall, TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startIngest } from '../ingest-app.spec-kit.js';
import type { IngestApp } from '../ingest-app.spec-kit.js';

/** State of the watched hosts, and which of them decision knows. */
const healthy = new Map<string, number>([
  ['a', 200],
  ['b', 200],
]);
let watched = ['a', 'b'];
let target: HttpTarget;
let peers: HttpTarget;
let ingest: IngestApp;

const resource = (name: string) => ({
  path: `host/dc1/${name}`,
  kind: 'host',
  labels: { name },
  state: {},
  stateAt: {},
  memberOf: [],
  dependsOn: [],
});

function answerPeers(call: RecordedCall): TargetAnswer {
  if (call.path === '/internal/decision/resources') return { body: { items: watched.map(resource) } };
  if (call.path === '/internal/catalog/configs') return { body: { configs: { fleet: { url: target.url } } } };
  return { status: 404, body: { code: 'not-found' } };
}

beforeAll(async () => {
  target = await startHttpTarget((call) => ({ status: healthy.get(call.path.slice(1)) ?? 404 }));
  peers = await startHttpTarget(answerPeers);
  ingest = await startIngest(peers.url);
});
afterAll(async () => {
  await ingest.close();
  await target.close();
  await peers.close();
});

const SOURCE = {
  dsl: 'opsloop/v1',
  kind: 'source',
  name: 'web-probe',
  owner: 'team-spec',
  type: 'poll',
  every: '250ms',
  for: { kind: 'host', labels: { role: 'web' } },
  call: 'probe.http@1',
  with: { url: '${config.fleet.url}/${resource.labels.name}' },
  event: { type: 'fleet.service.state', data: { state: '${result.state}' } },
};
const states = async () => (await ingest.messages()).map((m) => `${m.subject}=${(m.data as { state: string }).state}`);
/** Every watched host has been looked at twice more. */
async function twoRounds(): Promise<void> {
  const counts = () => watched.map((name) => target.calls.filter((call) => call.path === `/${name}`).length);
  const before = counts();
  await eventually(() => expect(counts().every((n, i) => n >= before[i]! + 2)).toBe(true));
}

describe('poll sources', () => {
  it('reports each resource once, then only changes, in order', async () => {
    expect((await ingest.call('PUT', '/v1/sources/web-probe', SOURCE)).status).toBe(201);
    await eventually(async () => expect((await states()).sort()).toEqual(['host/dc1/a=up', 'host/dc1/b=up']));
    await twoRounds();
    expect(await ingest.messages()).toHaveLength(2);
    expect(peers.calls.find((call) => call.path === '/internal/decision/resources')!.body).toMatchObject({
      kind: 'host',
      labels: { role: 'web' },
    });

    healthy.set('a', 500);
    await eventually(async () => expect(await states()).toHaveLength(3));
    healthy.set('a', 200);
    await eventually(async () => expect(await states()).toHaveLength(4));
    expect((await states()).slice(2)).toEqual(['host/dc1/a=down', 'host/dc1/a=up']);
    await twoRounds();
    const messages = await ingest.messages();
    expect(messages).toHaveLength(4);
    expect(messages[3]).toMatchObject({
      source: 'web-probe',
      type: 'fleet.service.state',
      subject: 'host/dc1/a',
      state: { state: 'up' },
      via: 'web-probe',
      hops: 0,
    });
    expect(new Set(messages.map((m) => m.id)).size).toBe(4);
  });

  it('starts anew for a resource that went and came back, and stops when the source is deleted', async () => {
    watched = ['a'];
    await twoRounds();
    watched = ['a', 'b'];
    await eventually(async () => expect(await states()).toHaveLength(5));
    expect((await states())[4]).toBe('host/dc1/b=up');

    expect((await ingest.call('DELETE', '/v1/sources/web-probe')).status).toBe(204);
    await eventually(async () => expect(await ingest.database.query('SELECT 1 FROM ingest.poll')).toEqual([]));
  });

  it('goes on when what it needs does not answer', async () => {
    const before = peers.calls.length;
    await ingest.call('PUT', '/v1/sources/odd', { ...SOURCE, name: 'odd', call: 'team.unknown@1' });
    await eventually(() =>
      expect(
        peers.calls.filter((call, i) => i >= before && call.path === '/internal/catalog/atom').length,
      ).toBeGreaterThan(1),
    );
    expect((await ingest.messages()).filter((m) => m.source === 'odd')).toEqual([]);
    await ingest.call('PUT', '/v1/sources/odd', { ...SOURCE, name: 'odd' });
    await eventually(async () => expect((await ingest.messages()).filter((m) => m.source === 'odd')).toHaveLength(2));
  });
});
