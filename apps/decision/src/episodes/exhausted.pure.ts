/** What people are told of an episode that has given up. */
import type { Notice } from '@opsloop/bus';
import type { World } from '../decide/world.pure.js';
import type { EpisodeRow } from '../store/model.js';

/** The subject is the resource, so that a rule that pages sees its labels and its tier. */
export function exhaustedNotice(world: World, { episode, tier, incident, event }: EpisodeRow): Notice {
  const { rule, ruleVersion, resource } = episode;
  // Whoever owns the rule answers for it; without one whoever owns the resource.
  const owner = world.ruleDoc(rule, ruleVersion)?.owner ?? world.resource(resource).owner;
  return {
    type: 'opsloop.episode.exhausted',
    subject: resource,
    key: episode.id,
    data: {
      ...{ episode: episode.id, rule, version: ruleVersion, resource, tier },
      reason: episode.reason ?? 'exhausted',
      attempts: episode.attempts,
      ...(owner === undefined ? {} : { owner }),
      ...(incident === undefined ? {} : { incident: incident.id }),
      ...(event.eventId === undefined ? {} : { cause: event.eventId }),
      next: `opsloop explain ${resource}`,
    },
  };
}
