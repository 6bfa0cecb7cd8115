import { Body, Controller, Get, HttpCode, Param, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiExcludeController, ApiTags } from '@nestjs/swagger';
import { type HaltScope, type HaltSnapshot, type HaltView, type HoldsView, TIERS } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, IsoTime, parseBody, ServiceOnly } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { type AllowAnswer, AllowService } from './allow.service.js';
import { type HaltHits, HaltService, PER_MINUTE_DEFAULT } from './halt.service.js';
import { HoldsService } from './holds.service.js';

/** Patterns of one halt: an operator names a handful; 100 keep the check of every start cheap. */
const patterns = z.array(z.string().min(1).max(512)).min(1).max(100).optional();
const HaltBody = z.strictObject({
  scope: z.strictObject({
    rules: patterns,
    flows: patterns,
    atoms: patterns,
    paths: patterns,
    tiers: z
      .array(z.enum(TIERS as [string, ...string[]]))
      .min(1)
      .optional(),
    domain: z.string().min(1).max(100).optional(),
  }),
  running: z.enum(['pause', 'cancel', 'leave']).default('pause'),
  reason: z.string().min(1).max(500),
  until: IsoTime.optional(),
  dryRun: z.boolean().optional(),
  secondPerson: z.boolean().optional(),
});
/** 6,000 a minute is as fast as Temporal starts runs on two cores. */
const LiftBody = z.strictObject({
  reason: z.string().min(1).max(500),
  perMinute: z.number().min(1).max(6_000).default(PER_MINUTE_DEFAULT),
});

const AllowBody = z.strictObject({ reason: z.string().min(1).max(500) });

@ApiTags('halts')
@ApiBearerAuth()
@Controller('v1/halts')
export class HaltsController {
  constructor(private readonly halts: HaltService) {}

  @Post()
  @ApiRoute('Stop everything in a scope; with dryRun only say what it would hit', { body: HaltBody })
  async make(
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: { status(code: number): unknown },
  ): Promise<{ id?: string; hits: HaltHits }> {
    const request = parseBody(HaltBody, body);
    const answer = await this.halts.make(principal, { ...request, scope: withoutUndefined(request.scope) });
    reply.status(request.dryRun === true ? 200 : 201);
    return answer;
  }

  @Get()
  @ApiRoute('Halts in force')
  list(@CurrentPrincipal() principal: Principal): Promise<{ items: HaltView[] }> {
    return this.halts.list(principal.tenant);
  }

  @Post(':id/lift')
  @ApiRoute('End a halt; held work is checked again and goes on at a bounded rate', { body: LiftBody })
  @HttpCode(200)
  lift(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ id: string; released: number }> {
    const { reason, perMinute } = parseBody(LiftBody, body);
    return this.halts.lift(principal, id, reason, perMinute);
  }
}

const withoutUndefined = (scope: Record<string, unknown>): HaltScope =>
  Object.fromEntries(Object.entries(scope).filter(([, v]) => v !== undefined)) as HaltScope;

@ApiTags('runs')
@ApiBearerAuth()
@Controller('v1/runs')
export class AllowController {
  constructor(private readonly allowing: AllowService) {}

  @Post(':id/allow')
  @ApiRoute('Let one run pass the halts that are in its way', { body: AllowBody })
  @HttpCode(200)
  allow(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<AllowAnswer> {
    return this.allowing.allow(principal, id, parseBody(AllowBody, body).reason);
  }
}

@ApiExcludeController()
@ServiceOnly()
@Controller('internal')
export class InternalHaltsController {
  constructor(
    private readonly halts: HaltService,
    private readonly holds: HoldsService,
  ) {}

  @Post('halts')
  @HttpCode(200)
  snapshot(): Promise<HaltSnapshot> {
    return this.halts.snapshot('default');
  }

  @Post('control/holds')
  @HttpCode(200)
  holdsOn(@Body() body: { path: string }): Promise<HoldsView> {
    return this.holds.on('default', body.path);
  }
}
