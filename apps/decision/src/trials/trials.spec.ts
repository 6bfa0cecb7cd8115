import type { RunsMessage, StartRequest } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bucketOf } from '../decide/sides.pure.js';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { runsOf, startDecision } from '../decision-app.spec-kit.js';

let decision: DecisionApp;
beforeAll(async () => void (decision = await startDecision()));
afterAll(() => decision.close());

const rule = (name: string, version: string, more: object = {}): object => ({
  ...{ dsl: 'opsloop/v1', kind: 'rule', name, version, owner: 'team-fleet' },
  on: [{ type: `${name.replace('/', '.')}.seen` }],
  branches: [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/go@1', with: { host: '${resource.path}' } }] }],
  ...more,
});
const typeOf = (name: string): string => `${name.replace('/', '.')}.seen`;
const host = (n: number | string): string => `host/dc1/r1/${n}`;
const startsOf = async (name: string): Promise<StartRequest[]> =>
  (await decision.starts()).filter((start) => start.cause?.rule === name);
const patch = (name: string, body: object): ReturnType<DecisionApp['call']> =>
  decision.call('PATCH', `/v1/rules/${name}`, { reason: 'spec', ...body });

/** A run that somebody started by hand. */
const byHand = (flow: string, path: string): RunsMessage[] => {
  const base = { id: newId(), flow, targets: [path], tier: 'P3' as const, at: new Date().toISOString() };
  return [{ ...base, kind: 'started', workflowId: `w.${base.id}` }];
};

test('a rule in shadow starts nothing and is compared with what people did', async () => {
  const name = 'shadow/down';
  await decision.putRule(rule(name, '1.0.0', { mode: 'shadow', tier: [{ tier: 'P1' }] }));
  await decision.events(
    ...['agreed', 'more'].map((one) => ({ type: typeOf(name), subject: host(one) })),
    // A second event of the same trouble is no second case.
    { type: typeOf(name), subject: host('more') },
  );
  await decision.settled();
  await decision.runs(...byHand('fleet/go', host('agreed')), ...byHand('fleet/go', host('less')));
  await decision.runs(...byHand('fleet/other', host('unrelated')));
  await decision.settled();
  expect(await startsOf(name)).toEqual([]);
  const { status, body } = await decision.call('GET', `/v1/rules/${name}/agreement`);
  expect({ status, body }).toMatchObject({
    status: 200,
    body: {
      ...{ rule: name, version: '1.0.0', mode: 'shadow', cases: 3, percent: 33, cut: false },
      agreed: { count: 1, byTier: { P1: 1 } },
      more: { count: 1, byTier: { P1: 1 } },
      less: { count: 1 },
      differently: { count: 0 },
    },
  });
  expect(body.items.map((one) => [one['outcome'], one['resource']])).toEqual(
    expect.arrayContaining([
      ['agreed', host('agreed')],
      ['more', host('more')],
      ['less', host('less')],
    ]),
  );
  const only = await decision.call('GET', `/v1/rules/${name}/agreement?outcome=less&since=1h`);
  expect(only.body.items).toHaveLength(1);
  const trials = await decision.call('GET', '/v1/rules/trials');
  expect(trials.body.items).toContainEqual(expect.objectContaining({ rule: name, cases: 3 }));
});

test('what is asked wrong of agreement and trials is refused with its place', async () => {
  const name = 'wrong/down';
  await decision.putRule(rule(name, '1.0.0'));
  const stored = await decision.call('PUT', `/v1/rules/none/such?live=false`, rule('none/such', '1.0.0'));
  expect(stored).toMatchObject({ status: 409, body: { code: 'conflict' } });
  for (const [body, pointer] of [
    [{ rollout: { version: '9.9.9', percent: 10 } }, '/rollout/version'],
    [{ rollout: { version: '1.0.0', percent: 10 } }, '/rollout/version'],
    [{ rollout: {} }, '/rollout/percent'],
    [{ rollout: { percent: 101 } }, '/rollout/percent'],
    [{ live: '9.9.9' }, '/live'],
  ] as const)
    expect(await patch(name, body), JSON.stringify(body)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer }] },
    });
  expect((await decision.call('GET', '/v1/rules/no/such/agreement')).status).toBe(404);
  expect((await decision.call('GET', `/v1/rules/${name}/agreement?version=9.9.9`)).status).toBe(404);
  expect((await decision.call('GET', `/v1/rules/${name}/agreement?since=soon`)).status).toBe(400);
  const empty = await decision.call('GET', `/v1/rules/${name}/agreement?since=1h&until=2h`);
  expect(empty).toMatchObject({ status: 400, body: { errors: [{ pointer: '/since' }] } });
});

test('a version is tried: it watches, acts on a share of the subjects, and explain says which one acted and why', async () => {
  const name = 'tried/down';
  await decision.putRule(rule(name, '1.0.0'));
  const next = rule(name, '1.1.0', {
    when: "resource.labels.stage != 'burn-in'",
    branches: [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/better@1' }] }],
  });
  expect((await decision.call('PUT', `/v1/rules/${name}?live=false`, next)).status).toBe(201);
  expect((await decision.call('GET', `/v1/rules/${name}`)).body).toMatchObject({ version: '1.0.0' });
  expect(await patch(name, { rollout: { version: '1.1.0', percent: 0 } })).toMatchObject({ status: 200 });
  // A version that is tried is as it is.
  const other = await decision.call('PUT', `/v1/rules/${name}?live=false`, { ...next, title: 'other' });
  expect(other).toMatchObject({ status: 409, body: { code: 'version-conflict' } });

  await decision.call('PUT', `/v1/resources/${host('burn')}`, { labels: { stage: 'burn-in' } });
  const [seen, burn] = await decision.events(
    { type: typeOf(name), subject: host('w1') },
    { type: typeOf(name), subject: host('burn') },
  );
  await decision.settled();
  expect((await startsOf(name)).map((start) => start.cause!.ruleVersion)).toEqual(['1.0.0', '1.0.0']);
  const explained = (await decision.call('GET', `/v1/events/${seen!.eventId}/explain`)).body;
  expect((explained['rules'] as { rule: string }[]).filter((one) => one.rule === name)).toMatchObject([
    { version: '1.0.0', verdict: 'decided', side: { acts: true, percent: 0, beside: '1.1.0' } },
    { version: '1.1.0', verdict: 'shadow', side: { acts: false, percent: 0, beside: '1.0.0' } },
  ]);
  expect(explained.text).toContain(`${name}@1.1.0`);
  expect(explained.text).toContain('this one only watches');
  expect((await decision.call('GET', `/v1/events/${burn!.eventId}/explain`)).body.text).toContain(
    'its condition is false',
  );
  expect((await decision.call('GET', `/v1/rules/${name}/agreement`)).body).toMatchObject({
    ...{ version: '1.1.0', against: { version: '1.0.0' }, cases: 2 },
    differently: { count: 1 },
    less: { count: 1 },
  });

  // Now it acts on half of the hosts: always the same ones.
  expect(await patch(name, { rollout: { percent: 50 } })).toMatchObject({
    body: { meta: { rollout: { percent: 50, version: '1.1.0' } } },
  });
  const hosts = Array.from({ length: 20 }, (_, n) => host(`half-${n}`));
  await decision.events(...hosts.map((subject) => ({ type: typeOf(name), subject })));
  await decision.settled();
  const acted = new Map((await startsOf(name)).map((start) => [start.targets[0]!, start.cause!.ruleVersion]));
  const expected = new Map(hosts.map((path) => [path, bucketOf(name, path) < 50 ? '1.1.0' : '1.0.0']));
  expect(new Map(hosts.map((path) => [path, acted.get(path)]))).toEqual(expected);
  expect(new Set(expected.values()).size).toBe(2);

  // It has proved itself.
  expect((await patch(name, { live: '1.1.0' })).body).toMatchObject({ version: '1.1.0' });
  const [last] = await decision.events({ type: typeOf(name), subject: host('last') });
  await decision.settled();
  const after = (await decision.call('GET', `/v1/events/${last!.eventId}/explain`)).body['rules'] as { rule: string }[];
  expect(after.filter((one) => one.rule === name)).toEqual([
    expect.not.objectContaining({ side: expect.anything() as unknown }),
  ]);
});

test('a version that fails is taken back, its work withdrawn, and everybody is told with the figures', async () => {
  const name = 'bad/down';
  await decision.putRule(rule(name, '1.0.0'));
  await decision.call('PUT', `/v1/rules/${name}?live=false`, rule(name, '2.0.0', { title: 'bad' }));
  await patch(name, { rollout: { version: '2.0.0', percent: 100, failures: 2, of: 5 } });
  await decision.events(...['a', 'b', 'c'].map((one) => ({ type: typeOf(name), subject: host(`bad-${one}`) })));
  await decision.settled();
  const [a, b, c] = await startsOf(name);
  expect([a, b, c].map((start) => start!.cause!.ruleVersion)).toEqual(['2.0.0', '2.0.0', '2.0.0']);
  for (const start of [a!, b!])
    await decision.runs(
      runsOf(start, { kind: 'verdict', verdict: 'admitted' }),
      runsOf(start, { kind: 'started' }),
      runsOf(start, { kind: 'closed', status: 'failed' }),
    );
  const meta = await eventually(async () => {
    const { body } = await decision.call('GET', `/v1/rules/${name}`);
    expect(body).toMatchObject({ version: '1.0.0', meta: { by: 'itself', returned: { version: '2.0.0' } } });
    return body['meta'] as Record<string, unknown>;
  });
  expect(meta).not.toHaveProperty('rollout');
  expect(meta['returned']).toMatchObject({ figures: { of: 2, fixed: 0, notFixed: 2 }, percent: 100 });
  // What it had begun is withdrawn, and the last good version acts again, also on what the bad one gave up.
  expect(await decision.withdrawn()).toContain(c!.id);
  const told = await decision.database.query<{ body: Record<string, unknown> }>(
    `SELECT body FROM decision.notice WHERE body->>'subject' = $1`,
    [`rule/${name}`],
  );
  expect(told.map(({ body }) => body)).toMatchObject([
    {
      type: 'opsloop.rule.returned',
      data: { from: '2.0.0', to: '1.0.0', owner: 'team-fleet', figures: { notFixed: 2 } },
    },
  ]);
  await decision.events({ type: typeOf(name), subject: host('bad-a') });
  await decision.settled();
  expect((await startsOf(name)).at(-1)!.cause!.ruleVersion).toBe('1.0.0');
});
