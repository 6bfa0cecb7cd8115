/** A rule test as it is written (`dsl-schemas/ruletest.schema.json`), and its verdict. */
import type { Json, JsonObject } from '@opsloop/contracts';
import { memberDifferences, shown } from '../play/differences.pure.js';
import type { Mismatch } from '../play/expectations.pure.js';
import type { ScenarioEvent } from './scenario.js';
import { listLines } from './judge-scenario.pure.js';

export interface RuleTest {
  dsl: 'opsloop/v1';
  kind: 'ruletest';
  name: string;
  /** `name@range`. */
  rule: string;
  start?: { at?: string };
  resources?: JsonObject[];
  config?: Record<string, JsonObject>;
  events: (ScenarioEvent & { expect?: string | { verdict: string; stage?: string; because?: string } })[];
  /** Time that passes after the start; default: until the last event. */
  until?: string;
  expect?: { decisions?: (JsonObject | string)[] };
}

export interface RuleTestOutcome {
  verdicts: { verdict: string; stage: string; because?: string }[];
  decisions: JsonObject[];
}

export function judgeRuleTest(test: RuleTest, seen: RuleTestOutcome): Mismatch[] {
  const found: Mismatch[] = [];
  for (const [i, { expect, event }] of test.events.entries()) {
    if (expect === undefined) continue;
    const lines = verdictLines(expect, seen.verdicts[i]!);
    if (lines.length > 0) found.push({ of: `events/${i}`, message: `what the rule says of ${event.type}`, lines });
  }
  const wanted = test.expect?.decisions;
  const lines = wanted === undefined ? [] : listLines(wanted, seen.decisions);
  if (lines.length > 0) found.push({ of: 'decisions', message: 'the decisions differ', lines });
  return found;
}

function verdictLines(
  expect: NonNullable<RuleTest['events'][number]['expect']>,
  seen: RuleTestOutcome['verdicts'][number],
): string[] {
  const { because, ...exact } = typeof expect === 'string' ? { verdict: expect, because: undefined } : expect;
  const why = seen.because === undefined ? '' : ` (${seen.because})`;
  const lines = memberDifferences(exact as Json, seen as unknown as Json).map((line) => `${line}${why}`);
  if (because !== undefined && !(seen.because ?? '').includes(because))
    lines.push(`/because: expected a reason with ${shown(because)}, got ${shown(seen.because)}`);
  return lines;
}
