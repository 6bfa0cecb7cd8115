import type { RuleDocument } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { eventOf } from '../decision-app.spec-kit.js';
import { unknownResource } from '../resources/merge.pure.js';
import type { Resource } from '../store/model.js';
import type { Standing } from './recheck.pure.js';
import { needsLook, overall, REPORT_GRACE_MS, standing } from './recheck.pure.js';

const NOW = Date.parse('2026-01-01T12:00:00.000Z');
const ago = (ms: number): string => new Date(NOW - ms).toISOString();
const GOAL = { state: { '==': [{ var: 'resource.state.state' }, 'up'] } };
const RULE: RuleDocument = {
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'fleet/down',
  version: '1.0.0',
  on: [{ type: 'host.state', data: { state: 'down' } }],
  branches: [],
};
const host = (state: string | undefined, seenMs = 1_000, endedMs?: number): Resource => ({
  ...unknownResource('host/a'),
  ...(state === undefined ? {} : { state: { state }, observedAt: ago(seenMs) }),
  ...(endedMs === undefined ? {} : { lastRunEnd: ago(endedMs) }),
});
const event = eventOf({ type: 'host.state', subject: 'host/a' });

describe('does the cause still stand', () => {
  it.each<[string, Partial<RuleDocument>, Resource, Standing]>([
    ['goal missed', { goal: GOAL }, host('down'), 'stands'],
    ['goal met', { goal: GOAL }, host('up'), 'cleared'],
    ['nothing was ever reported', { goal: GOAL }, host(undefined), 'stands'],
    ['a run has just ended, no report since', { goal: GOAL }, host('down', 5_000, 1_000), 'unknown'],
    ['a run has ended, reported since', { goal: GOAL }, host('down', 1_000, 5_000), 'stands'],
    ['a run has ended long ago, silence since', { goal: GOAL }, host('down', 90_000, REPORT_GRACE_MS), 'stands'],
    [
      'observed too long ago',
      { goal: { ...GOAL, observe: { call: 'probe.http@1' } } },
      host('down', 61_000),
      'unknown',
    ],
    [
      'observed before the last run ended',
      { goal: { ...GOAL, observe: { call: 'probe.http@1' } } },
      host('up', 2_000, 1_000),
      'unknown',
    ],
    [
      'observed after it',
      { goal: { ...GOAL, observe: { call: 'probe.http@1' } } },
      host('up', 1_000, 2_000),
      'cleared',
    ],
    ['no goal, the state still matches', {}, host('down'), 'stands'],
    ['no goal, the state matches no more', {}, host('up'), 'cleared'],
    ['no goal, reported gone while the run was under way', {}, host('up', 5_000, 1_000), 'cleared'],
    ['no goal, a run has just ended', {}, host('down', 5_000, 1_000), 'unknown'],
    [
      'no goal, the condition is false today',
      { when: { '==': [{ var: 'resource.state.disk' }, 'ok'] } },
      host('down'),
      'cleared',
    ],
  ])('%s', (_name, rule, resource, expected) =>
    expect(standing({ ...RULE, ...rule }, event, resource, {}, NOW)).toBe(expected),
  );

  it('of an event that reports no state always stands', () => {
    expect(standing(RULE, eventOf({ type: 'alert', subject: 'host/a' }), host('up'), {}, NOW)).toBe('stands');
  });

  it('of a group asks every target for its own state, though one event stands for all', () => {
    const grouped = { ...RULE, group: { by: 'all', within: '2s' } };
    const other = { ...host('up'), path: 'host/b' };
    expect(standing(grouped, event, other, {}, NOW)).toBe('cleared');
    expect(standing(RULE, event, other, {}, NOW)).toBe('stands');
  });

  it('asks for a look only where the rule can look', () => {
    expect(needsLook({ ...RULE, goal: GOAL }, host('down', 90_000), NOW)).toBe(false);
    expect(
      needsLook({ ...RULE, goal: { ...GOAL, observe: { call: 'probe.http@1' } } }, host('down', 90_000), NOW),
    ).toBe(true);
    expect(needsLook({ ...RULE, goal: { ...GOAL, observe: { call: 'probe.http@1' } } }, host('down'), NOW)).toBe(false);
  });

  it.each<[Standing[], Standing]>([
    [['cleared', 'cleared'], 'cleared'],
    [['cleared', 'stands'], 'stands'],
    [['cleared', 'unknown'], 'unknown'],
    [[], 'stands'],
  ])('of several targets %j is %s', (verdicts, expected) => expect(overall(verdicts)).toBe(expected));
});
