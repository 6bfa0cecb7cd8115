/** The CloudEvent that a step emits. */
import { OpsError, type Json, type JsonObject } from '@opsloop/contracts';
import { emittedEventId } from '@opsloop/contracts/ids';
import type { EmitRequest } from '@opsloop/workflows';

/** Longest chain of events and runs that cause each other; beyond it is a circle. */
export const HOPS_MAX = 16;

/** Structured CloudEvents 1.0. Its id follows from the step key and the type: emitted again it is the same event. */
export function emittedEvent(request: EmitRequest): JsonObject {
  const { context, type, subject, data, correlationId } = request;
  const hops = request.hops + 1;
  if (hops > HOPS_MAX) {
    throw new OpsError(
      'policy',
      `this event would be number ${hops} of a chain in which events and runs cause each other; the limit is ${HOPS_MAX}`,
      {
        extensions: { correlationId },
      },
    );
  }
  return {
    specversion: '1.0',
    id: emittedEventId(context.key, type),
    source: `opsloop/run/${context.run}`,
    type,
    ...(subject === undefined ? {} : { subject }),
    datacontenttype: 'application/json',
    data: (data ?? null) as Json,
    correlationid: correlationId,
    // The run that emitted it: its timeline shows what came before.
    causationid: context.run,
    hops,
  };
}
