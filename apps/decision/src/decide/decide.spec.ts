import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DecisionApp } from '../decision-app.spec-kit.js';
import { startDecision } from '../decision-app.spec-kit.js';

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

describe('an event', () => {
  beforeAll(() => decision.putRule(RULE));

  it('that matches becomes a start, its state the state of the resource', async () => {
    const [event] = await decision.events({});
    await decision.settled();
    const [start, ...more] = await decision.starts();
    expect(more).toEqual([]);
    expect(start).toMatchObject({
      tenant: 'default',
      ref: 'fleet/restart-service@1',
      input: { host: 'host/dc1/r1/a' },
      targets: ['host/dc1/r1/a'],
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
    const resource = await decision.call('GET', '/v1/resources/host/dc1/r1/a');
    expect(resource.body).toMatchObject({ path: 'host/dc1/r1/a', kind: 'host', state: { state: 'down' } });
  });
});
