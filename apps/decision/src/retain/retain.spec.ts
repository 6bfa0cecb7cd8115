import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { runsOf, startDecision } from '../decision-app.spec-kit.js';
import { RetainService } from './retain.service.js';
import { longestBudgetMs } from './retain.pure.js';

const RULE = {
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'fleet/down',
  version: '1.0.0',
  owner: 'team-fleet',
  on: [{ type: 'fleet.service.state', subject: 'host/*', data: { state: 'down' } }],
  branches: [{ id: 'default', ladder: [{ id: 'restart', run: 'fleet/restart@1' }] }],
  budget: [{ runs: 100, within: '60d' }],
};
const TABLES = ['trace', 'decision', 'state_change', 'run', 'episode', 'resource', 'ruleset', 'budget_use'];

let decision: DecisionApp;
beforeAll(async () => void (decision = await startDecision()));
afterAll(() => decision.close());

const counts = async (): Promise<Record<string, number>> =>
  Object.fromEntries(
    await Promise.all(
      TABLES.map(async (table) => {
        const [row] = await decision.database.query<{ n: string }>(`SELECT count(*) n FROM decision.${table}`);
        return [table, Number(row!.n)];
      }),
    ),
  );

/** Moves everything that happened so far into the past. */
const ageBy = (days: number): Promise<unknown> =>
  decision.database.query(`
    UPDATE decision.trace SET at = at - interval '${days} days'; UPDATE decision.decision SET at = at - interval '${days} days';
    UPDATE decision.state_change SET at = at - interval '${days} days'; UPDATE decision.run SET closed_at = closed_at - interval '${days} days';
    UPDATE decision.episode SET opened_at = opened_at - interval '${days} days'; UPDATE decision.ruleset SET at = at - interval '${days} days';
    UPDATE decision.resource SET observed_at = observed_at - interval '${days} days'; UPDATE decision.budget_use SET at = at - interval '${days} days';`);

it('deletes what is older than its time and keeps what is still needed, in bounded batches', async () => {
  await decision.putRule(RULE);
  await decision.call('PUT', '/v1/resources/host/dc1/r1/declared', { labels: {}, state: { state: 'up' } });
  await decision.events(...['a', 'b', 'c'].map((name) => ({ subject: `host/dc1/r1/${name}` })));
  await decision.settled();
  // Two have ended, one is still open.
  const [first, second] = await decision.starts();
  for (const start of [first!, second!])
    await decision.runs(
      runsOf(start, { kind: 'verdict', verdict: 'admitted' }),
      runsOf(start, { kind: 'started' }),
      runsOf(start, { kind: 'closed', status: 'succeeded' }),
    );
  await decision.settled();
  const { trace, episode, resource, run, ruleset } = await counts();
  expect({ trace, episode, resource, run, ruleset }).toEqual({
    trace: 3,
    episode: 3,
    resource: 4,
    run: 2,
    ruleset: expect.any(Number),
  });

  const retain = decision.app.get(RetainService);
  await ageBy(29);
  expect(await retain.sweep()).toBe(0);
  await ageBy(2);
  expect(await retain.sweep(1)).toBe(1);
  while ((await retain.sweep(1)) > 0);
  expect(await counts()).toEqual({
    trace: 0,
    decision: 0,
    state_change: 0,
    run: 0,
    // The open one, with its resource, and the declared one.
    episode: 1,
    resource: 2,
    // The rules that judge now.
    ruleset: 1,
    // A budget over 60 days still counts them.
    budget_use: 3,
  });
});

it('reads budgets back as far as the longest of them', () => {
  expect(longestBudgetMs([])).toBe(0);
  expect(longestBudgetMs([RULE as never])).toBe(60 * 86_400_000);
});
