import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import type { FiringView, Json, Page, ScheduleState, Verdict } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, PageQuery, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { SchedulesService } from './schedules.service.js';

const ReasonBody = z.strictObject({ reason: z.string().min(1).max(500) });
const RunBody = z.strictObject({ reason: z.string().min(1).max(500), input: z.json().optional() });
/** More than a page of them tells nobody anything. */
const NextQuery = z.strictObject({ count: z.coerce.number().int().min(1).max(100).default(10) });

/** How schedules stand and what they did; the documents themselves are the catalog's. */
@ApiTags('schedules')
@ApiBearerAuth()
@Controller('v1/schedules')
export class SchedulesStateController {
  constructor(private readonly schedules: SchedulesService) {}

  @Get('state')
  @ApiRoute('How each schedule stands: when it fires next, what it did last, who paused it', { query: PageQuery })
  list(@Query() query: unknown, @CurrentPrincipal() { tenant }: Principal): Promise<Page<ScheduleState>> {
    return this.schedules.list(tenant, parseQuery(PageQuery, query));
  }

  @Get(':domain/:name/next')
  @ApiRoute('The next times at which it fires', { query: NextQuery })
  next(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Query() query: unknown,
    @CurrentPrincipal() { tenant }: Principal,
  ): Promise<{ items: string[] }> {
    return this.schedules.next(tenant, `${domain}/${name}`, parseQuery(NextQuery, query).count);
  }

  @Get(':domain/:name/firings')
  @ApiRoute('The times at which it fired, newest first, and what became of each', { query: PageQuery })
  firings(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Query() query: unknown,
    @CurrentPrincipal() { tenant }: Principal,
  ): Promise<Page<FiringView>> {
    return this.schedules.firings(tenant, `${domain}/${name}`, parseQuery(PageQuery, query));
  }

  @Post(':domain/:name/pause')
  @ApiRoute('Pause: nothing fires until it is resumed', { body: ReasonBody })
  @HttpCode(200)
  pause(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<ScheduleState> {
    return this.schedules.pause(principal, `${domain}/${name}`, parseBody(ReasonBody, body).reason);
  }

  @Post(':domain/:name/resume')
  @ApiRoute('Resume: it fires at its next time', { body: ReasonBody })
  @HttpCode(200)
  resume(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<ScheduleState> {
    return this.schedules.resume(principal, `${domain}/${name}`, parseBody(ReasonBody, body).reason);
  }

  @Post(':domain/:name/run')
  @ApiRoute('Start now what it would start at its time', { body: RunBody })
  @HttpCode(202)
  run(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ id: string; verdict: Verdict }> {
    const { reason, input } = parseBody(RunBody, body);
    return this.schedules.run(principal, `${domain}/${name}`, reason, input as Json | undefined);
  }
}
