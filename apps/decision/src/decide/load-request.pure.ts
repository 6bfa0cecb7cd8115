/** What has to be loaded before these events can be judged. */
import type { EventMessage, RuleDocument } from '@opsloop/contracts';
import { unknownResource } from '../resources/merge.pure.js';
import type { Configs, LoadRequest, Resource, WaitKind } from '../store/model.js';
import type { Aim } from './aim.pure.js';
import { budgetKeys } from './aim.pure.js';
import { INCIDENT_RULE } from './noise.pure.js';
import { slotOf } from './sides.pure.js';

/** Everything that judging these events by these rules can touch. */
export function loadRequestOf(
  events: readonly EventMessage[],
  all: readonly Aim[],
  configs: Configs,
  seen: Map<string, Resource>,
): LoadRequest {
  return {
    paths: [
      ...events.flatMap((e) => (e.subject === undefined ? [] : [e.subject])),
      ...all.flatMap((one) => one.targets),
    ],
    waits: all.flatMap(waitsOf),
    budgets: uniqueBudgets(all, configs, seen),
  };
}

/** The subject as it was before the locks: what facts are counted by comes from labels, which observations do not change. */
export function subjectIn(seen: Map<string, Resource>, event: EventMessage): Resource | undefined {
  return event.subject === undefined ? undefined : (seen.get(event.subject) ?? unknownResource(event.subject));
}

const NO_WAITS: readonly never[] = [];

/** Whether the rule has any window at all; most have none. */
function remembers({ for: span, atLeast, dedupe, throttle, incident, flapping, group }: RuleDocument): boolean {
  return [span, atLeast, dedupe, throttle, incident, flapping, group].some((one) => one !== undefined);
}

export function waitsOf({
  event,
  rule,
  targets,
  dedupeKey,
  throttleKey,
  incidentKey,
  groupKey,
}: Aim): readonly { rule: string; kind: WaitKind; key: string }[] {
  if (!remembers(rule.doc)) return NO_WAITS;
  const subject = event.subject ?? '';
  return [
    ...(rule.doc.for === undefined ? [] : [{ rule: slotOf(rule), kind: 'for' as const, key: subject }]),
    ...(rule.doc.atLeast === undefined ? [] : [{ rule: slotOf(rule), kind: 'atLeast' as const, key: subject }]),
    ...(dedupeKey === undefined ? [] : [{ rule: slotOf(rule), kind: 'dedupe' as const, key: dedupeKey }]),
    ...(throttleKey === undefined ? [] : [{ rule: slotOf(rule), kind: 'throttle' as const, key: throttleKey }]),
    ...(incidentKey === undefined ? [] : [{ rule: INCIDENT_RULE, kind: 'incident' as const, key: incidentKey }]),
    ...(rule.doc.flapping === undefined
      ? []
      : [...new Set([subject, ...targets])].map((key) => ({ rule: slotOf(rule), kind: 'flap' as const, key }))),
    ...(groupKey === undefined ? [] : [{ rule: slotOf(rule), kind: 'group' as const, key: groupKey }]),
  ];
}

function uniqueBudgets(aims: readonly Aim[], configs: Configs, seen: Map<string, Resource>): LoadRequest['budgets'] {
  const keys = new Map<string, LoadRequest['budgets'][number]>();
  for (const { rule, event, targets } of aims) {
    if (rule.doc.budget === undefined) continue;
    for (const path of targets) {
      try {
        for (const key of budgetKeys(rule.doc, event, seen.get(path) ?? unknownResource(path), configs)) {
          keys.set(JSON.stringify([key.rule, key.slot, key.key]), { ...key, doc: rule.doc });
        }
      } catch {
        // The same slot is rendered again when the rule is judged, and its verdict says what is wrong.
      }
    }
  }
  return [...keys.values()];
}
