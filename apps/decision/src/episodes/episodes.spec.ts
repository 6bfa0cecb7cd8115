import type { StartRequest } from '@opsloop/contracts';
import { eventually, startHttpTarget } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { runsOf, SERVICE, startDecision } from '../decision-app.spec-kit.js';
import { RepeatService } from './repeat.service.js';
import { ResyncService } from './resync.service.js';

const HOST = 'host/dc1/r1/a';
let decision: DecisionApp;
beforeAll(async () => void (decision = await startDecision()));
afterAll(() => decision.close());
beforeEach(async () => {
  for (const rule of (await decision.call('GET', '/v1/rules')).body.items)
    await decision.call('DELETE', `/v1/rules/${String(rule['name'])}`);
  await decision.settled();
  await decision.database.query(
    'TRUNCATE decision.trace, decision.episode, decision.resource, decision.decision, decision.wait, decision.run, decision.hold, decision.budget_use, decision.halt, decision.state_change, bus.message',
  );
});

const GOAL = { state: { '==': [{ var: 'resource.state.state' }, 'up'] } };
const RULE = {
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'fleet/down',
  version: '1.0.0',
  owner: 'team-fleet',
  on: [{ type: 'fleet.service.state', subject: 'host/*', data: { state: 'down' } }],
  goal: GOAL,
  branches: [
    {
      id: 'default',
      ladder: [
        {
          id: 'restart',
          run: 'fleet/restart@1',
          per: 'target',
          with: { host: '${resource.path}' },
          attempts: 2,
          within: '100ms',
        },
        { id: 'page', call: 'notify.webhook@1', with: { url: 'https://chat.example', body: { hosts: '${targets}' } } },
      ],
    },
  ],
};
/** Its first rung waits long enough for an observation, however slowly one comes. */
const patient = ({ branches: [branch] }: typeof RULE): object => ({
  branches: [{ ...branch, ladder: branch!.ladder.map((rung, n) => (n === 0 ? { ...rung, within: '1m' } : rung)) }],
});
let patch = 0;
/** Versions never change, so every variant of the rule has its own. */
const putVariant = (change: object, from: object = RULE): Promise<void> =>
  decision.putRule({ ...from, version: `1.1.${(patch += 1)}`, ...change });
const down = { data: { state: 'down' } };
const up = { data: { state: 'up' } };

async function nthStart(n: number): Promise<StartRequest> {
  return eventually(async () => {
    const start = (await decision.starts())[n - 1];
    if (start === undefined) throw new Error(`start ${n} did not come`);
    return start;
  });
}

async function episodes(filter = ''): Promise<Record<string, unknown>[]> {
  return (await decision.call('GET', `/v1/episodes?limit=100${filter}`)).body.items;
}

async function stateIs(state: string): Promise<Record<string, unknown>> {
  return eventually(async () => {
    const [episode] = await episodes();
    expect(episode).toMatchObject({ state });
    return episode!;
  });
}

async function finish(start: StartRequest, status: 'succeeded' | 'failed' = 'succeeded'): Promise<void> {
  await decision.runs(
    runsOf(start, { kind: 'verdict', verdict: 'admitted' }),
    runsOf(start, { kind: 'started' }),
    runsOf(start, { kind: 'closed', status }),
  );
  await decision.settled();
}

const verdictOf = async (eventId: string, rule = 'fleet/down'): Promise<unknown> => {
  const { body } = await decision.call('GET', `/v1/events/${eventId}/explain`);
  return (body['rules'] as { rule: string; verdict: string }[]).find((one) => one.rule === rule)?.verdict;
};

describe('an episode', () => {
  beforeEach(() => decision.putRule(RULE));

  it('converges when the goal is observed', async () => {
    await putVariant(patient(RULE));
    await decision.events(down);
    await finish(await nthStart(1));
    await decision.events(up);
    expect(await stateIs('converged')).toMatchObject({ attempts: 1, starts: 1 });
    expect(await decision.starts()).toHaveLength(1);
  });

  it('walks its ladder, each start with its own id, and ends exhausted', async () => {
    await decision.events(down);
    for (const n of [1, 2, 3]) await finish(await nthStart(n), 'failed');
    const episode = await stateIs('exhausted');
    const starts = await decision.starts();
    expect(starts.map((s) => [s.ref, s.cause!.rung])).toEqual([
      ['fleet/restart@1', 'restart'],
      ['fleet/restart@1', 'restart'],
      ['notify.webhook@1', 'page'],
    ]);
    expect(new Set(starts.map((s) => s.id)).size).toBe(3);
    const causes = (await decision.call('GET', '/v1/decisions')).body.items.map((d) => d['cause']);
    expect(causes.slice(0, 2)).toEqual([`${String(episode['id'])}#3`, `${String(episode['id'])}#2`]);
    // A person has to look: told once, with what to type.
    const told = await decision.database.query<{ body: object }>(
      `SELECT body FROM decision.notice WHERE body->>'type' = 'opsloop.episode.exhausted'`,
    );
    expect(told.map(({ body }) => body)).toMatchObject([
      {
        subject: episode['resource'],
        data: { episode: episode['id'], rule: 'fleet/down', next: expect.any(String) as string },
      },
    ]);
    const story = await decision.call('GET', `/v1/episodes/${String(episode['id'])}/story`);
    expect(story).toMatchObject({ status: 200, body: { episode: { state: 'exhausted' }, cut: false } });
    expect([story.body['events'], story.body['decisions']].map((list) => (list as object[]).length)).toEqual([1, 3]);
  });

  it('rests after exhaustion until an operator resets it', async () => {
    await decision.events(down);
    for (const n of [1, 2, 3]) await finish(await nthStart(n), 'failed');
    const { id } = await stateIs('exhausted');
    const [resting] = await decision.events(down);
    await decision.settled();
    expect(await verdictOf(resting!.eventId)).toBe('cooldown');
    expect(
      (await decision.call('POST', `/v1/episodes/${String(id)}/reset`, { reason: 'fixed the cable' })).status,
    ).toBe(200);
    await decision.events(down);
    expect((await nthStart(4)).cause!.rung).toBe('restart');
  });

  it('withdraws a start whose goal is met before it began', async () => {
    await decision.events(down);
    const start = await nthStart(1);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'queued', position: 1 }));
    await decision.events(up);
    await decision.settled();
    expect(await decision.withdrawn()).toEqual([start.id]);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'withdrawn', reason: 'goal met' }));
    await stateIs('converged');
  });

  it('takes part in the run into which its start was coalesced, also when that has ended before', async () => {
    await decision.events(down);
    const start = await nthStart(1);
    const other = { ...start, id: '0199a0f0-0000-7000-8000-00000000000a' };
    await finish(other);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'coalesced', into: other.id }));
    await nthStart(2);
    expect((await episodes())[0]).toMatchObject({ attempts: 1, starts: 2 });
  });

  it('asks again under the same id when control never answered, and not once it has', async () => {
    await decision.events(down);
    const start = await nthStart(1);
    const repeat = decision.app.get(RepeatService);
    expect(await repeat.run()).toBe(0);
    await decision.database.query(
      `UPDATE decision.episode SET doc = jsonb_set(doc, '{episode,changedAt}', to_jsonb((doc->'episode'->>'changedAt')::bigint - 301000))`,
    );
    expect(await repeat.run()).toBe(1);
    expect((await decision.starts()).map((one) => one.id)).toEqual([start.id, start.id]);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'queued', position: 1 }));
    await decision.settled();
    expect(await repeat.run()).toBe(0);
  });

  it('is withdrawn with its rule', async () => {
    await decision.events(down);
    const start = await nthStart(1);
    expect((await decision.call('PATCH', '/v1/rules/fleet/down', { mode: 'disabled', reason: 'noisy' })).status).toBe(
      200,
    );
    await stateIs('withdrawn');
    expect(await decision.withdrawn()).toEqual([start.id]);
    const [event] = await decision.events(down);
    await decision.settled();
    expect(await verdictOf(event!.eventId)).toBeUndefined();
  });

  it('stays with the rule version that opened it', async () => {
    await decision.events(down);
    const start = await nthStart(1);
    await decision.putRule({
      ...RULE,
      version: '2.0.0',
      branches: [{ id: 'default', ladder: [{ id: 'other', run: 'fleet/other@1' }] }],
    });
    await finish(start, 'failed');
    expect((await nthStart(2)).cause).toMatchObject({ rung: 'restart', ruleVersion: '1.0.0' });
  });

  it('joins events while it lives, and shows whose effects it sees', async () => {
    await decision.events(down);
    const start = await nthStart(1);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'admitted' }), runsOf(start, { kind: 'started' }));
    await decision.settled();
    const [again] = await decision.events(down);
    await decision.settled();
    expect(await verdictOf(again!.eventId)).toBe('episode-open');
    expect(await decision.starts()).toHaveLength(1);
  });
});

describe('own effects', () => {
  it('open nothing while an exclusive run works, and the goal is checked once when it lets go', async () => {
    const start: StartRequest = {
      id: '0199a0f0-0000-7000-8000-00000000000b',
      tenant: 'default',
      ref: 'fleet/upgrade@1',
      input: {},
      targets: [HOST],
      tier: 'P3',
      initiator: { kind: 'user', name: 'ann' },
      coalesce: false,
      correlationId: 'c',
      hops: 0,
      at: new Date().toISOString(),
    };
    await decision.putRule(RULE);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'admitted' }), runsOf(start, { kind: 'started' }));
    await decision.settled();
    const [event] = await decision.events(down);
    await decision.settled();
    expect(await verdictOf(event!.eventId)).toBe('own-effect');
    expect(await decision.starts()).toEqual([]);
    expect((await decision.call('GET', `/v1/resources/${HOST}`)).body['state']).toEqual({ state: 'down' });
    await decision.runs(runsOf(start, { kind: 'closed', status: 'succeeded' }));
    expect((await nthStart(1)).cause!.eventId).toBeUndefined();
  });

  it("are nobody's once a halt took the admission back: claims that were given up hide no event", async () => {
    await putVariant({});
    await decision.events(down);
    const start = await nthStart(1);
    await decision.runs(
      runsOf(start, { kind: 'verdict', verdict: 'admitted' }),
      runsOf(start, { kind: 'verdict', verdict: 'held', reason: 'held by halt 1' }),
    );
    await decision.settled();
    await putVariant({}, { ...RULE, name: 'fleet/other' });
    const [event] = await decision.events(down);
    await decision.settled();
    expect(await verdictOf(event!.eventId, 'fleet/other')).toBe('decided');
    expect(await stateIs('pending')).toMatchObject({ rule: 'fleet/other' });
  });
});

describe('observation', () => {
  it('looks at the target after an attempt and believes what it sees, not the exit code', async () => {
    let health = 'sick';
    const target = await startHttpTarget(() => ({ status: health === 'up' ? 200 : 500 }));
    const { port } = new URL(target.url);
    await decision.call('PUT', `/v1/resources/${HOST}`, { labels: { addr: `127.0.0.1:${port}` } });
    await putVariant({
      goal: {
        ...GOAL,
        observe: { call: 'probe.http@1', with: { url: 'http://${resource.labels.addr}/healthz' }, every: '200ms' },
      },
    });
    await decision.events(down);
    await finish(await nthStart(1));
    const second = await nthStart(2);
    expect(target.calls.length).toBeGreaterThan(0);
    health = 'up';
    await finish(second);
    expect(await stateIs('converged')).toMatchObject({ attempts: 2 });
    await target.close();
  });

  it('finds at a resync what no event told', async () => {
    await decision.call('PUT', `/v1/resources/${HOST}`, { state: { state: 'down' } });
    await decision.putRule(RULE);
    expect(await decision.starts()).toEqual([]);
    await decision.app.get(ResyncService).pass();
    await decision.app.get(ResyncService).pass();
    expect((await nthStart(1)).targets).toEqual([HOST]);
    expect(await decision.starts()).toHaveLength(1);
  });

  it('by a rule without a subject is of what its events reported, whatever words others have in their state', async () => {
    const target = await startHttpTarget(() => ({ status: 500 }));
    await putVariant({
      on: [{ type: 'fleet.service.state', data: { state: 'down' } }],
      goal: {
        ...GOAL,
        observe: { call: 'probe.http@1', with: { url: `${target.url}/\${resource.path}` }, staleAfter: '200ms' },
      },
    });
    await decision.events({ ...down, type: 'fleet.disk.state', subject: 'disk/a' }, up);
    await decision.settled();
    await eventually(async () => {
      await decision.app.get(ResyncService).pass();
      expect(await decision.starts()).toHaveLength(1);
    });
    expect((await nthStart(1)).targets).toEqual([HOST]);
    expect(target.calls.filter((call) => call.path !== `/${HOST}`)).toEqual([]);
    expect((await decision.call('GET', '/v1/resources/disk/a')).body).toMatchObject({ state: { state: 'down' } });
    await target.close();
  });
});

describe('windows', () => {
  it('decide after `for` only what has lasted', async () => {
    await putVariant({ for: '1s' });
    const [lasting, cleared] = await decision.events(down, { ...down, subject: 'host/dc1/r1/b' });
    await decision.settled();
    await decision.events({ ...up, subject: 'host/dc1/r1/b' });
    expect((await nthStart(1)).targets).toEqual([HOST]);
    expect(await verdictOf(lasting!.eventId)).toBe('decided');
    expect(await verdictOf(cleared!.eventId)).toBe('no-match');
    expect(await decision.database.query('SELECT 1 FROM decision.wait')).toEqual([]);
  });

  it('that two rules keep for one event tell its trace of both', async () => {
    await putVariant({ for: '200ms' });
    await putVariant({ name: 'fleet/second', for: '200ms' });
    const [event, again] = await decision.events(down, down);
    await nthStart(2);
    for (const { eventId } of [event!, again!])
      expect([await verdictOf(eventId), await verdictOf(eventId, 'fleet/second')]).toEqual(['decided', 'decided']);
  });

  it('of a rule that was switched off say so in the trace of their event', async () => {
    await putVariant({ for: '1h' });
    const [event] = await decision.events(down);
    await decision.settled();
    await decision.call('PATCH', '/v1/rules/fleet/down', { mode: 'disabled', reason: 'noisy' });
    const { body } = await decision.call('GET', `/v1/events/${event!.eventId}/explain`);
    expect(body['rules']).toMatchObject([{ verdict: 'no-match', because: { text: 'rule disabled: noisy' } }]);
  });

  it('collect a group over several transactions into one start with batches', async () => {
    await putVariant({ group: { by: '${event.type}', within: '1s' }, batch: { canary: 1, max: 2 } });
    const subjects = ['a', 'b', 'c', 'd'].map((name) => `host/dc1/r1/${name}`);
    for (const subject of subjects) await decision.events({ ...down, subject });
    const start = await nthStart(1);
    expect(start.targets).toEqual(subjects);
    expect(start.perTarget!.items.map((item) => item.input)).toEqual(subjects.map((host) => ({ host })));
    expect(start.perTarget!.batches.map((batch) => batch.length)).toEqual([1, 2, 1]);
    const outcome = subjects.map((path, n) => ({
      path,
      status: n === 0 ? ('succeeded' as const) : ('failed' as const),
    }));
    await decision.runs(runsOf(start, { kind: 'started' }));
    await decision.events({ ...up, subject: subjects[0]! });
    await decision.settled();
    await decision.runs(runsOf(start, { kind: 'closed', status: 'failed', outcome }));
    // Targets that still miss the goal are decided together again, under one cause.
    const second = await nthStart(2);
    expect(second.targets).toEqual(subjects.slice(1));
    expect((await episodes('&state=converged')).map((e) => e['resource'])).toEqual([subjects[0]]);
  });
});

describe('budget', () => {
  it('exhausts what is over it', async () => {
    await putVariant({ budget: [{ runs: 1, within: '1h' }] });
    await decision.events(down);
    await finish(await nthStart(1), 'failed');
    expect(await stateIs('exhausted')).toMatchObject({ reason: 'budget' });
    const [other] = await decision.events({ ...down, subject: 'host/dc1/r1/b' });
    await decision.settled();
    expect(await verdictOf(other!.eventId)).toBe('budget');
    expect(await decision.starts()).toHaveLength(1);
  });
});

describe('re-check of a start that waited', () => {
  const ask = async (start: StartRequest): Promise<Record<string, unknown>> =>
    (
      await decision.call(
        'POST',
        '/internal/decision/recheck',
        { id: start.id, cause: start.cause, targets: start.targets },
        SERVICE,
      )
    ).body;

  it('stands while the goal is missed, is cleared once it is met', async () => {
    await decision.putRule(RULE);
    await decision.events(down);
    const start = await nthStart(1);
    expect(await ask(start)).toMatchObject({ verdict: 'stands' });
    await decision.events(up);
    await decision.settled();
    expect(await ask(start)).toMatchObject({ verdict: 'cleared', targets: [{ path: HOST, verdict: 'cleared' }] });
  });

  it("without a goal asks whether today's state would still match", async () => {
    const { goal: _goal, ...rule } = RULE;
    await putVariant({}, rule);
    await decision.events(down);
    const start = await nthStart(1);
    expect(await ask(start)).toMatchObject({ verdict: 'stands' });
    await decision.events(up);
    await decision.settled();
    expect(await ask(start)).toMatchObject({ verdict: 'cleared' });
  });

  it('is for the apps alone', async () => {
    expect((await decision.call('POST', '/internal/decision/recheck', {})).status).toBe(403);
  });
});

describe('explain', () => {
  it('tells the story of an event with the reason of every rule', async () => {
    await decision.putRule(RULE);
    await decision.putRule({ ...RULE, name: 'db/other', on: [{ type: 'db.state' }] });
    const [event] = await decision.events(down);
    const start = await nthStart(1);
    await decision.runs(
      runsOf(start, {
        kind: 'verdict',
        verdict: 'queued',
        position: 2,
        consulted: [{ policy: 'default', saw: 'busy', said: 'queue' }],
      }),
    );
    await decision.settled();
    const { status, body } = await decision.call('GET', `/v1/events/${event!.eventId}/explain`);
    expect(status).toBe(200);
    expect(body['rules']).toEqual([
      {
        rule: 'db/other',
        version: '1.0.0',
        verdict: 'no-match',
        stage: 'on',
        because: {
          text: "event.type == 'db.state' was 'fleet.service.state'",
          path: 'event.type',
          expected: 'db.state',
          actual: 'fleet.service.state',
        },
      },
      { rule: 'fleet/down', version: '1.0.0', verdict: 'decided', stage: 'decide', decisionId: start.id },
    ]);
    expect(body['decisions']).toMatchObject([
      {
        id: start.id,
        branch: 'default',
        rung: 'restart',
        tier: 'P3',
        targets: [HOST],
        admissions: [{ id: start.id, verdict: 'queued', consulted: [{ policy: 'default' }] }],
      },
    ]);
    expect(body.text.split('\n')).toHaveLength(4);
    // The rule is edited: what it said then stays what it said.
    await decision.putRule({ ...RULE, name: 'db/other', version: '2.0.0', on: [{ type: '*' }] });
    expect((await decision.call('GET', `/v1/events/${event!.eventId}/explain`)).body['rules']).toMatchObject([
      { version: '1.0.0', verdict: 'no-match' },
      {},
    ]);
  });

  it('tells of one host in six lines', async () => {
    await decision.putRule(RULE);
    await decision.events(down);
    const start = await nthStart(1);
    await decision.runs(runsOf(start, { kind: 'verdict', verdict: 'admitted' }), runsOf(start, { kind: 'started' }));
    await decision.settled();
    const { body } = await decision.call('GET', `/v1/explain?resource=${encodeURIComponent(HOST)}`);
    const lines = body.text.split('\n');
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/^host\/dc1\/r1\/a: state = 'down' since \d+s, seen \d+s ago$/);
    expect(lines[1]).toMatch(/^episode: fleet\/down is acting on rung restart, attempt 1 of 2, open for \d+s$/);
    expect(lines[2]).toContain(start.id);
    // Nobody plays control's answers here.
    expect(lines.slice(3, 5)).toEqual([
      'waiting: unknown, control does not answer',
      'halts: unknown, control does not answer; without it nothing starts',
    ]);
    expect(lines[5]).toMatch(/^next: when the run ends the goal is checked: /);
  });

  it('knows nothing of what was never heard of', async () => {
    expect((await decision.call('GET', '/v1/explain?resource=host/none')).status).toBe(404);
    expect((await decision.call('GET', '/v1/events/nonsense/explain')).status).toBe(404);
    expect((await decision.call('GET', '/v1/explain')).body.errors).toMatchObject([{ pointer: '/resource' }]);
  });

  it('gives the front part of a timeline', async () => {
    await decision.putRule(RULE);
    const [event] = await decision.events(down);
    const start = await nthStart(1);
    const { body } = await decision.call(
      'POST',
      '/internal/decision/story',
      { decisionId: start.id, targets: [HOST], since: new Date().toISOString() },
      SERVICE,
    );
    const kinds = (body['entries'] as { kind: string; ref: string }[]).map((entry) => [entry.kind, entry.ref]);
    expect(kinds).toContainEqual(['event', event!.eventId]);
    expect(kinds).toContainEqual(['decision', start.id]);
    expect(kinds).toContainEqual(['state', HOST]);
  });
});

describe('a start for several targets', () => {
  it('is withdrawn only when none of them needs it any more', async () => {
    await putVariant({ group: { by: 'all', within: '1s' } });
    await decision.events(down, { ...down, subject: 'host/dc1/r1/b' });
    const start = await nthStart(1);
    expect(start.targets).toHaveLength(2);
    await decision.events(up);
    await decision.settled();
    expect(await decision.withdrawn()).toEqual([]);
    await decision.events({ ...up, subject: 'host/dc1/r1/b' });
    await decision.settled();
    expect(await decision.withdrawn()).toEqual([start.id]);
  });
});
