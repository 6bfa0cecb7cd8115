import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import type { AcceptedEvent, EventMessage, EventView, Page, ReplayResult } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, parseBody, parseQuery, ServiceOnly } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { EventQuery } from './event-query.pure.js';
import { ReplayBody } from './replay-query.pure.js';
import { EventReader } from './event-reader.service.js';

const ReplayQuery = z.strictObject({ mode: z.enum(['shadow', 'active']).default('shadow') });
const GetBody = z.strictObject({ eventId: z.string() });

@ApiTags('events')
@ApiBearerAuth()
@Controller('v1/events')
export class EventsController {
  constructor(private readonly events: EventReader) {}

  @Get()
  @ApiRoute('List events, newest first; type, subject and source may hold *', { query: EventQuery })
  list(@Query() query: unknown, @CurrentPrincipal() principal: Principal): Promise<Page<EventView>> {
    return this.events.list(principal.tenant, parseQuery(EventQuery, query));
  }

  @Get(':eventId')
  @ApiRoute('One event')
  get(@Param('eventId') eventId: string, @CurrentPrincipal() principal: Principal): Promise<EventView> {
    return this.events.get(principal.tenant, eventId);
  }

  @Post('replay')
  @ApiRoute('Send all events that fit again, 500 a call; shadow unless mode is active; dryRun only counts', {
    body: ReplayBody,
  })
  @HttpCode(202)
  replayMany(@Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<ReplayResult> {
    return this.events.replayMany(principal.tenant, parseBody(ReplayBody, body));
  }

  @Post(':eventId/replay')
  @ApiRoute('Send a stored event again under a new id; shadow (decided, nothing started) unless ?mode=active', {
    query: ReplayQuery,
  })
  @HttpCode(202)
  async replay(
    @Param('eventId') eventId: string,
    @Query() query: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ items: AcceptedEvent[] }> {
    return { items: await this.events.replay(principal.tenant, eventId, parseQuery(ReplayQuery, query).mode) };
  }
}

@ServiceOnly()
@Controller('internal/events')
export class InternalEventsController {
  constructor(private readonly events: EventReader) {}

  @Post('get')
  @HttpCode(200)
  get(@Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<EventMessage> {
    return this.events.message(principal.tenant, parseBody(GetBody, body).eventId);
  }
}
