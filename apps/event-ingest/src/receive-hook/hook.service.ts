import { Inject, Injectable } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import type { AcceptedEvent, SourceDocument } from '@opsloop/contracts';
import { Clock, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { AcceptService } from '../accept/accept.service.js';
import { rawOf } from '../accept/accept.controller.js';
import { readMessage } from '../accept/cloud-event.pure.js';
import type { HttpMessage, IncomingRequest } from '../accept/cloud-event.pure.js';
import { INGEST_CONFIG } from '../config.js';
import type { EventIngestConfig } from '../config.js';
import { BuryService } from '../dead-letters/bury.service.js';
import { SenderLimits } from '../limit-senders/sender-limits.service.js';
import { sizeOf } from '../limit-senders/token-bucket.pure.js';
import { SourceService } from '../manage-sources/source.service.js';
import { SilenceService } from '../watch-silence/silence.service.js';
import { authenticate, routingKeyOf } from './authenticate.js';
import type { Proof } from './authenticate.js';
import { FORMATS, isHookType } from './formats/formats.js';
import { dedupKeyOf } from './formats/pagerduty-events.pure.js';
import type { Format } from './formats/format.js';
import { readDelivery } from './map-delivery.js';
import { trustedProxies } from './trusted-proxies.js';

/** What the HTTP server tells of a delivery besides its bytes. */
export interface HookRequest extends IncomingRequest {
  ip?: string;
  query?: unknown;
}

export interface HookAnswer {
  items: AcceptedEvent[];
  /** The delivery made no sense, and its sender must not be told so by a status: where it is kept. */
  deadLetter?: string;
}

/** Deliveries of senders that know nothing of us: authenticated and mapped by their source document. */
@Injectable()
export class HookService {
  private readonly isTrusted: (peer: string | undefined) => boolean;

  constructor(
    private readonly sources: SourceService,
    private readonly accepting: AcceptService,
    private readonly burying: BuryService,
    private readonly limits: SenderLimits,
    private readonly silence: SilenceService,
    private readonly clock: Clock,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
    @Inject(INGEST_CONFIG) ingest: EventIngestConfig,
  ) {
    this.isTrusted = trustedProxies(ingest.trustedProxies);
  }

  async receive(name: string, request: HookRequest): Promise<HookAnswer> {
    return (await this.take(await this.hookSource(name), request)).answer;
  }

  /** The Events API v2: the routing key says which source it is. */
  async enqueue(request: HookRequest): Promise<{ status: string; message: string; dedup_key: string }> {
    const key = routingKeyOf(readMessage(request).rawBody);
    const name = key === undefined ? undefined : await this.sources.nameOfRoutingKey(key);
    if (name === undefined)
      throw new OpsError(
        'authentication',
        'the routing_key is missing or belongs to no source of type pagerduty-events',
      );
    const { dedupKey } = await this.take(await this.hookSource(name), request);
    return { status: 'success', message: 'Event processed', dedup_key: dedupKey ?? '' };
  }

  /** The handshake of the CloudEvents webhook binding: may this origin deliver here, and how fast? */
  async handshake(name: string, origin: string | undefined, rate: string | undefined): Promise<Record<string, string>> {
    const source = await this.hookSource(name);
    if (source.type !== 'cloudevents')
      throw new OpsError(
        'method-not-allowed',
        `source "${name}" is of type ${source.type}; only cloudevents have a handshake`,
      );
    if (origin === undefined)
      throw new OpsError('validation', 'WebHook-Request-Origin is missing', {
        errors: [{ pointer: '/headers/webhook-request-origin', message: 'is missing' }],
      });
    if (source.origins !== undefined && !source.origins.includes(origin))
      throw new OpsError('authorization', `source "${name}" does not name this origin in "origins"`);
    const own = source.limit === undefined ? undefined : Math.max(1, Math.floor(source.limit.perSecond * 60));
    const asked = rate !== undefined && /^\d{1,9}$/.test(rate) ? Number(rate) : undefined;
    const allowed = own === undefined ? asked : Math.min(own, asked ?? own);
    return {
      allow: 'POST, OPTIONS',
      'webhook-allowed-origin': origin,
      // Deliveries per minute.
      'webhook-allowed-rate': allowed === undefined ? '*' : String(allowed),
    };
  }

  private async hookSource(name: string): Promise<SourceDocument> {
    const source = await this.sources.forDelivery(this.config.tenant, name);
    if (source === undefined || !isHookType(source.type)) {
      throw new OpsError('not-found', `no source "${name}" takes deliveries; create it with PUT /v1/sources/${name}`);
    }
    return source;
  }

  private async take(source: SourceDocument, request: HookRequest): Promise<{ answer: HookAnswer; dedupKey?: string }> {
    const { tenant } = this.config;
    const format = FORMATS[source.type as keyof typeof FORMATS];
    const message = readMessage(request);
    const now = this.clock.now();
    const proof = this.proofOf(source, format, message, request, now);
    this.silence.heard(source, now);
    try {
      const { items, delivery } = readDelivery(source, format, message, proof, now);
      if (source.limit !== undefined)
        this.limits.charge(`source "${source.name}"`, sizeOf(source.limit), items.length, format.busy);
      const accepted = await this.accepting.accept({ tenant, lane: source.name, items, raw: rawOf(message) });
      const dedupKey = source.type === 'pagerduty-events' ? dedupKeyOf(delivery) : undefined;
      return { answer: { items: accepted }, ...(dedupKey === undefined ? {} : { dedupKey }) };
    } catch (error) {
      const { deadLetter } = await this.burying.bury(source, message, proof, now, error);
      if (format.refusal === 202) return { answer: { items: [], ...(deadLetter === undefined ? {} : { deadLetter }) } };
      throw withExtension(error as OpsError, deadLetter);
    }
  }

  private proofOf(
    source: SourceDocument,
    format: Format,
    message: HttpMessage,
    request: HookRequest,
    now: Date,
  ): Proof {
    const accessToken = source.type === 'cloudevents' ? tokenOf(request.query) : undefined;
    const proof =
      source.auth === undefined
        ? undefined
        : authenticate(source.auth, message, {
            now,
            hmac: format.hmac,
            fromTrustedProxy: this.isTrusted(request.ip),
            accessToken,
          });
    if (proof !== undefined) return proof;
    throw new OpsError(
      'authentication',
      `the delivery does not pass the ${source.auth?.type ?? 'missing'} authentication of source "${source.name}"`,
    );
  }
}

function tokenOf(query: unknown): string | undefined {
  const token = (query as Record<string, unknown> | undefined)?.['access_token'];
  return typeof token === 'string' ? token : undefined;
}

function withExtension(error: OpsError, deadLetter: string | undefined): OpsError {
  if (deadLetter === undefined) return error;
  return new OpsError(error.code, error.detail, {
    ...error.options,
    extensions: { ...error.options.extensions, deadLetter },
  });
}
