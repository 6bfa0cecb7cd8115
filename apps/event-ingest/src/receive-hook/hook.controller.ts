import { Controller, HttpCode, Param, Post, Req } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { AcceptedEvent } from '@opsloop/contracts';
import { AnyDocument, ApiRoute, Public } from '@opsloop/platform';
import { readMessage } from '../accept/cloud-event.pure.js';
import type { IncomingRequest } from '../accept/cloud-event.pure.js';
import { HookService } from './hook.service.js';

@ApiTags('events')
@Public()
@Controller('v1/hooks')
export class HookController {
  constructor(private readonly hooks: HookService) {}

  @Post(':source')
  @ApiRoute("Deliver to a source (Alertmanager, any JSON, CloudEvents); authenticated by the source's own auth", {
    body: AnyDocument,
    open: true,
  })
  @HttpCode(202)
  async receive(@Param('source') source: string, @Req() request: IncomingRequest): Promise<{ items: AcceptedEvent[] }> {
    return { items: await this.hooks.receive(source, readMessage(request)) };
  }
}
