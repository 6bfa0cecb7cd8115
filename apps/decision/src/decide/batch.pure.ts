/** One batch of events, in the order of the bus: each sees what the one before it changed. */
import type { EventMessage, JsonObject } from '@opsloop/contracts';
import type { RuleTrace } from '../store/model.js';
import type { Aim } from './aim.pure.js';
import { isShadowReplay, judge } from './judge.pure.js';
import { slotOf } from './sides.pure.js';
import type { World } from './world.pure.js';

export function decideEvents(
  world: World,
  events: readonly EventMessage[],
  aims: ReadonlyMap<EventMessage, Aim[]>,
): void {
  for (const event of events) decideEvent(world, event, aims.get(event) ?? []);
}

function decideEvent(world: World, event: EventMessage, aims: readonly Aim[]): void {
  const reports = event.state !== undefined && event.subject !== undefined && !isShadowReplay(event);
  const { late, changes } = reports
    ? world.observe(event.subject!, event.state!, event.time, event.eventId, event.type)
    : { late: false, changes: {} as JsonObject };
  const verdicts: Record<string, RuleTrace> = {};
  for (const one of aims) verdicts[slotOf(one.rule)] = judge(world, one, late);
  world.traces.push({
    eventId: event.eventId,
    ruleset: world.ruleset.id,
    ...(event.subject === undefined ? {} : { subject: event.subject }),
    event,
    notes: {
      ...(late ? { stale: true } : {}),
      ...(event.clockSkew ? { clockSkew: true } : {}),
      ...(Object.keys(changes).length > 0 ? { changes } : {}),
    },
    verdicts,
    at: world.nowIso,
  });
}
