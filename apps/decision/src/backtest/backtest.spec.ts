import type { BacktestView } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { startDecision } from '../decision-app.spec-kit.js';

let decision: DecisionApp;
beforeAll(async () => {
  decision = await startDecision();
});
afterAll(() => decision.close());

const rule = (more: object = {}): object => ({
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'back/load',
  version: '1.0.0',
  on: [{ type: 'back.load', subject: 'host/*' }],
  when: { '>=': [{ var: 'event.data.load' }, 8] },
  tier: [{ when: { '==': [{ var: 'resource.labels.service' }, 'pay'] }, tier: 'P0' }, { tier: 'P2' }],
  branches: [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/relieve@1', with: { host: '${resource.path}' } }] }],
  ...more,
});
const changed = rule({ version: '1.1.0', when: { '>=': [{ var: 'event.data.load' }, 7] }, tier: [{ tier: 'P1' }] });

async function backtest(body: object): Promise<BacktestView & { result: NonNullable<BacktestView['result']> }> {
  const begun = await decision.call('POST', '/v1/rules/backtest', body);
  expect(begun.status).toBe(202);
  return eventually(async () => {
    const { body: view } = await decision.call('GET', `/v1/rules/backtest/${String(begun.body['id'])}`);
    expect(view['problem']).toBeUndefined();
    expect(view).toMatchObject({ status: 'done' });
    return view as unknown as BacktestView & { result: NonNullable<BacktestView['result']> };
  });
}

/** Loads 0–9 in turn, a host for each event, so that nothing holds anything back. */
const EVENTS = 200;

test('an edited condition and tier: exactly what is gained and changed, the same bytes each time, and nothing starts', async () => {
  await decision.putRule(rule());
  await decision.call('PUT', '/v1/resources', [{ path: 'host/8', labels: { service: 'pay' } }]);
  const sent = await decision.events(
    ...Array.from({ length: EVENTS }, (_, i) => ({ type: 'back.load', subject: `host/${i}`, data: { load: i % 10 } })),
  );
  await decision.settled();
  const starts = (await decision.starts()).length;
  expect(starts).toBe(EVENTS / 5);

  const request = { rules: [changed], since: '1h', until: new Date().toISOString() };
  const { result, progress } = await backtest(request);
  expect(progress).toEqual({ done: EVENTS, total: EVENTS });
  expect(result).toMatchObject({
    events: EVENTS,
    cut: false,
    decisions: { before: EVENTS / 5, after: (EVENTS * 3) / 10 },
  });
  expect(new Set(result.gained.items.map((one) => one.eventId))).toEqual(
    new Set(sent.filter((_, i) => i % 10 === 7).map((event) => event.eventId)),
  );
  expect(result.gained).toMatchObject({ count: EVENTS / 10, byTier: { P1: EVENTS / 10 } });
  expect(result.lost).toEqual({ count: 0, byTier: {}, items: [] });
  expect(result.changed.count).toBe(EVENTS / 5);
  expect(result.changed.items.every(({ members }) => members.join() === 'tier')).toBe(true);
  expect(result.changed.items.find(({ after }) => after.targets[0] === 'host/8')?.before.tier).toBe('P0');
  expect(result.rules['back/load']).toEqual({
    before: { decided: EVENTS / 5, false: (EVENTS * 4) / 5 },
    after: { decided: (EVENTS * 3) / 10, false: (EVENTS * 7) / 10 },
  });

  const again = await backtest({ ...request, since: result.from });
  expect(JSON.stringify(again.result)).toBe(JSON.stringify(result));
  const gone = await backtest({ remove: ['back/load'], since: '1h', under: 'host/8' });
  expect(gone.result).toMatchObject({ events: 1, lost: { count: 1, byTier: { P0: 1 } }, gained: { count: 0 } });
  expect(await decision.starts()).toHaveLength(starts);
  expect(await decision.withdrawn()).toEqual([]);
});

test('windows and ladders are played in the time of the events', async () => {
  const slow = rule({
    name: 'back/slow',
    on: [{ type: 'back.state', subject: 'host/*', data: { state: 'down' } }],
    when: { '!=': [{ var: 'event.data.state' }, 'up'] },
    for: '30s',
    goal: { state: { '==': [{ var: 'resource.state.state' }, 'up'] } },
    branches: [{ id: 'default', ladder: [{ id: 'restart', run: 'fleet/restart@1', attempts: 2, within: '2m' }] }],
  });
  const at = Date.now() - 3_600_000;
  const state = (subject: string, second: number, value: string): object => {
    const time = new Date(at + second * 1_000).toISOString();
    const data = { state: value };
    return { type: 'back.state', subject, time, receivedAt: time, data, state: data };
  };
  await decision.events(state('host/slow/blip', 0, 'down'), state('host/slow/blip', 20, 'up'));
  await decision.settled();
  await decision.events(state('host/slow/stays', 20, 'down'), state('host/slow/stays', 220, 'up'));
  await decision.settled();
  const { result } = await backtest({ rules: [slow], since: '2h', under: 'host/slow' });
  // The blip clears in time; the other is restarted after 30 s, again 2 m later, and is up before its time is over.
  const mine = result.gained.items.filter((one) => one.rule === 'back/slow');
  expect(mine.map((one) => [one.targets, one.start, (Date.parse(one.at) - at) / 1_000])).toEqual([
    [['host/slow/stays'], 1, 50],
    [['host/slow/stays'], 2, 170],
  ]);
});

test('what cannot be compared is refused with its place', async () => {
  const since = '1h';
  for (const [body, pointer] of [
    [{ rules: [], since }, '/rules'],
    [{ rules: [rule({ on: [] })], since }, '/rules/0/on'],
    [{ remove: ['back/nobody'], since }, '/remove/0'],
    [{ rules: [rule()], since: 'soon' }, '/since'],
    [{ rules: [rule()], since: '1h', until: '2h' }, '/since'],
    [{ rules: [rule()], since, under: 'host//a' }, '/under'],
  ] as const) {
    const { status, body: problem } = await decision.call('POST', '/v1/rules/backtest', body);
    expect({ status, pointers: problem.errors.map((one) => one.pointer) }).toEqual({
      status: 400,
      pointers: [pointer],
    });
  }
  expect((await decision.call('GET', '/v1/rules/backtest/nothing')).status).toBe(404);
});
