/** What has to be loaded before these events can be judged. */
import type { EventMessage } from '@opsloop/contracts';
import { unknownResource } from '../resources/merge.pure.js';
import type { Configs, LoadRequest, Resource, WaitKind } from '../store/model.js';
import type { Aim } from './aim.pure.js';
import { budgetKeys } from './aim.pure.js';

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

function waitsOf({ event, rule, dedupeKey, groupKey }: Aim): { rule: string; kind: WaitKind; key: string }[] {
  const subject = event.subject ?? '';
  return [
    ...(rule.doc.for === undefined ? [] : [{ rule: rule.name, kind: 'for' as const, key: subject }]),
    ...(rule.doc.atLeast === undefined ? [] : [{ rule: rule.name, kind: 'atLeast' as const, key: subject }]),
    ...(dedupeKey === undefined ? [] : [{ rule: rule.name, kind: 'dedupe' as const, key: dedupeKey }]),
    ...(groupKey === undefined ? [] : [{ rule: rule.name, kind: 'group' as const, key: groupKey }]),
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
