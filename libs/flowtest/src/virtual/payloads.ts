import { type Payload, defaultPayloadConverter } from '@temporalio/common';
import type { Json } from '@opsloop/contracts';

export function toPayload(value: unknown): Payload {
  return defaultPayloadConverter.toPayload(value);
}

export function fromPayload(payload: Payload | null | undefined): Json | undefined {
  return payload === null || payload === undefined ? undefined : defaultPayloadConverter.fromPayload<Json>(payload);
}

export function fromPayloads(payloads: readonly Payload[] | null | undefined): (Json | undefined)[] {
  return (payloads ?? []).map((payload) => fromPayload(payload));
}
