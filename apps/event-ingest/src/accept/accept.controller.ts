import { Controller, HttpCode, Post, Req } from '@nestjs/common';
import { ApiBearerAuth, ApiOperation, ApiTags } from '@nestjs/swagger';
import { newId } from '@opsloop/contracts/ids';
import type { AcceptedEvent } from '@opsloop/contracts';
import { Clock, CurrentPrincipal } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { AcceptService } from './accept.service.js';
import { headerText, isBatch, parseCloudEvents, readMessage } from './cloud-event.pure.js';
import type { HttpMessage, IncomingRequest } from './cloud-event.pure.js';
import { acceptItem } from './message.pure.js';

@ApiTags('events')
@ApiBearerAuth()
@Controller('v1/events')
export class AcceptController {
  constructor(
    private readonly accepting: AcceptService,
    private readonly clock: Clock,
  ) {}

  @Post()
  @HttpCode(202)
  @ApiOperation({ summary: 'Send CloudEvents: binary, structured or batched; a batch is stored whole or not at all' })
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
