import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { OpsError } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { LOCK_CLAIMS_MAX } from './lock.pure.js';
import {
  boundedMs,
  LockService,
  LONG_POLL_MAX_MS,
  type LockView,
  TTL_DEFAULT,
  TTL_MAX_MS,
  TTL_MIN_MS,
  WAIT_MAX_MS,
} from './lock.service.js';

export const ClaimBody = z.strictObject({ path: z.string(), mode: z.enum(['shared', 'exclusive']) });
const LockBody = z.strictObject({
  claims: z.array(ClaimBody).min(1).max(LOCK_CLAIMS_MAX),
  owner: z.string().min(1).max(200),
  ttl: z.string().default(TTL_DEFAULT),
  wait: z.string().default('0s'),
  /** How long the answer may be kept back until there is a grant. */
  longPoll: z.string().default('0s'),
});
const RenewBody = z.strictObject({ ttl: z.string().default(TTL_DEFAULT) });
const AssertBody = z.strictObject({ paths: z.array(z.string()).min(1).max(LOCK_CLAIMS_MAX) });
/** An operator's reason: enough for a sentence and a ticket number. */
export const ReasonBody = z.strictObject({ reason: z.string().min(1).max(500) });
const LocksQuery = z.strictObject({ path: z.string().min(1).max(512).optional() });

/** What a route here needs of its reply. */
interface Reply {
  status(code: number): unknown;
  raw: { once(event: 'close', fn: () => void): unknown };
}

@ApiTags('locks')
@ApiBearerAuth()
@Controller('v1/locks')
export class LockController {
  constructor(private readonly locks: LockService) {}

  @Post()
  @ApiRoute(
    'Take a lock; with wait the answer 202 is a ticket, and the same request its heartbeat; longPoll keeps it back until there is a grant',
    { body: LockBody },
  )
  async acquire(
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<unknown> {
    const { claims, owner, ttl, wait, longPoll } = parseBody(LockBody, body);
    const request = {
      claims,
      owner,
      ttlMs: boundedMs(ttl, '/ttl', TTL_MIN_MS, TTL_MAX_MS),
      waitMs: boundedMs(wait, '/wait', 0, WAIT_MAX_MS),
      longPollMs: boundedMs(longPoll, '/longPoll', 0, LONG_POLL_MAX_MS),
    };
    const answer = await this.locks.acquire(principal, request, request.longPollMs === 0 ? undefined : goneOf(reply));
    reply.status(answer.status);
    return answer.body;
  }

  @Get()
  @ApiRoute('Locks on a path, above it and below it', { query: LocksQuery })
  list(@Query() query: unknown, @CurrentPrincipal() principal: Principal): Promise<{ items: LockView[] }> {
    return this.locks.list(principal.tenant, parseQuery(LocksQuery, query).path);
  }

  @Post(':fence/renew')
  @ApiRoute('Extend a lock that is still held', { body: RenewBody })
  @HttpCode(200)
  renew(
    @Param('fence') fence: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ fence: string; expiresAt: string }> {
    return this.locks.renew(
      principal,
      fenceOf(fence),
      boundedMs(parseBody(RenewBody, body ?? {}).ttl, '/ttl', TTL_MIN_MS, TTL_MAX_MS),
    );
  }

  @Post(':fence/assert')
  @ApiRoute('Is this fence current on these paths?', { body: AssertBody })
  @HttpCode(200)
  assert(
    @Param('fence') fence: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ fence: string; current: true }> {
    return this.locks.assert(principal.tenant, fenceOf(fence), parseBody(AssertBody, body).paths);
  }

  @Post(':fence/break')
  @ApiRoute('Free a lock by force, with a reason', { body: ReasonBody })
  @HttpCode(200)
  break(
    @Param('fence') fence: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<{ fence: string; paths: string[] }> {
    return this.locks.break(principal, fenceOf(fence), parseBody(ReasonBody, body).reason);
  }

  @Delete(':fence')
  @ApiRoute('Give a lock back; 204 also when it is gone')
  @HttpCode(204)
  release(@Param('fence') fence: string, @CurrentPrincipal() principal: Principal): Promise<void> {
    return this.locks.release(principal, fenceOf(fence));
  }
}

/** Aborted when the client hangs up before it has an answer. */
function goneOf(reply: Reply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return gone.signal;
}

/** Fences are decimal strings below 2^63; anything else was never given out. */
export function fenceOf(text: string): string {
  if (/^\d{1,18}$/.test(text)) return text;
  throw new OpsError('validation', 'A fence is a decimal number', {
    errors: [{ pointer: '/fence', message: 'is not a decimal number' }],
  });
}
