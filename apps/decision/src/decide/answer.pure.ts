/** What a stage of a rule says of an event. */
import type { Because, RuleVerdict } from '@opsloop/contracts';
import type { RuleTrace } from '../store/model.js';

export type Answer = Omit<RuleTrace, 'version'>;

export function no(verdict: RuleVerdict, stage: string, because?: Because): Answer {
  return { verdict, stage, ...(because === undefined ? {} : { because }) };
}
