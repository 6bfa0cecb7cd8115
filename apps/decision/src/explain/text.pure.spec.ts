import type { HoldsView } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { eventOf } from '../decision-app.spec-kit.js';
import type { Episode } from '../episodes/machine.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import type { EpisodeRow } from '../store/model.js';
import type { ResourceStory } from './text.pure.js';
import { resourceText, undecidedText } from './text.pure.js';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const DAY_MS = 86_400_000;
const NOBODY: HoldsView = { locks: [], waiting: [], halts: [], maintenance: [] };

function lines(change: Partial<ResourceStory>, ...episodes: Partial<Episode>[]): string[] {
  const rows = episodes.map((one) => ({
    episode: {
      rule: 'fleet/down',
      state: 'pending',
      plan: { goal: true, ladder: [{ id: 'restart', attempts: 2, withinMs: 60_000 }] },
      rung: 0,
      rungAttempts: 0,
      openedAt: NOW - 1_000,
      ...one,
    },
  })) as unknown as EpisodeRow[];
  const story = { resource: unknownResource('host/a'), episodes: rows, holds: NOBODY, goals: {}, now: NOW, ...change };
  return resourceText(story).split('\n');
}

describe('a resource', () => {
  it('is always told in six lines', () => expect(lines({})).toHaveLength(6));

  it('says that nobody knows of queue and halts while control does not answer', () => {
    const text = lines({ controlSilent: true });
    expect(text[3]).toBe('waiting: unknown, control does not answer');
    expect(text[4]).toBe('halts: unknown, control does not answer; without it nothing starts');
  });

  it('promises no start during maintenance', () => {
    const until = '2026-03-01T13:00:00Z';
    const maintenance = [
      { id: 'm', scope: {}, running: 'pause' as const, reason: 'rack', by: 'ann', since: until, until },
    ];
    expect(lines({ holds: { ...NOBODY, maintenance } }, {})[5]).toBe(
      `next: nothing starts before the maintenance ends, ${until}`,
    );
  });

  it.each<[string, Partial<Episode>[], string]>([
    ['its own start', [{}], 'next: restart starts when control admits it'],
    ['the run of another', [{ startId: 'r-1', following: true }], 'next: waits for run r-1, which does the same work'],
    [
      'several rules',
      [{}, { rule: 'fleet/slow', state: 'steady', due: NOW + 5_000 }],
      'next: fleet/down: restart starts when control admits it; fleet/slow: in 5s it has converged, if it stays so',
    ],
  ])('waits for %s', (_name, episodes, next) => expect(lines({}, ...episodes)[5]).toBe(next));
});

describe('an event without a trace', () => {
  it.each<[string, number, string]>([
    ['on its way', 5_000, 'x.state is stored and will be decided in a moment'],
    [
      'left behind',
      300_000,
      'x.state is stored since 5m and was not decided: decision is behind or could not handle it; see bus lag and dead messages in /metrics',
    ],
    ['of long ago', 31 * DAY_MS, 'x.state was decided 31d ago; how is kept for 30d only'],
  ])('%s', (_name, ago, text) => {
    const event = eventOf({ type: 'x.state', receivedAt: new Date(NOW - ago).toISOString() });
    expect(undecidedText(event, NOW, 30 * DAY_MS)).toBe(text);
  });
});
