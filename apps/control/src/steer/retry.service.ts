import { Injectable } from '@nestjs/common';
import {
  type AdmissionView,
  type CompiledFlow,
  type JsonObject,
  OpsError,
  type RunStatus,
  type StartRequest,
  type StepRecord,
  type TimelineEntry,
} from '@opsloop/contracts';
import { newId, runIdOfKey } from '@opsloop/contracts/ids';
import { Clock, type Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { flowAt, retryState } from '@opsloop/workflows';
import { type AdmissionRow, WAITING_STATES } from '../admit/admission-row.js';
import { AdmitService } from '../admit/admit.service.js';
import { RunReader } from '../runs/run-reader.service.js';
import { workflowOf } from '../start/start.pure.js';
import { JOURNAL_DAYS, JournalRepository, type RetryStart } from './journal.repository.js';
import { SteerClient } from './steer-client.service.js';

export interface RetryRequest {
  from: string;
  items?: string[];
  reason: string;
}

export interface RetryView {
  /** The new run. */
  id: string;
  status: RunStatus;
  admission: AdmissionView;
  retryOf: string;
}

/** Sub-flows whose own journals are fetched, so that they too go on where they failed; more run again as a whole. */
const CHILDREN_MAX = 50;
/** Depth of sub-flows in sub-flows; flows themselves are refused at compile time when they recur. */
const DEPTH_MAX = 8;

/** Starts a closed run again where it failed, or from a step on: a new run, through admission like all work. */
@Injectable()
export class RetryService {
  constructor(
    private readonly db: Database,
    private readonly reader: RunReader,
    private readonly admission: AdmitService,
    private readonly journals: JournalRepository,
    private readonly client: SteerClient,
    private readonly clock: Clock,
  ) {}

  async retry(principal: Principal, id: string, request: RetryRequest, key?: string): Promise<RetryView> {
    const row = await this.reader.row(principal.tenant, id);
    this.check(row, request);
    const under = await this.underWay(principal.tenant, id);
    if (under !== undefined) return this.view(principal.tenant, under, id);
    const start = await this.prepare(row, request);
    const newRun =
      key === undefined
        ? newId()
        : runIdOfKey(principal.tenant, `${principal.kind}:${principal.name}`, `retry ${id}`, key);
    const admitted = await this.admit(principal, row, newRun, start, request);
    return this.view(principal.tenant, admitted, id);
  }

  private check(row: AdmissionRow, { from, items }: RetryRequest): void {
    if (row.state === 'started' || row.state === 'admitted')
      throw new OpsError(
        'conflict',
        `The run ${row.id} has not ended. A step that waits for an operator is retried by its path; else cancel the run first`,
      );
    if (WAITING_STATES.includes(row.state)) throw new OpsError('conflict', `The run ${row.id} has not begun`);
    if (row.state !== 'closed' || row.kind !== 'run')
      throw new OpsError('conflict', `The run ${row.id} never ran (${row.state}): start it anew`);
    if (row.status === 'succeeded' && from === 'failed' && items === undefined)
      throw new OpsError('conflict', `The run ${row.id} succeeded: there is nothing that failed`);
  }

  /** A retry that is alive is the retry: asking twice starts once. */
  private async underWay(tenant: string, id: string): Promise<string | undefined> {
    const [row] = await this.db.query<{ id: string }>(
      `SELECT id FROM control.admission WHERE tenant = $1 AND retry_of = $2
        AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')`,
      [tenant, id],
    );
    return row?.id;
  }

  private async prepare(row: AdmissionRow, request: RetryRequest): Promise<RetryStart> {
    const state = (await this.journals.end(row.tenant, row.id)) ?? (await this.client.journal(row.workflow_id!));
    if (state === undefined || row.status === 'succeeded')
      throw new OpsError(
        'conflict',
        row.status === 'succeeded'
          ? `The run ${row.id} succeeded, and such runs keep no journal: start it anew`
          : `The journal of the run ${row.id} is not available: it is kept ${JOURNAL_DAYS} days and up to 1 MB. Start the flow anew`,
      );
    const ir = await this.irOf(row);
    const carried = retryState(ir, state, request);
    const flows = await this.flowsOf(row.workflow_id!, ir, state, '', DEPTH_MAX);
    const before = await this.journals.start(row.tenant, row.id);
    return {
      carried: Object.keys(flows).length === 0 ? carried : { ...carried, flows },
      epoch: (before?.epoch ?? 0) + 1,
    };
  }

  /** What the failed sub-flows knew; those that cannot be asked run again as a whole. */
  private async flowsOf(
    workflowId: string,
    ir: CompiledFlow,
    state: JsonObject,
    parent: string,
    depth: number,
  ): Promise<Record<string, JsonObject>> {
    const failed = ((state['records'] ?? []) as unknown as StepRecord[])
      .filter((s) => s.verb === 'run' && s.workflowId !== undefined && s.workflowId !== workflowId)
      .filter((s) => s.status !== 'succeeded' && s.status !== 'skipped')
      .slice(0, CHILDREN_MAX);
    const flows: Record<string, JsonObject> = {};
    for (const record of depth > 0 ? failed : []) {
      const inner = flowAt(ir, parent === '' ? record.path : record.path.slice(parent.length + 1));
      const known = inner === undefined ? undefined : await this.client.journal(record.workflowId!);
      if (inner === undefined || known === undefined) continue;
      const below = await this.flowsOf(record.workflowId!, inner, known, record.path, depth - 1);
      const carried = retryState(inner, known, { from: 'failed' });
      flows[record.path] = Object.keys(below).length === 0 ? carried : { ...carried, flows: below };
    }
    return flows;
  }

  private async irOf(row: AdmissionRow): Promise<CompiledFlow> {
    const [found] = await this.db.query<{ body: CompiledFlow }>(
      'SELECT body FROM control.ir WHERE tenant = $1 AND digest = $2',
      [row.tenant, row.ir_digest],
    );
    if (found === undefined) throw new OpsError('internal', `the compiled flow ${row.ir_digest ?? ''} is gone`);
    return workflowOf(row, found.body).ir;
  }

  /** The same version of the flow; its atoms are resolved anew in their ranges, so that a fixed atom is the one that runs. */
  private async admit(
    principal: Principal,
    row: AdmissionRow,
    id: string,
    start: RetryStart,
    { from, items, reason }: RetryRequest,
  ): Promise<string> {
    const { cause: _cause, causationId: _causation, ...old } = row.request;
    const request: StartRequest = {
      ...old,
      id,
      ref: row.version === null ? old.ref : `${old.ref.split('@', 1)[0]!}@${row.version}`,
      tier: row.tier,
      initiator: { kind: principal.kind, name: principal.name },
      coalesce: false,
      retryOf: row.id,
      at: this.clock.now().toISOString(),
    };
    const prepared = await this.admission.prepare({ request, kind: 'run', dryRun: row.dry_run });
    if (prepared.refused !== undefined) throw new OpsError('conflict', `It cannot start again: ${prepared.refused}`);
    const what = from === 'failed' ? '' : ` from ${from}`;
    const which = items === undefined ? '' : ` (items ${items.slice(0, 10).join(', ')})`;
    return this.db.inTransaction(principal.tenant, async (tx) => {
      // Two people who retry at once start one run.
      await tx.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`retry ${row.id}`]);
      const [other] = await tx.query<{ id: string }>(
        `SELECT id FROM control.admission WHERE tenant = $1 AND retry_of = $2
          AND (id = $3 OR state IN ('queued', 'held', 'needs-approval', 'admitted', 'started'))`,
        [tx.tenant, row.id, id],
      );
      if (other !== undefined) return other.id;
      await this.journals.keepStart(tx, id, start);
      const [result] = await this.admission.admit(tx, [prepared]);
      if (result!.verdict === 'rejected')
        throw new OpsError('admission-rejected', result!.reason ?? 'A policy rejected it', {
          extensions: { policies: result!.consulted.filter((c) => c.said === 'reject') },
        });
      await tx.query('UPDATE control.admission SET retry_of = $3 WHERE tenant = $1 AND id = $2', [
        tx.tenant,
        id,
        row.id,
      ]);
      const at = this.clock.now().toISOString();
      const act = {
        at,
        act: 'retry',
        by: principal.name,
        reason,
        detail: id,
        ...(from === 'failed' ? {} : { path: from }),
      };
      const entry: TimelineEntry = {
        at,
        kind: 'operator',
        title: `retried${what}${which} as run ${id} by ${principal.name}: ${reason}`,
        ref: id,
      };
      await tx.query(
        'UPDATE control.admission SET acts = acts || $3::jsonb, history = history || $4::jsonb WHERE tenant = $1 AND id = $2',
        [tx.tenant, row.id, JSON.stringify([act]), JSON.stringify([entry])],
      );
      return id;
    });
  }

  private async view(tenant: string, id: string, retryOf: string): Promise<RetryView> {
    const { status, admission } = await this.reader.get(tenant, id);
    return { id, status, admission, retryOf };
  }
}
