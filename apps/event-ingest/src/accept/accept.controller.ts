import { Controller, HttpCode, Post, Req } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { newId } from '@opsloop/contracts/ids';
import type { AcceptedEvent } from '@opsloop/contracts';
import { ApiRoute, Clock, CurrentPrincipal } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
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
    private readonly clock: Clock,
  ) {}

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
    return { items: await this.accepting.accept({ tenant: principal.tenant, items, raw: rawOf(message) }) };
  }
}

/** The body as it came, for the delivery row. */
export function rawOf(message: HttpMessage): { contentType: string; body: Buffer } {
  return { contentType: headerText(message.headers, 'content-type') ?? '', body: message.rawBody };
}
