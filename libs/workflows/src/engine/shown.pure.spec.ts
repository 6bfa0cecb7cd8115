import type { StepRecord } from '@opsloop/contracts';
import { expect, it } from 'vitest';
import { progressMarkdown, stepFrames } from './shown.pure.js';

const at = '2026-11-21T10:00:00.000Z';
const record = (path: string, more: Partial<StepRecord> = {}): StepRecord => ({
  ...{ path, id: path, verb: 'call', status: 'running', attempts: 1, startedAt: at },
  ...more,
});
const context = { run: 'r-1', flow: 'a/b', version: '1.0.0', tier: 'P1' as const, targets: ['host/x'] };
const records = [
  record('each[m]/go', { atom: 'fleet.restart@1.2.0', title: 'Restart m', attempts: 2 }),
  record('each', { verb: 'forEach' }),
  record('done', { status: 'failed', endedAt: at }),
];
const notes = new Map([['each', 'batch 1 of 2']]);

it('names the run and the steps that are under way, with what is known of them', () => {
  expect(progressMarkdown({ context, phase: 'running', notes, records }).split('\n')).toEqual([
    '**a/b@1.0.0** is running, P1',
    '',
    'Run `r-1` on host/x. 1 steps have ended, 1 of them failed.',
    '',
    `- \`each\`: forEach, running since ${at} — batch 1 of 2`,
    `- \`each[m]/go\` Restart m: call fleet.restart@1.2.0, running since ${at}, attempt 2`,
  ]);
  expect(stepFrames({ records, notes })).toEqual([
    `each: forEach, running since ${at}\n    batch 1 of 2`,
    `each[m]/go: call fleet.restart@1.2.0, running since ${at}, attempt 2\n    Restart m`,
  ]);
  expect(stepFrames({ records: [], notes })).toEqual(['no step is under way']);
});

it('stays a page, however much is under way', () => {
  const many = Array.from({ length: 500 }, (_, i) => record(`each[${i}]`, { title: 'x'.repeat(100) }));
  const said = {
    context: { ...context, rule: 'a/r', dryRun: true },
    phase: 'running',
    notes: new Map([['', 'a note']]),
  };
  const text = progressMarkdown({ ...said, records: many });
  expect(text).toContain('(dry run), P1, started by the rule a/r');
  expect(text).toContain('\na note\n');
  expect(text.length).toBeLessThanOrEqual(5_000);
  expect(stepFrames({ records: many, notes }).at(-1)).toBe('and 470 more');
});
