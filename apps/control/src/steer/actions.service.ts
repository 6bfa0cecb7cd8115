import { Injectable } from '@nestjs/common';
import { OpsError, type Problem, type Tier } from '@opsloop/contracts';
import type { Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { OperateService } from '../runs/operate.service.js';
import { RetryService } from './retry.service.js';
import { SteerService } from './steer.service.js';

export const BULK_ACTIONS = ['pause', 'resume', 'cancel', 'terminate', 'retry', 'skip'] as const;
export type BulkAction = (typeof BULK_ACTIONS)[number];

export interface BulkFilter {
  ids?: string[] | undefined;
  flow?: string | undefined;
  rule?: string | undefined;
  tier?: Tier | undefined;
  under?: string | undefined;
  since?: string | undefined;
  status?: 'failed' | 'cancelled' | 'terminated' | undefined;
}

export interface BulkRequest {
  action: BulkAction;
  filter: BulkFilter;
  reason: string;
  /** Of a skip: the instance path of the step. Runs that have no such step ahead refuse. */
  path?: string | undefined;
  expectedCount?: number | undefined;
  dryRun: boolean;
}

export interface BulkAnswer {
  action: BulkAction;
  /** Runs that the filter names and the action applies to. */
  count: number;
  /** The first of them. */
  runs: { id: string; flow: string }[];
  dryRun: boolean;
  done?: string[];
  failed?: { id: string; problem: Problem }[];
}

/** More at once than a person can judge; a halt stops everything without a list. */
const RUNS_MAX = 500;
const SHOWN_MAX = 50;
/** Each is an update of a workflow or an admission of some 10 ms. */
const PARALLEL = 8;

/** What each action applies to. */
const APPLIES: Record<BulkAction, string> = {
  pause: `state = 'started' AND NOT paused`,
  resume: `state = 'started' AND paused`,
  cancel: `state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')`,
  terminate: `state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')`,
  skip: `state = 'started'`,
  retry: `state = 'closed' AND status <> 'succeeded' AND NOT EXISTS (SELECT 1 FROM control.admission r WHERE r.tenant = a.tenant AND r.retry_of = a.id)`,
};

/** One act on many runs: first looked at, then done with the number that was seen. */
@Injectable()
export class ActionsService {
  constructor(
    private readonly db: Database,
    private readonly steering: SteerService,
    private readonly retries: RetryService,
    private readonly operate: OperateService,
  ) {}

  async act(principal: Principal, request: BulkRequest): Promise<BulkAnswer> {
    const { action, dryRun, expectedCount } = request;
    const found = await this.find(principal.tenant, request);
    const answer: BulkAnswer = { action, count: found.length, runs: found.slice(0, SHOWN_MAX), dryRun };
    if ((action === 'skip') !== (request.path !== undefined))
      throw new OpsError('validation', action === 'skip' ? 'Say which step: path' : 'Only a skip has a path', {
        errors: [{ pointer: '/path', message: action === 'skip' ? 'is required for a skip' : 'is for a skip alone' }],
      });
    if (found.length > RUNS_MAX)
      throw new OpsError('validation', `The filter names more than ${RUNS_MAX} runs: narrow it, or make a halt`, {
        errors: [{ pointer: '/filter', message: `names more than ${RUNS_MAX} runs` }],
      });
    if (dryRun) return answer;
    if (expectedCount === undefined)
      throw new OpsError('validation', 'Look first: send dryRun, then the count that you saw as expectedCount', {
        errors: [{ pointer: '/expectedCount', message: 'is required unless dryRun is true' }],
      });
    if (expectedCount !== found.length)
      throw new OpsError('conflict', `The filter names ${found.length} runs now, not ${expectedCount}: look again`, {
        extensions: { count: found.length },
      });
    return { ...answer, ...(await this.each(principal, request, found)) };
  }

  private find(tenant: string, { action, filter: f }: BulkRequest): Promise<{ id: string; flow: string }[]> {
    return this.db.query(
      `SELECT a.id, a.flow FROM control.admission a WHERE tenant = $1 AND kind = 'run' AND ${APPLIES[action]}
        AND ($2::uuid[] IS NULL OR id = ANY($2)) AND ($3::text IS NULL OR flow = $3) AND ($4::text IS NULL OR rule = $4)
        AND ($5::text IS NULL OR tier = $5)
        AND ($6::text IS NULL OR EXISTS (SELECT 1 FROM unnest(targets) t WHERE t = $6 OR starts_with(t, $6 || '/')))
        AND ($7::timestamptz IS NULL OR created_at >= $7) AND ($8::text IS NULL OR status = $8)
        ORDER BY created_at, id LIMIT $9`,
      [
        tenant,
        f.ids ?? null,
        f.flow ?? null,
        f.rule ?? null,
        f.tier ?? null,
        f.under ?? null,
        f.since ?? null,
        f.status ?? null,
        RUNS_MAX + 1,
      ],
    );
  }

  private async each(
    principal: Principal,
    request: BulkRequest,
    found: readonly { id: string }[],
  ): Promise<Required<Pick<BulkAnswer, 'done' | 'failed'>>> {
    const done: string[] = [];
    const failed: { id: string; problem: Problem }[] = [];
    const queue = [...found];
    const worker = async (): Promise<void> => {
      for (let run = queue.shift(); run !== undefined; run = queue.shift()) {
        try {
          await this.one(principal, run.id, request);
          done.push(run.id);
        } catch (error) {
          const told = error instanceof OpsError ? error : new OpsError('internal', 'The act failed', { cause: error });
          failed.push({ id: run.id, problem: told.toProblem() });
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, queue.length) }, worker));
    return { done, failed };
  }

  private one(principal: Principal, id: string, { action, reason, path }: BulkRequest): Promise<unknown> {
    if (action === 'pause') return this.steering.steer(principal, id, { act: 'pause', scope: 'flow' }, reason);
    if (action === 'resume') return this.steering.steer(principal, id, { act: 'resume' }, reason);
    if (action === 'skip') return this.steering.steer(principal, id, { act: 'skip', path: path! }, reason);
    if (action === 'retry') return this.retries.retry(principal, id, { from: 'failed', reason });
    return this.operate[action](principal, id, reason);
  }
}
