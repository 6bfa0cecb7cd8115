import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { type Page, type RunView, TIERS, type TimelineEntry } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, IsoTime, PageQuery, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { ClaimBody, fenceOf, ReasonBody } from '../lock/lock.controller.js';
import { LOCK_CLAIMS_MAX } from '../lock/lock.pure.js';
import { boundedMs, TTL_DEFAULT, TTL_MAX_MS, TTL_MIN_MS } from '../lock/lock.service.js';
import { type AtomLockAnswer, AtomLocksService } from './atom-locks.service.js';
import { type ActAnswer, OperateService } from './operate.service.js';
import { RunReader } from './run-reader.service.js';

const RunsQuery = z.strictObject({
  ...PageQuery.shape,
  status: z
    .enum(['queued', 'running', 'paused', 'waiting', 'succeeded', 'failed', 'cancelled', 'terminated'])
    .optional(),
  flow: z.string().max(200).optional(),
  rule: z.string().max(200).optional(),
  tier: z.enum(TIERS as [string, ...string[]]).optional(),
  under: z.string().max(512).optional(),
  since: IsoTime.optional(),
});

const AtomLockBody = z.strictObject({
  step: z.string().min(1).max(2_000).describe('instance path of the step that the atom runs in'),
  attempt: z.int().min(1).max(1_000_000),
  claims: z.array(ClaimBody).min(1).max(LOCK_CLAIMS_MAX),
  ttl: z.string().default(TTL_DEFAULT),
});

@ApiTags('runs')
@ApiBearerAuth()
@Controller('v1/runs')
export class RunsController {
  constructor(
    private readonly reader: RunReader,
    private readonly operate: OperateService,
    private readonly locks: AtomLocksService,
  ) {}

  @Get()
  @ApiRoute('Runs, newest first', { query: RunsQuery })
  list(@Query() query: unknown, @CurrentPrincipal() principal: Principal): Promise<Page<RunView>> {
    return this.reader.list(principal.tenant, parseQuery(RunsQuery, query) as never);
  }

  @Get(':id')
  @ApiRoute('A run with its steps')
  get(@Param('id') id: string, @CurrentPrincipal() principal: Principal): Promise<RunView> {
    return this.reader.get(principal.tenant, id);
  }

  @Get(':id/timeline')
  @ApiRoute('Its story, from the first event to the last change of state')
  timeline(
    @Param('id') id: string,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ items: TimelineEntry[]; stale?: true }> {
    return this.reader.timeline(principal.tenant, id);
  }

  @Post(':id/locks')
  @ApiRoute('Take a lock for an atom of the run, by try: 409 with who has it. Renew it under /v1/locks', {
    body: AtomLockBody,
  })
  @HttpCode(201)
  lock(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<AtomLockAnswer> {
    const { ttl, ...request } = parseBody(AtomLockBody, body);
    return this.locks.take(principal, id, { ...request, ttlMs: boundedMs(ttl, '/ttl', TTL_MIN_MS, TTL_MAX_MS) });
  }

  @Delete(':id/locks/:fence')
  @ApiRoute('Give back a lock that an atom took; 204 also when it is gone')
  @HttpCode(204)
  unlock(
    @Param('id') id: string,
    @Param('fence') fence: string,
    @CurrentPrincipal() principal: Principal,
  ): Promise<void> {
    return this.locks.release(principal, id, fenceOf(fence));
  }

  @Post(':id/cancel')
  @ApiRoute('Cancel: compensation and finally run', { body: ReasonBody })
  @HttpCode(202)
  cancel(@Param('id') id: string, @Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<ActAnswer> {
    return this.operate.cancel(principal, id, parseBody(ReasonBody, body).reason);
  }

  @Post(':id/terminate')
  @ApiRoute('Terminate: nothing of it runs any more; says what stays undone', { body: ReasonBody })
  @HttpCode(200)
  terminate(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<ActAnswer> {
    return this.operate.terminate(principal, id, parseBody(ReasonBody, body).reason);
  }
}
