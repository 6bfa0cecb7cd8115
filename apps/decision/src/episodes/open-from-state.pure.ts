/** Opens an episode from the last known state alone: the net under lost events, and the check after a run let go. */
import { messageId } from '@opsloop/contracts/ids';
import { decideFor, openStage } from '../decide/judge.pure.js';
import { looksAfter, stateMatchesOn } from '../decide/match.pure.js';
import { ruleScope, whyFalse } from '../decide/scope.pure.js';
import { resyncEvent } from '../decide/start.pure.js';
import type { World } from '../decide/world.pure.js';
import type { LiveRule, Resource } from '../store/model.js';

/** Rules that a resync asks about this resource at all. */
export function caresFor(rule: LiveRule, path: string): boolean {
  return rule.mode === 'active' && rule.doc.goal !== undefined && looksAfter(rule, path);
}

/** Cause of an episode without an event: the state that it was opened for. */
export function stateCause(rule: string, resource: Resource): string {
  const changed = Object.values(resource.stateAt).map((at) => Date.parse(at));
  const at = changed.length === 0 ? (resource.observedAt ?? '') : new Date(Math.max(...changed)).toISOString();
  return `${rule}/${resource.path}/${at}`;
}

/**
 * `again` tells whether an episode of this cause existed before: then the cause gets the present time, since the ids of
 * its starts are used up.
 */
export function openFromState(world: World, rule: LiveRule, path: string, again: (episodeId: string) => boolean): void {
  const resource = world.resource(path);
  if (!caresFor(rule, path) || resource.observedAt === undefined) return;
  if (!stateMatchesOn(rule, path, resource.state) || world.goalOfRule(rule, path) !== 'false') return;
  if (openStage(world, rule, [path]).targets.length === 0) return;
  let cause = stateCause(rule.name, resource);
  if (again(messageId('episode', world.tenant, rule.name, rule.version, cause, path)))
    cause = `${cause}/${world.nowIso}`;
  const event = resyncEvent(world.tenant, rule.name, resource, world.nowIso);
  try {
    if (rule.doc.when !== undefined && whyFalse(rule.doc.when, ruleScope(world.configs, event, resource)) !== undefined)
      return;
    decideFor(world, rule, event, [path], cause);
  } catch {
    // A condition on the event cannot be asked without one; events of the rule show the error in their trace.
  }
}
