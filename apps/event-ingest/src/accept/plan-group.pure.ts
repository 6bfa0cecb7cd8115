/** Decides, for a group of requests that share one transaction, what is new, what is a repeat and what conflicts. */
import { OpsError } from '@opsloop/contracts';
import type { AcceptedEvent } from '@opsloop/contracts';
import type { AcceptItem } from './message.pure.js';

export interface AcceptRequest {
  tenant: string;
  /** Who sends: senders that wait take turns. Absent: our own, such as polls. */
  lane?: string;
  items: AcceptItem[];
  /** The body as it came, kept beside the events that it brought; a poll or replay has none. */
  raw?: { contentType: string; body: Buffer };
}

/** What is stored under a (source, id). */
export interface KnownEvent {
  eventId: string;
  digest: string;
}

export interface GroupPlan {
  outcomes: ({ accepted: AcceptedEvent[] } | { error: OpsError })[];
  /** Events to insert, in request order, with the index of their request. */
  inserts: { item: AcceptItem; request: number }[];
}

/** Separator that a source or id cannot hold: control characters are refused. */
export const eventKey = (source: string, id: string): string => `${source}\u0000${id}`;

/** Requests are taken in order; each is accepted whole or refused whole. */
export function planGroup(requests: readonly AcceptRequest[], stored: ReadonlyMap<string, KnownEvent>): GroupPlan {
  const known = new Map(stored);
  const plan: GroupPlan = { outcomes: [], inserts: [] };
  requests.forEach((request, index) => {
    const added = new Map<string, KnownEvent>();
    const inserts: GroupPlan['inserts'] = [];
    const accepted: AcceptedEvent[] = [];
    for (const [at, item] of request.items.entries()) {
      const { source, id, eventId } = item.message;
      const key = eventKey(source, id);
      const earlier = added.get(key) ?? known.get(key);
      if (earlier !== undefined && earlier.digest !== item.digest && item.onRepeat === 'conflict') {
        plan.outcomes.push({ error: conflict(at, item, earlier.eventId) });
        return;
      }
      if (earlier === undefined) {
        added.set(key, { eventId, digest: item.digest });
        inserts.push({ item, request: index });
      }
      accepted.push({ id, source, eventId: earlier?.eventId ?? eventId, duplicate: earlier !== undefined });
    }
    for (const [key, value] of added) known.set(key, value);
    plan.inserts.push(...inserts);
    plan.outcomes.push({ accepted });
  });
  return plan;
}

function conflict(at: number, item: AcceptItem, eventId: string): OpsError {
  const { source, id } = item.message;
  return new OpsError(
    'event-conflict',
    `event ${at}: source "${source}" has sent id "${id}" before with other content, as ${eventId}; use a new id for a new event. Nothing was stored`,
    {
      errors: [{ pointer: `/${at}`, message: `its (source, id) is taken by ${eventId}` }],
      extensions: { index: at, eventId },
    },
  );
}
