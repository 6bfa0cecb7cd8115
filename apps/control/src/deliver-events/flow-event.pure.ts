import type { EventMessage, FlowEvent } from '@opsloop/contracts';

/**
 * A signal carries at most 2 MB, and a run keeps what it has not waited for yet: 64 KB is what the CloudEvents
 * specification asks every consumer to take.
 */
export const EVENT_DATA_CHARS_MAX = 64 * 1024;

/** What a flow sees of an event; undefined for one that may start nothing, so that no run goes on by it either. */
export function flowEventOf(message: EventMessage): FlowEvent | undefined {
  if (message.replayOf !== undefined && message.replayMode !== 'active') return undefined;
  const { eventId, id, source, type, subject, time, data } = message;
  const large = JSON.stringify(data ?? null).length > EVENT_DATA_CHARS_MAX;
  return {
    eventId,
    id,
    source,
    type,
    ...(subject === undefined ? {} : { subject }),
    time,
    data: large ? null : (data ?? null),
    ...(large ? { dataOmitted: true as const } : {}),
  };
}

/** Events of one signal: at most so many, and so much text. At least one. */
export function signalBatch<T extends { body: FlowEvent }>(deliveries: readonly T[], chars: number): T[] {
  let left = chars;
  const batch: T[] = [];
  for (const delivery of deliveries) {
    left -= JSON.stringify(delivery.body).length;
    if (batch.length > 0 && left < 0) break;
    batch.push(delivery);
  }
  return batch;
}
