import type { IncidentView } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { reportOf, took } from './report.pure.js';

const incident: IncidentView = {
  id: 'i1',
  title: 'fleet/down on host/a',
  state: 'closed',
  outcome: 'converged',
  tier: 'P1',
  openedAt: '2026-01-01T10:00:02.000Z',
  closedAt: '2026-01-01T10:01:02.000Z',
  rules: ['fleet/down'],
  resources: ['host/a'],
  counts: { resources: 1, episodes: 1, open: 0, converged: 1, exhausted: 0, withdrawn: 0 },
  episodeList: [
    {
      ...{
        id: 'e1',
        rule: 'fleet/down',
        version: '1.0.0',
        resource: 'host/a',
        state: 'converged',
        branch: 'b',
        rung: 'r',
      },
      ...{
        attempts: 1,
        starts: 1,
        refusals: 0,
        eventId: 'v1',
        openedAt: '2026-01-01T10:00:02.000Z',
        changedAt: '2026-01-01T10:01:02.000Z',
        reason: 'goal met',
      },
    },
  ],
  decisions: [],
  story: [
    {
      at: '2026-01-01T10:00:00.000Z',
      kind: 'event',
      title: 'a.state about host/a | <b>*loud*</b>\n# not a heading',
      ref: 'v1',
    },
    { at: '2026-01-01T10:00:02.000Z', kind: 'decision', title: 'fleet/down b/r, P1: a/b@1 on host/a', ref: 'd1' },
    { at: '2026-01-01T10:00:03.000Z', kind: 'run', title: 'a/b started', ref: 'd1' },
    { at: '2026-01-01T10:00:30.000Z', kind: 'state', title: "host/a: state = 'up'", ref: 'host/a' },
  ],
};

describe('the report of an incident', () => {
  const run = {
    id: 'd1',
    flow: 'a/b',
    version: '1.0.0',
    status: 'succeeded',
    startedAt: '2026-01-01T10:00:03.000Z',
    endedAt: '2026-01-01T10:00:20.000Z',
  };
  const markdown = reportOf(incident, [
    {
      run: { ...run, acts: [{ at: '2026-01-01T10:00:10.000Z', act: 'pause', by: 'ann', reason: 'look' }] } as never,
      ended: true,
      timeline: [
        { at: '2026-01-01T10:00:04.000Z', kind: 'step', title: 'restart succeeded' },
        { at: '2026-01-01T10:00:00.000Z', kind: 'event', title: 'told already' },
      ],
    },
  ]);

  it('begins with how it ended, how long it took and who stepped in', () => {
    expect(markdown.split('\n').slice(0, 10)).toEqual([
      '# fleet/down on host/a',
      '',
      'It was healed: the goal was observed.',
      '',
      '- **Incident** i1, tier P1',
      '- **Opened** 2026-01-01T10:00:02.000Z, **closed** 2026-01-01T10:01:02.000Z (1m)',
      expect.stringContaining('- **First sign** 2026-01-01T10:00:00.000Z'),
      '- **First action** 2026-01-01T10:00:03.000Z, 3s after the first sign',
      '- **Extent** 1 resources, 1 episodes: 1 healed, 0 not healed, 0 withdrawn, 0 open',
      '- **Rules** fleet/down',
    ]);
    expect(markdown).toContain('- **People** ann');
  });

  it('tells one story in its order, nothing twice, and data stays data', () => {
    const story = markdown.split('\n').filter((line) => line.startsWith('- 2026'));
    expect(story.map((line) => line.slice(2, 26))).toEqual([...story.map((line) => line.slice(2, 26))].sort());
    expect(story.join('\n')).not.toContain('told already');
    expect(story.join('\n')).toContain('a/b: restart succeeded');
    expect(story[0]).toContain('\\| \\<b\\>\\*loud\\*\\</b\\> \\# not a heading');
  });

  it.each([
    ['2026-01-01T00:00:00Z', '2026-01-01T00:00:00.400Z', '0s'],
    ['2026-01-01T00:00:00Z', '2026-01-01T01:02:03Z', '1h 2m'],
    ['2026-01-01T00:00:00Z', '2026-01-03T00:00:05Z', '2d 5s'],
  ])('from %s to %s is %s', (from, until, text) => expect(took(from, until)).toBe(text));
});
