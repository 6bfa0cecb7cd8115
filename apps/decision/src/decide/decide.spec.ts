import type { EventMessage } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { eventOf, SERVICE, startDecision } from '../decision-app.spec-kit.js';

let decision: DecisionApp;
beforeAll(async () => void (decision = await startDecision()));
afterAll(() => decision.close());
beforeEach(() =>
  decision.database.query(
    'TRUNCATE decision.trace, decision.episode, decision.resource, decision.decision, decision.wait, decision.run, decision.hold, bus.message',
  ),
);

const RULE = {
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'fleet/service-down',
  version: '1.0.0',
  owner: 'team-fleet',
  on: [{ type: 'fleet.service.state', subject: 'host/*', data: { state: 'down' } }],
  branches: [
    { id: 'default', ladder: [{ id: 'restart', run: 'fleet/restart-service@1', with: { host: '${resource.path}' } }] },
  ],
};

const HOST = 'host/dc1/r1/a';
const GOAL = { state: { '==': [{ var: 'resource.state.state' }, 'up'] } };

async function explained(event: EventMessage): Promise<Record<string, string>> {
  const { body } = await decision.call('GET', `/v1/events/${event.eventId}/explain`);
  return Object.fromEntries(
    (body['rules'] as { rule: string; verdict: string }[]).map((one) => [one.rule, one.verdict]),
  );
}

const stateOf = async (path = HOST): Promise<unknown> =>
  (await decision.call('GET', `/v1/resources/${path}`)).body['state'];

describe('events', () => {
  beforeAll(() => decision.putRule(RULE));

  it('become starts, and their state the state of the resource', async () => {
    const [event] = await decision.events({});
    await decision.settled();
    const [start, ...more] = await decision.starts();
    expect(more).toEqual([]);
    expect(start).toMatchObject({
      tenant: 'default',
      ref: 'fleet/restart-service@1',
      input: { host: HOST },
      targets: [HOST],
      tier: 'P3',
      initiator: { kind: 'rule', name: 'fleet/service-down' },
      coalesce: true,
      cause: {
        rule: 'fleet/service-down',
        ruleVersion: '1.0.0',
        branch: 'default',
        rung: 'restart',
        eventId: event!.eventId,
      },
    });
    expect((await decision.call('GET', `/v1/resources/${HOST}`)).body).toMatchObject({
      path: HOST,
      kind: 'host',
      state: { state: 'down' },
    });
    const view = await decision.call('GET', `/v1/decisions/${start!.id}`);
    expect(view.body).toMatchObject({
      rule: 'fleet/service-down',
      eventId: event!.eventId,
      admissions: [{ verdict: 'pending' }],
    });
  });

  it('delivered twice decide once', async () => {
    const event = eventOf({});
    await decision.events(event, event);
    await decision.events(event);
    await decision.settled();
    expect(await decision.starts()).toHaveLength(1);
    expect(await decision.database.query('SELECT 1 FROM decision.trace')).toHaveLength(1);
    expect(await explained(event)).toEqual({ 'fleet/service-down': 'decided' });
  });

  it('out of order never overwrite what is newer, and start nothing', async () => {
    const at = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
    const [, , late] = await decision.events(
      { time: at(-30), data: { state: 'up', disk: 'ok' } },
      { time: at(-10), data: { state: 'up' } },
      { time: at(-20), data: { state: 'down', disk: 'full' } },
    );
    await decision.settled();
    // Each key for itself: of the disk nothing newer is known, so it is told; the service was seen up since.
    expect(await stateOf()).toEqual({ state: 'up', disk: 'full' });
    expect(await explained(late!)).toEqual({ 'fleet/service-down': 'stale' });
    expect(await decision.starts()).toEqual([]);
  });

  it('of 64 hosts in one transaction decide for each, in order per host', async () => {
    const hosts = Array.from({ length: 32 }, (_, n) => `host/dc1/r${n % 3}/h${n}`);
    await decision.events(
      ...hosts.map((subject) => ({ subject })),
      ...hosts.map((subject) => ({ subject, data: { state: 'up' } })),
    );
    await decision.settled();
    expect((await decision.starts()).flatMap((start) => start.targets).sort()).toEqual([...hosts].sort());
    expect(await decision.database.query(`SELECT DISTINCT state FROM decision.resource`)).toEqual([
      { state: { state: 'up' } },
    ]);
    expect(await decision.database.query('SELECT 1 FROM decision.trace')).toHaveLength(64);
  });

  it('without a subject say why they name no target', async () => {
    const { subject: _none, ...rest } = eventOf({});
    await decision.putRule({ ...RULE, name: 'fleet/any', on: [{ type: 'fleet.service.state' }] });
    await decision.database.inTransaction('default', async (tx) =>
      tx.publish('events', { id: rest.eventId, key: '', body: rest }),
    );
    await decision.settled();
    expect(await explained(rest)).toEqual({ 'fleet/any': 'error', 'fleet/service-down': 'no-match' });
    await decision.call('DELETE', '/v1/rules/fleet/any');
  });

  it('of opsloop itself match no wildcard', async () => {
    await decision.putRule({ ...RULE, name: 'fleet/all', on: [{ type: '*' }] });
    const [own] = await decision.events({ type: 'opsloop.run.failed' });
    await decision.settled();
    expect(await explained(own!)).toMatchObject({ 'fleet/all': 'no-match' });
    await decision.call('DELETE', '/v1/rules/fleet/all');
  });
});

describe('two rules', () => {
  it('decide for themselves about the same event', async () => {
    await decision.putRule({
      ...RULE,
      name: 'ops/page',
      version: '1.0.0',
      branches: [
        {
          id: 'b',
          ladder: [{ id: 'page', call: 'notify.webhook@1', with: { url: 'https://chat.example/', body: {} } }],
        },
      ],
    });
    const [event] = await decision.events({});
    await decision.settled();
    expect((await decision.starts()).map((start) => start.ref).sort()).toEqual([
      'fleet/restart-service@1',
      'notify.webhook@1',
    ]);
    expect(await explained(event!)).toEqual({ 'fleet/service-down': 'decided', 'ops/page': 'decided' });
    await decision.call('DELETE', '/v1/rules/ops/page');
  });

  it('judge from the moment their PUT was answered', async () => {
    for (let n = 0; n < 5; n += 1) {
      const name = `ops/r${n}`;
      await decision.putRule({ ...RULE, name });
      const [event] = await decision.events({ subject: `host/x/${n}` });
      await decision.settled();
      expect(await explained(event!)).toMatchObject({ [name]: 'decided' });
      expect((await decision.call('DELETE', `/v1/rules/${name}`)).status).toBe(204);
    }
  });
});

describe('faults', () => {
  it('in the middle of a batch undo it whole, and the redelivery decides once', async () => {
    await decision.database.query(
      `CREATE FUNCTION decision.spec_fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$`,
    );
    await decision.database.query(
      'CREATE TRIGGER spec_fault BEFORE INSERT ON decision.decision FOR EACH ROW EXECUTE FUNCTION decision.spec_fault()',
    );
    const [event] = await decision.events({});
    await eventually(async () => {
      expect(
        await decision.database.query(`SELECT 1 FROM bus.cursor WHERE grp = 'decision' AND attempts > 0`),
      ).toHaveLength(1);
    });
    expect(await decision.database.query('SELECT 1 FROM decision.trace')).toEqual([]);
    expect(await decision.starts()).toEqual([]);
    await decision.database.query('DROP TRIGGER spec_fault ON decision.decision');
    await decision.settled();
    expect(await decision.starts()).toHaveLength(1);
    expect(await explained(event!)).toEqual({ 'fleet/service-down': 'decided' });
  });
});

describe('halts', () => {
  it('are noted: the work is decided all the same', async () => {
    await decision.documents({
      kind: 'halt',
      name: 'h-1',
      change: 'created',
      body: { scope: { rules: ['fleet/*'] }, reason: 'cable work', by: 'ann' },
    });
    await decision.settled();
    const [event] = await decision.events({});
    await decision.settled();
    expect(await explained(event!)).toEqual({ 'fleet/service-down': 'halted' });
    expect(await decision.starts()).toHaveLength(1);
    await decision.documents({ kind: 'halt', name: 'h-1', change: 'lifted' });
    await decision.settled();
    const [after] = await decision.events({ subject: 'host/dc1/r1/b' });
    await decision.settled();
    expect(await explained(after!)).toEqual({ 'fleet/service-down': 'decided' });
  });
});

describe('rules as documents', () => {
  const put = (rule: object, name = 'docs/rule') => decision.call('PUT', `/v1/rules/${name}`, rule);
  const rule = { ...RULE, name: 'docs/rule', mode: 'shadow' };

  it('are created, unchanged, changed by a new version, and fixed once published', async () => {
    expect((await put(rule)).status).toBe(201);
    expect(await put(rule)).toMatchObject({ status: 200, body: { change: 'unchanged' } });
    expect(await put({ ...rule, title: 'new' })).toMatchObject({ status: 409, body: { code: 'version-conflict' } });
    expect(await put({ ...rule, version: '1.1.0', mode: 'active' })).toMatchObject({
      status: 201,
      body: { change: 'changed' },
    });
    expect((await decision.call('GET', '/v1/rules/docs/rule/versions')).body.items).toHaveLength(2);
    expect((await decision.call('GET', '/v1/rules/docs/rule/versions/1.0.0')).body).toMatchObject({
      version: '1.0.0',
      live: false,
    });
    // The last PUT is live, also of a version that was there before.
    expect((await put(rule)).status).toBe(200);
    expect((await decision.call('GET', '/v1/rules/docs/rule')).body).toMatchObject({ version: '1.0.0', live: true });
  });

  it('keep the mode that operators gave them', async () => {
    expect((await decision.call('GET', '/v1/rules/docs/rule')).body['meta']).toMatchObject({ mode: 'shadow' });
    expect(
      (await decision.call('PATCH', '/v1/rules/docs/rule', { mode: 'disabled', reason: 'too loud' })).body['meta'],
    ).toMatchObject({ mode: 'disabled', reason: 'too loud' });
    await put({ ...rule, version: '1.2.0', mode: 'active' });
    expect((await decision.call('GET', '/v1/rules/docs/rule')).body['meta']).toMatchObject({ mode: 'disabled' });
    expect(await decision.call('PATCH', '/v1/rules/docs/rule', { mode: 'loud', reason: 'x' })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/mode' }] },
    });
    expect((await decision.call('PATCH', '/v1/rules/docs/none', { mode: 'active', reason: 'x' })).status).toBe(404);
  });

  it('are refused with the place that is wrong', async () => {
    const { branches: _branches, ...broken } = rule;
    const answer = await put(broken);
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation' } });
    expect(answer.body.errors[0]!.pointer + answer.body.errors[0]!.message).toContain('branches');
    expect(await put(rule, 'docs/other')).toMatchObject({ status: 400, body: { errors: [{ pointer: '/name' }] } });
    expect(await put({ ...rule, version: '3.0.0', tier: { table: 'ops/tiers' } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/tier/table' }] },
    });
  });

  it('can be tried on an event without being stored', async () => {
    const event = { type: 'fleet.service.state', subject: 'host/try', data: { state: 'down' } };
    const { status, body } = await decision.call('POST', '/v1/rules/test', {
      rule: { ...RULE, name: 'docs/trial', goal: GOAL },
      event,
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      rule: 'docs/trial',
      verdict: 'decided',
      decisions: [{ targets: ['host/try'], ref: 'fleet/restart-service@1', input: { host: 'host/try' } }],
    });
    const up = await decision.call('POST', '/v1/rules/test', {
      rule: RULE,
      event: { ...event, data: { state: 'up' } },
    });
    expect(up.body).toMatchObject({
      verdict: 'no-match',
      because: { path: 'event.data.state', actual: 'up' },
      decisions: [],
    });
    expect(await decision.starts()).toEqual([]);
    expect((await decision.call('GET', '/v1/resources/host/try')).status).toBe(404);
  });
});

describe('resources', () => {
  it('are declared, listed by kind, label and place, and removed', async () => {
    const items = [
      { path: 'host/dc1/a', labels: { role: 'web' } },
      { path: 'host/dc1/b', labels: { role: 'db' }, memberOf: ['service/pay'] },
      { path: 'host/dc10/c', labels: { role: 'web' } },
      { path: 'switch/s1' },
    ];
    const answer = await decision.call('PUT', '/v1/resources', items);
    expect(answer.body.items.map((item) => item['change'])).toEqual(Array(4).fill('created'));
    const paths = async (query: string): Promise<unknown[]> =>
      (await decision.call('GET', `/v1/resources?${query}`)).body.items.map((item) => item['path']);
    expect(await paths('kind=host')).toEqual(['host/dc1/a', 'host/dc1/b', 'host/dc10/c']);
    expect(await paths('label=role=web')).toEqual(['host/dc1/a', 'host/dc10/c']);
    expect(await paths('under=host/dc1')).toEqual(['host/dc1/a', 'host/dc1/b']);
    const first = (await decision.call('GET', '/v1/resources?limit=3')).body;
    expect(await paths(`cursor=${String(first['nextCursor'])}`)).toEqual(['switch/s1']);
    expect((await decision.call('DELETE', '/v1/resources/switch/s1')).status).toBe(204);
    expect((await decision.call('GET', '/v1/resources/switch/s1')).status).toBe(404);
  });

  it('say of which groups a path is a member, itself, above or below, and the groups above those', async () => {
    await decision.call('PUT', '/v1/resources', [
      { path: 'host/dc1/a', memberOf: ['service/pay', 'rack/r1'] },
      { path: 'host/dc1/b', memberOf: ['service/web'] },
      { path: 'host/dc10/c', memberOf: ['service/far'] },
      { path: 'host/dc1', memberOf: ['region/eu'] },
      { path: 'service/pay', memberOf: ['product/shop'] },
      { path: 'product/shop', memberOf: ['service/pay'] },
      { path: 'disk/loose' },
    ]);
    const asked = ['host/dc1/a', 'host/dc1/a/disk/1', 'host/dc1', 'service/pay/api', 'disk/loose', 'nothing/here'];
    const { body } = await decision.call('POST', '/internal/decision/groups', { paths: asked }, SERVICE);
    const shop = ['product/shop', 'rack/r1', 'region/eu', 'service/pay'];
    expect(body).toEqual({
      groups: {
        'host/dc1/a': shop,
        'host/dc1/a/disk/1': shop,
        'host/dc1': [...shop, 'service/web'],
        // A circle ends where it began.
        'service/pay/api': ['product/shop', 'service/pay'],
      },
      kinds: ['host', 'product', 'service'],
    });
    expect((await decision.call('POST', '/internal/decision/groups', { paths: [] })).status).toBe(403);
  });

  it('put with a state count as observed now, keep it when put without, and trigger nothing', async () => {
    await decision.call('PUT', `/v1/resources/${HOST}`, { labels: { role: 'web' }, state: { state: 'down' } });
    await decision.settled();
    expect(await decision.starts()).toEqual([]);
    await decision.events({ time: new Date(Date.now() - 60_000).toISOString(), data: { state: 'up' } });
    await decision.settled();
    expect(await stateOf()).toEqual({ state: 'down' });
    expect((await decision.call('PUT', `/v1/resources/${HOST}`, { labels: { role: 'db' } })).body).toMatchObject({
      change: 'changed',
    });
    expect((await decision.call('GET', `/v1/resources/${HOST}`)).body).toMatchObject({
      labels: { role: 'db' },
      state: { state: 'down' },
    });
  });

  it.each<[string, unknown, string]>([
    ['unknown member', { path: 'host/a', colour: 'red' }, '/colour'],
    ['label that is no text', { path: 'host/a', labels: { n: 1 } }, '/labels/n'],
    ['path with an empty part', { path: 'host//a' }, '/path'],
    ['another path than the address', { path: 'host/b' }, '/path'],
    ['kind of another', { path: 'host/a', kind: 'pod' }, '/kind'],
  ])('refuse a body with an %s', async (_name, body, pointer) => {
    expect(await decision.call('PUT', '/v1/resources/host/a', body)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer }] },
    });
  });
});

describe('a rule with every stage', () => {
  const full = {
    ...RULE,
    name: 'fleet/full',
    title: 'A service on a host is down',
    when: "resource.labels.stage != 'burn-in'",
    dedupe: { by: '${event.subject}', within: '5m' },
    tier: [{ when: { in: [{ var: 'resource.labels.service' }, ['pay', 'login']] }, tier: 'P0' }, { tier: 'P2' }],
    targets: { from: 'event' },
    batch: { by: '${resource.labels.rack}', canary: 1, size: '20%', max: 10, pause: '10s' },
    goal: {
      state: "resource.state.state == 'up'",
      observe: { call: 'probe.http@1', with: { url: 'http://${resource.labels.addr}/healthz' } },
      stableFor: '10s',
    },
    branches: [
      {
        id: 'database',
        when: "resource.labels.role == 'db'",
        ladder: [{ id: 'failover', run: 'db/failover@1', with: {}, within: '5m' }],
      },
      {
        id: 'default',
        ladder: [
          {
            id: 'restart',
            run: 'fleet/restart-service@1',
            per: 'target',
            with: { host: '${resource.path}' },
            attempts: 2,
            within: '2m',
          },
          {
            id: 'page',
            call: 'notify.webhook@1',
            with: { url: '${config.oncall.url}', body: { hosts: '${targets}' } },
          },
        ],
      },
    ],
    budget: [
      { runs: 3, within: '1h', by: '${resource.path}' },
      { runs: 20, within: '1d' },
    ],
  };
  const event = { type: 'fleet.service.state', subject: HOST, data: { state: 'down' } };
  const trial = async (labels: object, rule: object = full): Promise<unknown> =>
    (await decision.call('POST', '/v1/rules/test', { rule, event, resource: { path: HOST, labels } })).body;

  it('takes its conditions as text and says in text why not', async () => {
    expect(await trial({ service: 'pay', role: 'web', stage: 'prod' })).toMatchObject({
      verdict: 'decided',
      decisions: [{ branch: 'default', tier: 'P0', ref: 'fleet/restart-service@1' }],
    });
    expect(await trial({ service: 'x', role: 'db', stage: 'prod' })).toMatchObject({
      verdict: 'decided',
      decisions: [{ branch: 'database', tier: 'P2' }],
    });
    expect(await trial({ stage: 'burn-in' })).toMatchObject({
      verdict: 'false',
      because: { text: "resource.labels.stage != 'burn-in' was 'burn-in'", actual: 'burn-in' },
    });
  });

  it('is decided without the catalog, unless a slot needs it', async () => {
    const needs = { ...full, branches: [{ id: 'b', ladder: [full.branches[1]!.ladder[1]!] }] };
    expect(await trial({ stage: 'prod' }, needs)).toMatchObject({
      verdict: 'error',
      because: { text: expect.stringContaining('oncall') as string },
      decisions: [],
    });
  });
});
