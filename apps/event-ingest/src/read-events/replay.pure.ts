import { digestOf } from '@opsloop/contracts';
import type { EventMessage } from '@opsloop/contracts';
import type { AcceptItem } from '../accept/message.pure.js';
import { stateOf, storedForm } from '../accept/message.pure.js';

/**
 * The same event once more, with an id of its own, since its old one would be absorbed as a repeat. A shadow replay
 * keeps the old time and reports no state: it must not overwrite what was observed since. An active one happens now.
 */
export function replayItem(
  original: EventMessage,
  context: { eventId: string; now: Date; mode: 'shadow' | 'active' },
): AcceptItem {
  const { state: _state, clockSkew: _clockSkew, ...kept } = original;
  const receivedAt = context.now.toISOString();
  const message: EventMessage = {
    ...kept,
    eventId: context.eventId,
    id: `replay-${context.eventId}`,
    receivedAt,
    time: context.mode === 'active' ? receivedAt : original.time,
    causationId: original.eventId,
    replayOf: original.eventId,
    replayMode: context.mode,
    ...(context.mode === 'active' ? stateOf(original.type, original.data, original.subject) : {}),
  };
  return {
    ...storedForm(message),
    digest: digestOf({ replayOf: original.eventId, at: receivedAt }),
    onRepeat: 'conflict',
  };
}
