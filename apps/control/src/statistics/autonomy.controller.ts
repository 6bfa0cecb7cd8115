import { Body, Controller, Get, HttpCode, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { AutonomyService, type StatisticsView } from './autonomy.service.js';

const Name = z.string().min(1).max(200);
const StatisticsQuery = z.strictObject({ rule: Name.optional(), flow: Name.optional() });
const ResetBody = z.strictObject({ rule: Name, flow: Name.optional(), reason: z.string().min(1).max(500) });

/** What runs of rules brought, and how far each rule may act by itself. */
@ApiTags('rules')
@ApiBearerAuth()
@Controller('v1/autonomy')
export class AutonomyController {
  constructor(private readonly autonomy: AutonomyService) {}

  @Get()
  @ApiRoute('Per rule and flow: what its last runs brought, and whether it acts by itself, asks, or starts nothing', {
    query: StatisticsQuery,
  })
  async list(@Query() query: unknown, @CurrentPrincipal() { tenant }: Principal): Promise<{ items: StatisticsView[] }> {
    return { items: await this.autonomy.list(tenant, parseQuery(StatisticsQuery, query)) };
  }

  @Post('reset')
  @ApiRoute('Let a rule act by itself again, counted anew', { body: ResetBody })
  @HttpCode(200)
  reset(@Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<{ reset: number }> {
    const { rule, flow, reason } = parseBody(ResetBody, body);
    return this.autonomy.reset(principal, rule, flow, reason);
  }
}
