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

/**
 * Rules that a resync asks about this resource at all. Not those that count events (a state is no event), and not those
 * whose targets are others than the subject: the state of a service says nothing about the goal of its members.
 */
export function caresFor({ mode, doc, ...rule }: LiveRule, resource: Resource): boolean {
  const { goal, atLeast, targets = { from: 'event' } } = doc;
  const ofSubject = 'from' in targets && targets.from === 'event';
  return (
    mode === 'active' &&
    goal !== undefined &&
    atLeast === undefined &&
    ofSubject &&
    looksAfter({ ...rule, mode, doc }, resource)
  );
}

/** How late an event may be decided after its window has closed: polls and bus together take well below a second. */
const EVENT_LAG_MS = 2_000;

/** A fresh change belongs to the event that reports it while that event may still wait in a window of the rule. */
function waitsInWindow(doc: RuleDocument, resource: Resource, now: number): boolean {
  if (doc.for === undefined && doc.group === undefined) return false;
  const windowMs = durationMs(doc.for ?? '0s') + durationMs(doc.group?.within ?? '0s');
  return now - lastChange(resource) < windowMs + EVENT_LAG_MS;
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
export function openFromState(world: World, rule: LiveRule, path: string, again: (episodeId: string) => boolean): void {
  const resource = world.resource(path);
  if (!caresFor(rule, resource) || resource.observedAt === undefined) return;
  if (waitsInWindow(rule.doc, resource, world.now)) return;
  if (!stateMatchesOn(rule, path, resource.state) || world.goalOfRule(rule, path) !== 'false') return;
  if (openStage(world, rule, [path], world.nowIso).targets.length === 0) return;
  let cause = stateCause(rule.name, resource);
  const aged = !(world.now - lastChange(resource) < CAUSE_AGE_MAX_MS);
  if (aged || again(messageId('episode', world.tenant, rule.name, rule.version, cause, path)))
    cause = `${cause}/${world.nowIso}`;
  const event = resyncEvent(world.tenant, rule.name, resource, world.nowIso);
  try {
    if (outsideRollout(world, rule, event) !== undefined) return;
    if (rule.doc.when !== undefined && whyFalse(rule.doc.when, world.scope(rule.doc, event, resource)) !== undefined)
      return;
    if (throttle(world, rule, event) === undefined) decideFor(world, rule, event, [path], cause);
  } catch {
    // A condition on the event cannot be asked without one; events of the rule show the error in their trace.
  }
}
