import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { type AdmissionView, type Json, type Page, type Tier, TIERS } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, PageQuery, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { ADMISSION_STATES } from '../admit/admission-row.js';
import { ClaimBody } from '../lock/lock.controller.js';
import { LOCK_CLAIMS_MAX } from '../lock/lock.pure.js';
import { boundedMs, TTL_MAX_MS, TTL_MIN_MS } from '../lock/lock.service.js';
import { type AdmissionDetail, AdmissionsService } from './admissions.service.js';

const tier = z.enum(TIERS as [Tier, ...Tier[]]).default('P3');
const LockBody = z.strictObject({
  start: z.literal(false, {
    error: 'must be false here; start flows and atoms with POST /v1/catalog/{domain}/{name}/runs',
  }),
  claims: z.array(ClaimBody).min(1).max(LOCK_CLAIMS_MAX),
  owner: z.string().min(1).max(200),
  /** Work outside takes longer than a person's lock; an hour, so that a crash does not hold it for a day. */
  ttl: z.string().default('1h'),
  tier,
  validFor: z.string().optional(),
  heartbeat: z.string().optional(),
});
/** How long an answer may be kept back until there is something to say; below the minute after which proxies give up. */
const LONG_POLL_MAX_MS = 30_000;
/** Dead waiters are passed within 15 s where a script asks for it; five minutes for those that look now and then. */
const HEARTBEAT_MIN_MS = 5_000;
const HEARTBEAT_MAX_MS = 300_000;
const GetQuery = z.strictObject({ wait: z.string().default('0s') });
const ForecastBody = z.strictObject({
  flow: z.string().min(1).max(200),
  version: z.string().max(100).optional(),
  input: z.json().default({}),
  tier,
  coalesce: z.boolean().default(false),
});
const ListQuery = z.strictObject({ ...PageQuery.shape, state: z.enum(ADMISSION_STATES).optional() });

@ApiTags('admissions')
@ApiBearerAuth()
@Controller('v1/admissions')
export class AdmissionsController {
  constructor(private readonly admissions: AdmissionsService) {}

  @Post()
  @ApiRoute('Ask for a lock for work outside (start: false)', { body: LockBody })
  async lock(
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: { status(code: number): unknown },
  ): Promise<AdmissionDetail> {
    const { claims, owner, ttl, tier: t, validFor, heartbeat } = parseBody(LockBody, body);
    if (validFor !== undefined) boundedMs(validFor, '/validFor', 1_000, TTL_MAX_MS);
    const answer = await this.admissions.lock(principal, {
      claims,
      owner,
      ttlMs: boundedMs(ttl, '/ttl', TTL_MIN_MS, TTL_MAX_MS),
      tier: t,
      validFor,
      ...(heartbeat === undefined
        ? {}
        : { heartbeatMs: boundedMs(heartbeat, '/heartbeat', HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS) }),
    });
    reply.status(answer.status);
    return answer.body;
  }

  @Post('forecast')
  @ApiRoute('What admission would say to a start now', { body: ForecastBody })
  @HttpCode(200)
  forecast(@Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<AdmissionView> {
    const { flow, input, ...rest } = parseBody(ForecastBody, body);
    return this.admissions.forecast(principal, { name: flow, input: input as Json, ...rest });
  }

  @Get()
  @ApiRoute('Admissions, newest first', { query: ListQuery })
  list(@Query() query: unknown, @CurrentPrincipal() principal: Principal): Promise<Page<AdmissionDetail>> {
    return this.admissions.list(principal.tenant, parseQuery(ListQuery, query));
  }

  @Get(':id')
  @ApiRoute('An admission, its place in the queue and who is in its way; with wait as soon as it no longer waits', {
    query: GetQuery,
  })
  get(
    @Param('id') id: string,
    @Query() query: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<AdmissionDetail> {
    const { wait } = parseQuery(GetQuery, query);
    return this.admissions.await(principal.tenant, id, boundedMs(wait, '/wait', 0, LONG_POLL_MAX_MS));
  }

  @Delete(':id')
  @ApiRoute('Cancel while it waits; give a lock for work outside back')
  @HttpCode(204)
  remove(@Param('id') id: string, @CurrentPrincipal() principal: Principal): Promise<void> {
    return this.admissions.remove(principal, id);
  }
}
