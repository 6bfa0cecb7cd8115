/** Opens an episode from the last known state alone: the net under lost events, and the check after a run let go. */
import { durationMs, type RuleDocument } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import { openStage } from '../decide/door.pure.js';
import { throttle } from '../decide/noise.pure.js';
import { decideFor, outsideRollout } from '../decide/judge.pure.js';
import { looksAfter, stateMatchesOn } from '../decide/match.pure.js';
import { whyFalse } from '../decide/scope.pure.js';
import { resyncEvent } from '../decide/start.pure.js';
import type { World } from '../decide/world.pure.js';
import type { LiveRule, Resource } from '../store/model.js';

/** What a rule acts on: the subject, its members, or paths that it names. */
export function aimsAt({ targets }: RuleDocument): 'event' | 'members' | 'paths' {
  if (targets === undefined) return 'event';
  return 'paths' in targets ? 'paths' : targets.from;
}

/** Rules that a resync asks about this subject at all. */
export function caresFor(rule: LiveRule, resource: Resource): boolean {
  return rule.mode === 'active' && rule.doc.goal !== undefined && looksAfter(rule, resource);
}

/** How late an event may be decided after its window has closed: polls and bus together take well below a second. */
const EVENT_LAG_MS = 2_000;

/** A fresh change belongs to the event that reports it while that event may still wait in a window of the rule. */
function waitsInWindow(doc: RuleDocument, resource: Resource, now: number): boolean {
  if (doc.for === undefined && doc.group === undefined) return false;
  const windowMs = durationMs(doc.for ?? '0s') + durationMs(doc.group?.within ?? '0s');
  return now - lastChange(resource) < windowMs + EVENT_LAG_MS;
}

/**
 * A state is no event that could be counted. What has stood for as long as the events would have had time to come is
 * as bad as that many of them.
 */
function hasStood({ atLeast }: RuleDocument, resource: Resource, now: number): boolean {
  return atLeast === undefined || now - lastChange(resource) >= durationMs(atLeast.within);
}

function lastChange(resource: Resource): number {
  return Math.max(...Object.values(resource.stateAt).map((at) => Date.parse(at)));
}

/** A state older than this may have opened an episode whose row is gone by age, while control still knows its start. */
const CAUSE_AGE_MAX_MS = 86_400_000;

/** Cause of an episode without an event: the state that it was opened for. */
export function stateCause(rule: string, resource: Resource): string {
  const changed = lastChange(resource);
  const at = Number.isFinite(changed) ? new Date(changed).toISOString() : (resource.observedAt ?? '');
  return `${rule}/${resource.path}/${at}`;
}

/**
 * `again` tells whether an episode of this cause existed before: then the cause gets the present time, since the ids of
 * its starts are used up. A cause of long ago gets it too.
 */
export function openFromState(
  world: World,
  rule: LiveRule,
  path: string,
  targets: readonly string[],
  again: (episodeId: string) => boolean,
): void {
  const resource = world.resource(path);
  if (!caresFor(rule, resource) || resource.observedAt === undefined) return;
  if (waitsInWindow(rule.doc, resource, world.now) || !hasStood(rule.doc, resource, world.now)) return;
  if (!stateMatchesOn(rule, path, resource.state)) return;
  const bad = targets.filter((target) => world.goalOfRule(rule, target) === 'false');
  const open = openStage(world, rule, bad, world.nowIso).targets;
  if (open.length === 0) return;
  let cause = stateCause(rule.name, resource);
  const aged = !(world.now - lastChange(resource) < CAUSE_AGE_MAX_MS);
  const used = (target: string): boolean =>
    again(messageId('episode', world.tenant, rule.name, rule.version, cause, target));
  if (aged || open.some(used)) cause = `${cause}/${world.nowIso}`;
  const event = resyncEvent(world.tenant, rule.name, resource, world.nowIso);
  try {
    if (outsideRollout(world, rule, event) !== undefined) return;
    if (rule.doc.when !== undefined && whyFalse(rule.doc.when, world.scope(rule.doc, event, resource)) !== undefined)
      return;
    if (throttle(world, rule, event) === undefined) decideFor(world, rule, event, open, cause);
  } catch {
    // A condition on the event cannot be asked without one; events of the rule show the error in their trace.
  }
}
