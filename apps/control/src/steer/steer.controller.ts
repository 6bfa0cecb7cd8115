import { Body, Controller, Headers, HttpCode, Param, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { type Json, OpsError, TIERS } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, IsoTime, parseBody } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { RunReader } from '../runs/run-reader.service.js';
import { ActionsService, BULK_ACTIONS, type BulkAnswer, type BulkRequest } from './actions.service.js';
import { RetryService, type RetryView } from './retry.service.js';
import { SteerService, type SteerView } from './steer.service.js';

/** Ten step ids of 100 characters and as many item keys. */
const StepPath = z.string().min(1).max(2_000);
const Reason = z.string().min(1).max(500);
const PauseBody = z.strictObject({
  scope: z.enum(['flow', 'step', 'afterBatch']).default('flow'),
  path: StepPath.optional(),
  reason: Reason,
});
const ResumeBody = z.strictObject({ path: StepPath.optional(), reason: Reason });
const SkipBody = z.strictObject({ path: StepPath, output: z.json().optional(), reason: Reason });
const RetryBody = z.strictObject({
  from: StepPath.default('failed'),
  items: z.array(z.string().min(1).max(1_000)).min(1).max(1_000).optional(),
  reason: Reason,
});
/** Temporal refuses more than 2,000 pending activities; a forEach never has more than 500 items in flight. */
const ConcurrencyBody = z.strictObject({ path: StepPath, concurrency: z.int().min(1).max(500), reason: Reason });
const AbortBody = z.strictObject({ path: StepPath, item: z.string().min(1).max(1_000), reason: Reason });
const ActionsBody = z.strictObject({
  action: z.enum(BULK_ACTIONS),
  filter: z.strictObject({
    ids: z.array(z.uuid()).max(500).optional(),
    flow: z.string().max(200).optional(),
    rule: z.string().max(200).optional(),
    tier: z.enum(TIERS as [string, ...string[]]).optional(),
    under: z.string().max(512).optional(),
    since: IsoTime.optional(),
    status: z.enum(['failed', 'cancelled', 'terminated']).optional(),
  }),
  reason: Reason,
  path: StepPath.optional().describe('of a skip: the step'),
  expectedCount: z.int().min(0).optional(),
  dryRun: z.boolean().default(false),
});
const KEY = /^[\x20-\x7e]{1,200}$/;

interface Reply {
  status(code: number): unknown;
  header(name: string, value: string): unknown;
}

/** Steering of runs: every act has a reason, is idempotent and stands in the run's story. */
@ApiTags('runs')
@ApiBearerAuth()
@Controller('v1/runs')
export class SteerController {
  constructor(
    private readonly steering: SteerService,
    private readonly retries: RetryService,
    private readonly bulk: ActionsService,
    private readonly reader: RunReader,
  ) {}

  @Post('actions')
  @ApiRoute('Act on many runs: look with dryRun, then act with the count that was seen', { body: ActionsBody })
  @HttpCode(200)
  actions(@Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<BulkAnswer> {
    return this.bulk.act(principal, parseBody(ActionsBody, body) as BulkRequest);
  }

  @Post(':id/pause')
  @ApiRoute('Pause: at the next steps of the flow, before one step, or after the batch of a forEach', {
    body: PauseBody,
  })
  @HttpCode(200)
  pause(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Headers('idempotency-key') key?: string,
  ): Promise<SteerView> {
    const { reason, scope, path } = parseBody(PauseBody, body);
    return this.steering.steer(principal, id, { act: 'pause', scope, ...at(path) }, reason, checked(key));
  }

  @Post(':id/resume')
  @ApiRoute('Resume: lift all pauses of operators, or the one at a path', { body: ResumeBody })
  @HttpCode(200)
  resume(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Headers('idempotency-key') key?: string,
  ): Promise<SteerView> {
    const { reason, path } = parseBody(ResumeBody, body);
    return this.steering.steer(principal, id, { act: 'resume', ...at(path) }, reason, checked(key));
  }

  @Post(':id/skip')
  @ApiRoute('Skip a step: it counts as done with the output that is given here', { body: SkipBody })
  @HttpCode(200)
  skip(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Headers('idempotency-key') key?: string,
  ): Promise<SteerView> {
    const { reason, path, output } = parseBody(SkipBody, body);
    const act = { act: 'skip' as const, path, ...(output === undefined ? {} : { output: output as Json }) };
    return this.steering.steer(principal, id, act, reason, checked(key));
  }

  @Post(':id/set-concurrency')
  @ApiRoute('Set how many items of a running forEach are in flight', { body: ConcurrencyBody })
  @HttpCode(200)
  setConcurrency(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Headers('idempotency-key') key?: string,
  ): Promise<SteerView> {
    const { reason, path, concurrency } = parseBody(ConcurrencyBody, body);
    return this.steering.steer(principal, id, { act: 'setConcurrency', path, concurrency }, reason, checked(key));
  }

  @Post(':id/abort-item')
  @ApiRoute('Abort one item of a running forEach: it is undone and counts as failed', { body: AbortBody })
  @HttpCode(200)
  abortItem(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Headers('idempotency-key') key?: string,
  ): Promise<SteerView> {
    const { reason, path, item } = parseBody(AbortBody, body);
    return this.steering.steer(principal, id, { act: 'abortItem', path, item }, reason, checked(key));
  }

  @Post(':id/retry')
  @ApiRoute(
    'Retry: a closed run as a new one from where it failed; in a running one a step that waits for an operator',
    {
      body: RetryBody,
    },
  )
  async retry(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: Reply,
    @Headers('idempotency-key') key?: string,
  ): Promise<RetryView | SteerView> {
    const { reason, from, items } = parseBody(RetryBody, body);
    const { state } = await this.reader.row(principal.tenant, id);
    if (state === 'started' && from !== 'failed' && items === undefined) {
      reply.status(200);
      return this.steering.steer(principal, id, { act: 'retry', path: from }, reason, checked(key));
    }
    const request = { from, reason, ...(items === undefined ? {} : { items }) };
    const answer = await this.retries.retry(principal, id, request, checked(key));
    reply.status(202);
    reply.header('location', `/v1/runs/${answer.id}`);
    return answer;
  }
}

const at = (path: string | undefined): { path?: string } => (path === undefined ? {} : { path });

function checked(key: string | undefined): string | undefined {
  if (key === undefined || KEY.test(key)) return key;
  throw new OpsError('validation', 'The Idempotency-Key must be 1 to 200 printable characters', {
    errors: [{ pointer: '/headers/idempotency-key', message: 'must be 1 to 200 printable characters' }],
  });
}
