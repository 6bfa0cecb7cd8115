import type { EventMessage } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { startDecision } from '../decision-app.spec-kit.js';
import type { RuleTrace } from '../store/model.js';

let decision: DecisionApp;
beforeAll(async () => {
  decision = await startDecision();
});
afterAll(() => decision.close());

const rule = (name: string, more: object = {}): object => ({
  dsl: 'opsloop/v1',
  kind: 'rule',
  name,
  version: '1.0.0',
  on: [{ type: `${name.replace('/', '.')}.seen` }],
  branches: [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/go@1', with: { host: '${resource.path}' } }] }],
  ...more,
});

test('a set of rules is published whole: unchanged, changed, a conflict or a mistake in one keeps all of it out', async () => {
  const put = (...items: object[]): ReturnType<DecisionApp['call']> => decision.call('PUT', '/v1/rules', { items });
  const first = await put(rule('set/a'), rule('set/b'));
  expect(first).toMatchObject({
    status: 200,
    body: { items: [{ name: 'set/a', change: 'created' }, { change: 'created' }] },
  });
  const second = await put(rule('set/a'), rule('set/b', { version: '1.1.0', title: 'B' }));
  expect(second.body.items).toMatchObject([{ change: 'unchanged' }, { change: 'changed', version: '1.1.0' }]);
  const conflict = await put(rule('set/c'), rule('set/a', { title: 'other' }));
  expect(conflict).toMatchObject({
    status: 409,
    body: { code: 'version-conflict', errors: [{ pointer: '/items/1/version' }] },
  });
  const wrong = await put(rule('set/c'), rule('set/d', { on: [] }), rule('set/c'), rule('set/e', { for: 'soon' }));
  expect(wrong.status).toBe(400);
  expect(wrong.body.errors.map(({ pointer }) => pointer)).toEqual(['/items/1/on', '/items/2/name', '/items/3/for']);
  expect((await decision.call('GET', '/v1/rules/set/c')).status).toBe(404);
  expect((await put()).status).toBe(400);
  // The operators' mode outlives a new version here too, and a name that was deleted begins anew.
  await decision.call('PATCH', '/v1/rules/set/a', { mode: 'shadow', reason: 'watch' });
  await decision.call('DELETE', '/v1/rules/set/b');
  await put(rule('set/a', { version: '2.0.0' }), rule('set/b', { version: '1.1.0', title: 'B' }));
  expect((await decision.call('GET', '/v1/rules/set/a')).body).toMatchObject({
    version: '2.0.0',
    meta: { mode: 'shadow' },
  });
  expect((await decision.call('GET', '/v1/rules/set/b')).body).toMatchObject({
    version: '1.1.0',
    meta: { mode: 'active' },
  });
  const [event] = await decision.events({ type: 'set.b.seen', subject: 'host/dc1/r1/set' });
  const explained = await eventually(async () => {
    const answer = await decision.call('GET', `/v1/events/${event!.eventId}/explain`);
    expect(answer.body['rules']).toHaveLength(2);
    return answer.body['rules'];
  });
  expect(explained).toMatchObject([
    { rule: 'set/a', version: '2.0.0', verdict: 'no-match' },
    { rule: 'set/b', version: '1.1.0', verdict: 'decided' },
  ]);
});

/** Enough batches of events that each change of the rule falls between two of them. */
const EVENTS = 160;
const CHANGES = 8;

test('rules change while events arrive: every event is decided once, by the version that was live for it', async () => {
  await decision.putRule(rule('hot/rule'));
  const sent: EventMessage[] = [];
  let changing = true;
  const sending = (async () => {
    for (let i = 0; i < EVENTS || changing; i += 20) {
      const some = Array.from({ length: 20 }, (_, k) => ({ type: 'hot.rule.seen', subject: `host/hot/${i + k}` }));
      sent.push(...(await decision.events(...some)));
    }
  })();
  // Some are judged before the first change and some after the last one, however slow the bus is.
  await eventually(async () => {
    const [judged] = await decision.database.query(
      "SELECT 1 FROM decision.trace WHERE event->>'type' = 'hot.rule.seen'",
    );
    expect(judged).toBeDefined();
  });
  for (let minor = 1; minor <= CHANGES; minor += 1)
    await decision.putRule(rule('hot/rule', { version: `1.${minor}.0` }));
  changing = false;
  await sending;
  sent.push(...(await decision.events({ type: 'hot.rule.seen', subject: 'host/hot/last' })));
  await decision.settled();
  const rows = await decision.database.query<{
    event_id: string;
    verdicts: Record<string, RuleTrace>;
    live: string;
    versions: string[];
  }>(
    `SELECT t.event_id, t.verdicts, (SELECT x->>'version' FROM jsonb_array_elements(s.rules) x WHERE x->>'name' = 'hot/rule') AS live,
       ARRAY(SELECT d.rule_version FROM decision.decision d WHERE d.tenant = t.tenant AND d.event_id = t.event_id) AS versions
     FROM decision.trace t JOIN decision.ruleset s USING (tenant) WHERE s.id = t.ruleset AND t.event->>'type' = 'hot.rule.seen'`,
  );
  expect(new Set(rows.map((row) => row.event_id))).toEqual(new Set(sent.map((event) => event.eventId)));
  expect(rows).toHaveLength(sent.length);
  for (const { verdicts, live, versions } of rows) {
    expect(verdicts['hot/rule']).toMatchObject({ verdict: 'decided', version: live });
    expect(versions).toEqual([live]);
  }
  expect(new Set(rows.map((row) => row.live)).size).toBeGreaterThan(1);
});
