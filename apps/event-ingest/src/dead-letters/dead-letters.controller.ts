import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import type { AcceptedEvent, DeadLetterView, Page, RequeueResult } from '@opsloop/contracts';
import { ApiRoute, parseBody, parseQuery } from '@opsloop/platform';
import { DeadQuery, RequeueBody } from './dead-query.pure.js';
import { DeadLettersService } from './dead-letters.service.js';

@ApiTags('events')
@ApiBearerAuth()
@Controller('v1/dead-letters')
export class DeadLettersController {
  constructor(private readonly dead: DeadLettersService) {}

  @Get()
  @ApiRoute(
    'Deliveries that no event could be made of (kind=delivery), or events that an app could not handle (kind=handler)',
    {
      query: DeadQuery,
    },
  )
  list(@Query() query: unknown): Promise<Page<DeadLetterView>> {
    return this.dead.list(parseQuery(DeadQuery, query));
  }

  @Get(':id')
  @ApiRoute('One of them, with what was sent')
  get(@Param('id') id: string): Promise<DeadLetterView> {
    return this.dead.get(id);
  }

  @Post('requeue')
  @ApiRoute('Send all that fit on again, up to 100 a call', { body: RequeueBody })
  @HttpCode(200)
  requeueAll(@Body() body: unknown): Promise<RequeueResult> {
    const { limit, ...filter } = parseBody(RequeueBody, body);
    return this.dead.requeueAll(filter, limit);
  }

  @Post(':id/requeue')
  @ApiRoute('Send one on again, through its source as it is now')
  @HttpCode(202)
  async requeue(@Param('id') id: string): Promise<{ items: AcceptedEvent[] }> {
    return { items: await this.dead.requeue(id) };
  }

  @Delete(':id')
  @ApiRoute('Delete one')
  @HttpCode(204)
  remove(@Param('id') id: string): Promise<void> {
    return this.dead.remove(id);
  }
}
