import { Inject, Injectable } from '@nestjs/common';
import { errorOfProblem, isProblem, OpsError } from '@opsloop/contracts';
import { PLATFORM_CONFIG, type PlatformConfig } from '@opsloop/platform';
import type { EmitRequest } from '@opsloop/workflows';
import { request } from 'undici';
import { emittedEvent } from './emitted-event.pure.js';

/** Accepting an event is one transaction; longer means that event-ingest is in trouble, and the step is retried. */
const SEND_TIMEOUT_MS = 5_000;

/** Hands the events of flows to event-ingest, through the same door as everybody else's. */
@Injectable()
export class EventSender {
  constructor(@Inject(PLATFORM_CONFIG) private readonly config: Pick<PlatformConfig, 'urls' | 'serviceToken'>) {}

  async send(emit: EmitRequest): Promise<void> {
    const url = new URL('/v1/events', this.config.urls.ingest);
    const { statusCode, body } = await request(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.config.serviceToken}`, 'content-type': 'application/cloudevents+json' },
      body: JSON.stringify(emittedEvent(emit)),
      signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
    }).catch((error: unknown) => {
      throw new OpsError(
        'unavailable',
        `event-ingest did not answer: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    });
    const text = await body.text();
    if (statusCode >= 200 && statusCode < 300) return;
    throw refusal(statusCode, text);
  }
}

function refusal(status: number, text: string): Error {
  try {
    const answer: unknown = JSON.parse(text);
    if (isProblem(answer)) return errorOfProblem(answer);
  } catch {
    // Not a problem document: something between us and event-ingest answered.
  }
  return new OpsError('unavailable', `event-ingest answered ${status} to an emitted event`);
}
