import { Controller, HttpCode, Inject, Post, Req } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { newId } from '@opsloop/contracts/ids';
import type { AcceptedEvent } from '@opsloop/contracts';
import { ApiRoute, Clock, CurrentPrincipal, DirectRoutes } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { INGEST_CONFIG } from '../config.js';
import type { EventIngestConfig } from '../config.js';
import { SenderLimits } from '../limit-senders/sender-limits.service.js';
import { sizeOf } from '../limit-senders/token-bucket.pure.js';
import { AcceptService } from './accept.service.js';
import { headerText, isBatch, parseCloudEvents, readMessage } from './cloud-event.pure.js';
import type { HttpMessage, IncomingRequest } from './cloud-event.pure.js';
import { acceptItem } from './message.pure.js';

/** For the API pages; what is accepted is decided in `cloud-event.pure.ts`, which also knows the binary form. */
const EventBody = z.looseObject({
  specversion: z.literal('1.0'),
  id: z.string(),
  source: z.string(),
  type: z.string(),
  subject: z.string().optional(),
  time: z.iso.datetime({ offset: true }).optional(),
  data: z.json().optional(),
});

@ApiTags('events')
@ApiBearerAuth()
@Controller('v1/events')
export class AcceptController {
  constructor(
    private readonly accepting: AcceptService,
    private readonly limits: SenderLimits,
    private readonly clock: Clock,
    @Inject(INGEST_CONFIG) private readonly config: EventIngestConfig,
    direct: DirectRoutes,
  ) {
    direct.serve('POST', '/v1/events', { status: 202 }, (request, principal) => this.accept(request, principal!));
  }

  @Post()
  @ApiRoute('Send CloudEvents: binary, structured or batched; a batch is stored whole or not at all', {
    body: z.union([EventBody, z.array(EventBody)]),
  })
  @HttpCode(202)
  async accept(
    @Req() request: IncomingRequest,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ items: AcceptedEvent[] }> {
    const message = readMessage(request);
    const now = this.clock.now();
    const items = parseCloudEvents(message).map((event, index) =>
      acceptItem(event, { now, eventId: newId(), onRepeat: 'conflict', at: isBatch(message) ? `/${index}` : '' }),
    );
    const { tenant, name } = principal;
    const { tenantPerSecond: perSecond } = this.config;
    if (perSecond !== undefined) this.limits.charge(`tenant "${tenant}"`, sizeOf({ perSecond }), items.length, 429);
    return { items: await this.accepting.accept({ tenant, lane: `api/${name}`, items, raw: rawOf(message) }) };
  }
}

/** The body as it came, for the delivery row. */
export function rawOf(message: HttpMessage): { contentType: string; body: Buffer } {
  return { contentType: headerText(message.headers, 'content-type') ?? '', body: message.rawBody };
}
