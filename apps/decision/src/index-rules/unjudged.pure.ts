/** The verdict of a rule that was live and no candidate: it is not stored, since it follows from the event alone. */
import { outerMismatch, onMismatch } from '../decide/match.pure.js';
import { errorText } from '../decide/aim.pure.js';
import { HOPS_MAX } from '../decide/judge.pure.js';
import { ruleScope, whyFalse } from '../decide/scope.pure.js';
import type { LiveRule, RuleTrace, TraceRow } from '../store/model.js';
import { leadingEqualities } from './rule-keys.pure.js';

/** The same words that judging would have left, stage by stage. */
export function unjudged(rule: LiveRule, { event, notes }: Pick<TraceRow, 'event' | 'notes'>): RuleTrace {
  const { version } = rule;
  const late = (notes as { stale?: boolean }).stale === true && rule.doc.stale !== true;
  if (late && rule.doc.on.some((entry) => outerMismatch(entry, event) === undefined))
    return {
      version,
      verdict: 'stale',
      stage: 'on',
      because: { text: 'a newer observation of the same keys is known' },
    };
  const mismatch = onMismatch(rule, event);
  if (mismatch !== undefined) return { version, verdict: 'no-match', stage: 'on', because: mismatch };
  if (event.hops >= HOPS_MAX)
    return {
      version,
      verdict: 'hop-limit',
      stage: 'on',
      because: {
        text: `event.hops < ${HOPS_MAX} was ${event.hops}`,
        path: 'event.hops',
        expected: HOPS_MAX,
        actual: event.hops,
      },
    };
  try {
    const because = whyFalse({ and: leadingEqualities(rule.doc.when) }, ruleScope({}, event, undefined));
    return { version, verdict: 'false', stage: 'when', ...(because === undefined ? {} : { because }) };
  } catch (error) {
    return { version, verdict: 'error', stage: 'evaluate', because: { text: errorText(error) } };
  }
}
