/** The events that say that a sender has fallen silent, or is heard again. */
import type { AcceptItem } from '../accept/message.pure.js';
import { acceptItem, storedForm } from '../accept/message.pure.js';

/** As CloudEvents source of everything that this app says itself. */
const OWN_SOURCE = 'opsloop/event-ingest';

export interface Silence {
  source: string;
  everyMs: number;
  /** Last delivery; never = since when it is expected. */
  since: Date;
  heard: boolean;
}

/** One per silence: the moment it was last heard is part of the id, so that two processes say the same. */
export function staleItem(silence: Silence, now: Date, eventId: string): AcceptItem {
  const { source, everyMs, since, heard } = silence;
  return item('stale', source, since, now, eventId, {
    source,
    expectEveryMs: everyMs,
    ...(heard ? { lastHeard: since.toISOString() } : { neverHeardSince: since.toISOString() }),
    silentMs: now.getTime() - since.getTime(),
  });
}

export function heardItem(source: string, staleSince: Date, heardAt: Date, now: Date, eventId: string): AcceptItem {
  return item('heard', source, heardAt, now, eventId, {
    source,
    staleSince: staleSince.toISOString(),
    lastHeard: heardAt.toISOString(),
  });
}

function item(
  what: 'stale' | 'heard',
  source: string,
  at: Date,
  now: Date,
  eventId: string,
  data: Record<string, string | number>,
): AcceptItem {
  const made = acceptItem(
    {
      id: `${what}/${source}/${at.toISOString()}`,
      source: OWN_SOURCE,
      type: `source.${what}`,
      subject: `source/${source}`,
      time: now.toISOString(),
      data,
      extensions: {},
    },
    { now, eventId, onRepeat: 'duplicate' },
  );
  // The source is a resource like any other: rules can have goals on it, and explain shows its state.
  return { ...made, ...storedForm({ ...made.message, state: { state: what } }) };
}
