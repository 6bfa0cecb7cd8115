/** What becomes of a `for` or `group` window, or of a debt, whose time has come. */
import { unknownResource } from '../resources/merge.pure.js';
import type { Configs, LiveRule, Resource, RuleTrace, WaitDoc, WaitKind } from '../store/model.js';
import type { Aim } from './aim.pure.js';
import { aim } from './aim.pure.js';
import { eventIdsOf, groupId, judgeAfterFor, judgeDebt, judgeGroup } from './judge.pure.js';
import { slotOf } from './sides.pure.js';
import type { World } from './world.pure.js';

export interface DueWait {
  rule: string;
  kind: WaitKind;
  key: string;
  doc: WaitDoc;
}

export interface WindowWork {
  wait: DueWait;
  rule: LiveRule | undefined;
  aim: Aim | undefined;
  /** Of a debt: the event that took back what the first one said. */
  clearedBy?: string | undefined;
}

export function aimOf(
  rule: LiveRule,
  { kind, key, doc }: DueWait,
  configs: Configs,
  seen: Map<string, Resource>,
  members: Map<string, string[]>,
): Aim {
  const one = aim({
    event: doc.events[0]!,
    rule,
    configs,
    resource: (path) => seen.get(path) ?? unknownResource(path),
    members: (path) => members.get(path) ?? [],
  });
  // What was left alone was one target, whatever the event was about.
  if (kind === 'debt') return { ...one, targets: [key] };
  return kind === 'group' ? { ...one, targets: doc.targets ?? one.targets } : one;
}

/** Under the locks: decides what is still due; a window of a rule that is gone just ends. */
export function endWindow(world: World, { wait, rule, aim: one, clearedBy }: WindowWork): void {
  const present = world.wait(wait.rule, wait.kind, wait.key);
  if (present?.dueAt === undefined || Date.parse(present.dueAt) > world.now) return;
  world.endWait(wait.rule, wait.kind, wait.key);
  if (rule === undefined || one === undefined) return;
  const first = present.doc.events[0]!;
  const verdict: RuleTrace =
    wait.kind === 'for'
      ? judgeAfterFor(world, one)
      : wait.kind === 'debt'
        ? judgeDebt(world, one, wait.key, clearedBy)
        : judgeGroup(world, one, present.doc.targets ?? [], groupId(world.tenant, rule.name, wait.key, first));
  for (const eventId of eventIdsOf(present.doc))
    world.traceUpdates.push({ eventId, verdicts: { [slotOf(rule)]: verdict } });
}
