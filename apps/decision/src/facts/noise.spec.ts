/** What holds back noise and what is counted, on a real decision: facts, tables, maintenance, flapping, incidents, links. */
import type { EventMessage, MaintenanceDocument, RunsMessage } from '@opsloop/contracts';
import { eventually, startHttpTarget } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { eventOf, runsOf, startDecision } from '../decision-app.spec-kit.js';
import { MissedEndsService } from '../episodes/missed-ends.service.js';

/** An odd number of turns; `OPSLOOP_FLAPPING=100x3601` is an hour of a hundred services that turn every second. */
const [services = 20, turns = 11] = (process.env['OPSLOOP_FLAPPING'] ?? '20x11').split('x').map(Number);
const FLAPPING = { services, turns };

let decision: DecisionApp;
/** What control says when it is asked again. */
let told: RunsMessage[] = [];
let catalog: Awaited<ReturnType<typeof startHttpTarget>>;

const TABLE = {
  ...{ dsl: 'opsloop/v1', kind: 'table', name: 'ops/service-tier', version: '1.2.0', hit: 'first' },
  rows: [
    {
      when: { '==': [{ var: 'resource.labels.service' }, 'pay'] },
      tier: 'P0',
      batch: { size: 1 },
      approval: { groups: ['sre'], min: 2 },
      owner: 'team-pay',
    },
    { tier: 'P4', owner: 'team-any' },
  ],
};

beforeAll(async () => {
  catalog = await startHttpTarget(({ path, body }) => {
    if (path === '/internal/control/tell-again') return { status: 200, body: { messages: told } };
    if (path !== '/internal/catalog/tables') return { status: 404, body: {} };
    const { refs } = body as { refs: string[] };
    return { status: 200, body: { tables: Object.fromEntries(refs.map((ref) => [ref, TABLE])) } };
  });
  decision = await startDecision({}, catalog.url);
});
afterAll(async () => {
  await decision.close();
  await catalog.close();
});

beforeEach(async () => {
  const { body } = await decision.call('GET', '/v1/rules?limit=100');
  for (const { name } of body.items) await decision.call('DELETE', `/v1/rules/${String(name)}`);
  await decision.settled();
  await decision.database.query(
    'TRUNCATE decision.trace, decision.episode, decision.resource, decision.decision, decision.wait, decision.run, decision.hold, bus.message',
  );
});

const RULE = {
  ...{ dsl: 'opsloop/v1', kind: 'rule', name: 'fleet/down', version: '1.0.0', owner: 'team-fleet' },
  on: [{ type: 'fleet.service.state', subject: 'host/*', data: { state: 'down' } }],
  branches: [
    { id: 'default', ladder: [{ id: 'restart', run: 'fleet/restart@1', with: { host: '${resource.path}' } }] },
  ],
};
const GOAL = { state: { '==': [{ var: 'resource.state.state' }, 'up'] } };
let version = 0;
const put = (more: object): Promise<void> => decision.putRule({ ...RULE, version: `1.0.${(version += 1)}`, ...more });

async function verdict(
  event: EventMessage,
  rule = RULE.name,
): Promise<{ verdict?: string; stage?: string; text?: string }> {
  const { body } = await decision.call('GET', `/v1/events/${event.eventId}/explain`);
  const line = (body['rules'] as { rule: string; verdict: string; stage: string; because?: { text: string } }[]).find(
    (one) => one.rule === rule,
  );
  return line === undefined
    ? {}
    : { verdict: line.verdict, stage: line.stage, ...(line.because && { text: line.because.text }) };
}

describe('facts', () => {
  it('count events of the subject and around it, those of the same batch included', async () => {
    await put({
      facts: {
        mine: { events: { type: 'fleet.service.state', data: { state: ['down', 'bad'] } }, within: '1h' },
        rack: {
          events: { type: 'fleet.*', data: { state: 'down' } },
          under: 'host/dc1/${resource.labels.rack}',
          distinct: 'subject',
          within: '1h',
        },
      },
      when: 'facts.mine >= 2 and facts.rack >= 2',
    });
    await decision.call('PUT', '/v1/resources', {
      items: ['a', 'b'].map((name) => ({ path: `host/dc1/r1/${name}`, labels: { rack: 'r1' } })),
    });
    await decision.events({ subject: 'host/dc1/r1/b' }, { subject: 'host/dc1/r2/x' });
    await decision.settled();
    const [first, up, second] = await decision.events({}, { data: { state: 'up' } }, {});
    await decision.settled();
    expect(await verdict(first!)).toMatchObject({ verdict: 'false', stage: 'when', text: 'facts.mine >= 2 was 1' });
    expect((await verdict(up!)).verdict).toBe('no-match');
    expect(await verdict(second!)).toMatchObject({ verdict: 'decided' });
    expect(await decision.starts()).toHaveLength(1);
  });

  it('know episodes elsewhere, the time of a zone and windows', async () => {
    await put({
      facts: {
        others: { episodes: { rule: 'fleet/*' }, under: 'host/dc1' },
        local: { clock: 'Asia/Shanghai' },
        always: { during: { from: '2000-01-01', until: '2100-01-01' } },
      },
      when: 'facts.always and facts.local.hour >= 0 and length(facts.local.weekday) == 3 and facts.others < 1',
    });
    const [a] = await decision.events({});
    await decision.settled();
    const [b] = await decision.events({ subject: 'host/dc1/r1/b' });
    await decision.settled();
    expect((await verdict(a!)).verdict).toBe('decided');
    expect(await verdict(b!)).toMatchObject({ verdict: 'false', text: 'facts.others < 1 was 1' });
  });

  it('come from decision tables, which also say tier, batch and approval', async () => {
    await put({
      facts: { owner: { table: 'ops/service-tier@1' } },
      when: "facts.owner.owner == 'team-pay'",
      tier: { table: 'ops/service-tier@1' },
      batch: { size: 10 },
      targets: { paths: ['host/dc1/r1/a', 'host/dc1/r1/b'] },
      branches: [
        {
          id: 'default',
          ladder: [{ id: 'restart', run: 'fleet/restart@1', per: 'target', with: { owner: '${facts.owner.owner}' } }],
        },
      ],
    });
    await decision.call('PUT', '/v1/resources', {
      items: ['a', 'b'].map((name) => ({ path: `host/dc1/r1/${name}`, labels: { service: 'pay' } })),
    });
    await decision.events({});
    await decision.settled();
    const [start] = await decision.starts();
    expect(start).toMatchObject({
      tier: 'P0',
      approval: { groups: ['sre'], min: 2 },
      perTarget: { batches: [['host/dc1/r1/a'], ['host/dc1/r1/b']], items: [{ input: { owner: 'team-pay' } }, {}] },
    });
  });
});

const windowOf = (name: string, more: Partial<MaintenanceDocument>): object => ({
  ...{ dsl: 'opsloop/v1', kind: 'maintenance', name, scope: { paths: ['host/dc1'] } },
  during: { from: '2000-01-01', until: '2100-01-01' },
  ...more,
});

describe('maintenance', () => {
  it('starts nothing, and at its end looks once at what is still bad', async () => {
    await put({ goal: GOAL });
    await put({ name: 'fleet/alert', on: [{ type: 'alert', data: { status: 'firing' } }] });
    expect(
      (await decision.call('PUT', '/v1/maintenance/ops/night', windowOf('ops/night', { reason: 'firmware' }))).status,
    ).toBe(201);
    const hosts = Array.from({ length: 20 }, (_, n) => `host/dc1/r1/h${n}`);
    for (let turn = 0; turn < 5; turn += 1)
      await decision.events(...hosts.map((subject) => ({ subject, data: { state: 'down' } })));
    const [alert, healed] = await decision.events(
      { type: 'alert', subject: 'host/dc1/r1/h0', data: { status: 'firing' } },
      { type: 'alert', subject: 'host/dc1/r1/h1', data: { status: 'firing' } },
    );
    await decision.events({ type: 'alert', subject: 'host/dc1/r1/h1', data: { status: 'resolved' } });
    await decision.events(...hosts.slice(3).map((subject) => ({ subject, data: { state: 'up' } })));
    await decision.settled();
    expect(await verdict(alert!, 'fleet/alert')).toMatchObject({ verdict: 'maintenance', stage: 'maintenance' });
    expect((await verdict(alert!, 'fleet/alert')).text).toContain('firmware');
    expect(await decision.starts()).toEqual([]);

    const ended = await decision.call('POST', '/v1/maintenance/ops/night/end', { reason: 'done early' });
    expect(ended).toMatchObject({ status: 200 });
    expect(ended.body['open']).toBeUndefined();
    await eventually(async () =>
      expect(await decision.database.query(`SELECT 1 FROM decision.wait WHERE kind = 'debt'`)).toEqual([]),
    );
    const starts = await decision.starts();
    expect(
      starts
        .filter((s) => s.cause?.rule === RULE.name)
        .flatMap((s) => s.targets)
        .sort(),
    ).toEqual(hosts.slice(0, 3));
    expect(starts.filter((s) => s.cause?.rule === 'fleet/alert').flatMap((s) => s.targets)).toEqual(['host/dc1/r1/h0']);
    expect((await verdict(healed!, 'fleet/alert')).text).toContain('it has cleared, by event');
    expect((await decision.call('DELETE', '/v1/maintenance/ops/night')).status).toBe(204);
  });

  it('is refused where nobody could know when it opens', async () => {
    const bad = await decision.call(
      'PUT',
      '/v1/maintenance/ops/x',
      windowOf('ops/x', { during: { rrule: 'FREQ=WEEKLY', for: '1h' } }),
    );
    expect(bad).toMatchObject({ status: 400, body: { code: 'validation', errors: [{ pointer: '/during/rrule' }] } });
    expect((await decision.call('POST', '/v1/maintenance/ops/none/end', { reason: 'x' })).status).toBe(404);
  });
});

describe('noise', () => {
  it('a throttle lets so many decisions through and exhausts nothing', async () => {
    await put({ throttle: { count: 2, within: '1h' } });
    const events = await decision.events(...['a', 'b', 'c'].map((name) => ({ subject: `host/dc1/r1/${name}` })));
    await decision.settled();
    expect((await Promise.all(events.map(async (event) => (await verdict(event)).verdict))).sort()).toEqual([
      'decided',
      'decided',
      'deduped',
    ]);
    expect((await decision.call('GET', '/v1/episodes?state=exhausted')).body.items).toEqual([]);
  });

  it(`${FLAPPING.services} services that flap are left alone until they stand still, then looked at once`, async () => {
    await put({ goal: GOAL, flapping: { changes: 4, within: '10m', quiet: '1s' }, for: '500ms' });
    const { services, turns } = FLAPPING;
    // Every other one has one turn more, and ends well.
    const ofOne = (n: number): Partial<EventMessage>[] =>
      Array.from({ length: turns + (n % 2) }, (_, turn) => ({
        subject: `host/dc1/flap/${n}`,
        data: { state: turn % 2 === 0 ? 'down' : 'up' },
      }));
    const all = Array.from({ length: services }, (_, n) => n);
    const events = await decision.events(...all.flatMap(ofOne));
    await decision.settled();
    const last = events.findLast(({ subject }) => subject === 'host/dc1/flap/0')!;
    await eventually(async () => expect((await verdict(last)).verdict).toBe('decided'));
    const ill = all.filter((n) => n % 2 === 0).map((n) => `host/dc1/flap/${n}`);
    const started = async (): Promise<string[]> =>
      (await decision.starts()).flatMap((start) => start.targets).toSorted();
    await eventually(async () => expect(await started()).toEqual(ill.toSorted()));
    const states = await decision.database.query<{ state: string; count: number }>(
      `SELECT state->>'state' AS state, count(*)::int AS count FROM decision.resource WHERE path LIKE 'host/dc1/flap/%' GROUP BY 1 ORDER BY 1`,
    );
    expect(states).toEqual([
      { state: 'down', count: ill.length },
      { state: 'up', count: services - ill.length },
    ]);
  });

  it('a late event opens a group of its own, and a full one is decided at once', async () => {
    await put({ group: { by: 'all', within: '300ms', max: 2 } });
    await decision.events(...['a', 'b', 'c'].map((name) => ({ subject: `host/dc1/r1/${name}` })));
    await eventually(async () => expect((await decision.starts()).flatMap((s) => s.targets)).toHaveLength(3));
    await decision.events({ subject: 'host/dc1/r1/d' });
    await eventually(async () => expect((await decision.starts()).flatMap((s) => s.targets)).toHaveLength(4));
    const ids = (await decision.starts()).map((start) => start.id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('incidents', () => {
  it('hold the episodes of a key across rules, with their story', async () => {
    await put({ incident: { by: '${resource.labels.service}' } });
    await put({ name: 'fleet/slow', on: [{ type: 'slow' }], incident: { by: '${resource.labels.service}' } });
    await decision.call('PUT', '/v1/resources', {
      items: ['a', 'b'].map((name) => ({ path: `host/dc1/r1/${name}`, labels: { service: 'pay' } })),
    });
    await decision.events({}, { type: 'slow', subject: 'host/dc1/r1/b', data: {} });
    await decision.settled();
    await decision.events({ type: 'slow', subject: 'host/dc1/r9/other', data: {} });
    await decision.settled();
    const starts = await decision.starts();
    const [first, second] = starts;
    expect(first!.incidentId).toBe(second!.incidentId);
    await decision.runs(
      runsOf(first!, { kind: 'verdict', verdict: 'admitted' }),
      runsOf(first!, { kind: 'started' }),
      runsOf(first!, { kind: 'closed', status: 'succeeded' }),
      runsOf(second!, { kind: 'closed', status: 'failed' }),
    );
    await decision.settled();
    const { body } = await decision.call('GET', '/v1/incidents');
    expect(body.items).toMatchObject([
      {
        id: first!.incidentId,
        key: 'pay',
        title: '2 rules on pay',
        state: 'closed',
        outcome: 'exhausted',
        counts: { episodes: 2, resources: 2 },
      },
    ]);
    const view = (await decision.call('GET', `/v1/incidents/${first!.incidentId!}`)).body;
    expect((view['story'] as { kind: string }[]).map((one) => one.kind)).toEqual(
      expect.arrayContaining(['event', 'decision', 'run', 'state']),
    );
    expect(view['episodeList']).toHaveLength(2);
    const open = await decision.call('GET', '/v1/incidents?state=open');
    expect(open.body.items).toEqual([]);
    const paged = await decision.call('GET', '/v1/incidents?limit=1&under=host/dc1&tier=P3');
    expect(paged.body.items).toHaveLength(1);
    expect((await decision.call('GET', '/v1/incidents/nothing')).status).toBe(404);
  });

  it('by default follow the causal chain', async () => {
    await put({});
    const first = eventOf({});
    await decision.events(first, {
      subject: 'host/dc1/r1/b',
      correlationId: first.correlationId,
      causationId: first.eventId,
      hops: 1,
    });
    await decision.settled();
    const starts = await decision.starts();
    expect(new Set(starts.map((start) => start.incidentId)).size).toBe(1);
    expect(starts).toHaveLength(2);
  });
});

describe('a rule that brings its own cause back', () => {
  it('is stopped after three rounds of the same chain, and says so', async () => {
    await put({});
    const first = eventOf({});
    const verdicts: (string | undefined)[] = [];
    for (let hops = 0; hops < 5; hops += 1) {
      const [event] = await decision.events(hops === 0 ? first : { correlationId: first.correlationId, hops });
      await decision.settled();
      const { verdict: said, stage, text } = await verdict(event!);
      verdicts.push(said);
      if (said !== 'decided') expect([stage, text]).toEqual(['loop', expect.stringContaining('brings its cause back')]);
      const start = (await decision.starts()).at(-1)!;
      await decision.runs(runsOf(start, { kind: 'started' }), runsOf(start, { kind: 'closed', status: 'succeeded' }));
      await decision.settled();
    }
    expect(verdicts).toEqual(['decided', 'decided', 'decided', 'hop-limit', 'hop-limit']);
    // Another chain about the same host is not to blame.
    const [fresh] = await decision.events({});
    await decision.settled();
    expect((await verdict(fresh!)).verdict).toBe('decided');
  });
});

describe('links between resources', () => {
  it('no work on what depends on something under change, nor on members of it; it is looked at when that ends', async () => {
    await put({ goal: GOAL });
    await decision.call('PUT', '/v1/resources', {
      items: [
        { path: 'host/dc1/r1/a', dependsOn: ['switch/r1'] },
        { path: 'host/dc1/r1/b', memberOf: ['service/pay'] },
      ],
    });
    const work = {
      id: '018f0000-0000-7000-8000-000000000001',
      ref: 'net/upgrade@1',
      targets: ['switch/r1', 'service/pay'],
      tier: 'P2',
    } as never;
    await decision.runs(runsOf(work, { kind: 'verdict', verdict: 'admitted' }), runsOf(work, { kind: 'started' }));
    await decision.settled();
    const [a, b] = await decision.events({}, { subject: 'host/dc1/r1/b' });
    await decision.settled();
    expect(await verdict(a!)).toMatchObject({ verdict: 'own-effect' });
    expect((await verdict(a!)).text).toContain('depends on switch/r1');
    expect((await verdict(b!)).text).toContain('is a member of service/pay');
    await decision.runs(runsOf(work, { kind: 'closed', status: 'succeeded' }));
    await eventually(async () =>
      expect((await decision.starts()).flatMap((s) => s.targets).sort()).toEqual(['host/dc1/r1/a', 'host/dc1/r1/b']),
    );
  });

  it('what is retired needs no work, and what replaces it is looked at in its place', async () => {
    await put({
      goal: GOAL,
      branches: [{ id: 'd', ladder: [{ id: 'replace', run: 'fleet/replace@1', within: '1h', attempts: 2 }] }],
    });
    await decision.events({}, { subject: 'host/dc1/r1/b' });
    await decision.settled();
    const starts = await decision.starts();
    for (const start of starts)
      await decision.runs(runsOf(start, { kind: 'started' }), runsOf(start, { kind: 'closed', status: 'succeeded' }));
    await decision.settled();
    await decision.call('PUT', '/v1/resources/host/dc1/r1/new', { state: { state: 'up' } });
    await decision.call('PUT', '/v1/resources/host/dc1/r1/a', { retired: { replacedBy: 'host/dc1/r1/new' } });
    await decision.call('PUT', '/v1/resources/host/dc1/r1/b', { retired: { reason: 'scrapped' } });
    await eventually(async () => {
      const { body } = await decision.call('GET', '/v1/episodes');
      expect(body.items.map((one) => [one['resource'], one['state']]).sort()).toEqual([
        ['host/dc1/r1/a', 'converged'],
        ['host/dc1/r1/b', 'withdrawn'],
      ]);
    });
    const [again] = await decision.events({});
    await decision.settled();
    expect((await verdict(again!)).text).toContain('is retired, host/dc1/r1/new stands in its place');
  });
});

describe('a message of control that was given up', () => {
  it('is asked for again by the episode that waits for it', async () => {
    await put({});
    await decision.events({});
    await decision.settled();
    const [start] = await decision.starts();
    await decision.runs(runsOf(start!, { kind: 'started' }));
    await decision.settled();
    const state = async (): Promise<unknown> => (await decision.call('GET', '/v1/episodes')).body.items[0]!['state'];
    const missed = decision.app.get(MissedEndsService);
    told = [runsOf(start!, { kind: 'started' }), runsOf(start!, { kind: 'closed', status: 'succeeded' })];
    // Too early: the message may still be on its way.
    expect(await missed.run()).toBe(0);
    expect(await state()).toBe('acting');
    await decision.database.query(
      `UPDATE decision.episode SET doc = jsonb_set(doc, '{episode,changedAt}', to_jsonb((doc->'episode'->>'changedAt')::bigint - 600000))`,
    );
    expect(await missed.run()).toBe(1);
    expect(await state()).toBe('converged');
    expect(await missed.run()).toBe(0);
  });
});
