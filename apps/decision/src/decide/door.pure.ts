/** The door of an episode: whether anything may open for a target now, whoever asks. */
import type { EventMessage } from '@opsloop/contracts';
import { maintenanceText } from '../maintenance/maintenance.pure.js';
import type { LiveRule } from '../store/model.js';
import type { Answer } from './answer.pure.js';
import { no } from './answer.pure.js';
import { flappingOf } from './noise.pure.js';
import type { World } from './world.pure.js';

/**
 * Drops the targets for which nothing may open; the first reason stands for all when none is left. With `owing` a
 * target that is left alone only for a time is looked at again when that time is over.
 */
export function openStage(
  world: World,
  rule: LiveRule,
  targets: readonly string[],
  /** ISO: when what caused this was seen; a run that took its lock later did not cause it. */
  seenAt: string,
  owing?: EventMessage,
): { targets: string[]; answer?: Answer } {
  const left: string[] = [];
  let answer: Answer | undefined;
  for (const path of targets) {
    const reason = notOpen(world, rule, path, seenAt) ?? notNow(world, rule, path, owing);
    if (reason === undefined) left.push(path);
    else answer ??= reason;
  }
  return { targets: left, ...(answer === undefined ? {} : { answer }) };
}

function notOpen(world: World, rule: LiveRule, path: string, seenAt: string): Answer | undefined {
  const open = world.openEpisode(rule.name, path);
  if (open !== undefined)
    return no('episode-open', 'episode', { text: `episode ${open.episode.id} of ${path} is ${open.episode.state}` });
  const { retired } = world.resource(path);
  if (retired !== undefined)
    return no('no-match', 'targets', {
      text: `${path} is retired${retired.replacedBy === undefined ? '' : `, ${retired.replacedBy} stands in its place`}`,
    });
  const hold = world.holdOn(path);
  if (hold !== undefined && Date.parse(hold.since) <= Date.parse(seenAt))
    return no('own-effect', 'episode', { text: `run ${hold.runId} holds ${hold.path} exclusively` });
  const linked = world.linkedHold(path);
  if (linked !== undefined)
    return no('own-effect', 'episode', {
      text: `${path} ${linked.how} ${linked.hold.path}, which run ${linked.hold.runId} holds exclusively`,
    });
  if (world.goalOfRule(rule, path) === 'true')
    return no('goal-met', 'goal', { text: `the goal of ${path} is already met` });
  const blocked = world.blocked(rule.name, path);
  if (blocked === undefined) return undefined;
  const until = new Date(blocked.episode.blockedUntil!).toISOString();
  return no('cooldown', 'episode', {
    text: `episode ${blocked.episode.id} of ${path} is exhausted; nothing opens before ${until}`,
  });
}

/** Left alone for a time, with the debt of one look at its end. */
function notNow(world: World, rule: LiveRule, path: string, owing: EventMessage | undefined): Answer | undefined {
  const owe = (until: number): void => {
    if (owing !== undefined && rule.mode === 'active') world.owe(rule, path, owing, until);
  };
  const maintenance = world.maintenanceOver(rule.name, path);
  if (maintenance !== undefined) {
    owe(maintenance.until);
    return no('maintenance', 'maintenance', { text: maintenanceText(maintenance) });
  }
  const flapping = flappingOf(world, rule, path);
  if (flapping === undefined) return undefined;
  owe(flapping.until);
  return no('cooldown', 'flapping', {
    text: `${path} turned ${flapping.turns} times within ${rule.doc.flapping!.within}; looked at again when it has stood still`,
    expected: rule.doc.flapping!.changes,
    actual: flapping.turns,
  });
}
