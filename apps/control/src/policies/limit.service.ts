import { Injectable } from '@nestjs/common';
import type { BlockedBy, Claim, FlowDocument } from '@opsloop/contracts';
import { LIMIT_KIND } from '@opsloop/dsl';
import { Database, type Tx } from '@opsloop/postgres';
import type { GrantRow } from '../admit/admission.repository.js';
import type { BudgetDemand } from './demand.pure.js';
import { type LimitAct, type LimitFacts, limitDemand, limitPaths } from './run-limit.pure.js';

/** A start at the moment its claims were tried. */
export interface Tried {
  flow: string;
  claims: readonly Claim[];
  grant: GrantRow | undefined;
  rankAt: Date;
  ticket: string;
  /** Absent: as the pinned flow says. */
  act?: LimitAct | undefined;
  irDigest?: string | null | undefined;
}

/** The limits of flows are claims like any other; this says what they came to. */
@Injectable()
export class LimitService {
  constructor(private readonly db: Database) {}

  /** Under the locks of the claims. Undefined when the flow has none, or nothing was tried. */
  async look(tx: Tx, t: Tried): Promise<LimitFacts | undefined> {
    const paths = limitPaths(t.flow, t.claims);
    if (paths.length === 0 || t.grant === undefined) return undefined;
    const facts = { flow: t.flow, paths };
    if (t.grant.fence !== null) return { ...facts, act: 'queue', holders: [], ahead: [] };
    const [act, blockers] = await Promise.all([
      t.act ?? this.onLimitOf(tx, t.irDigest ?? null),
      this.limitBlockers(tx, paths, t),
    ]);
    return { ...facts, act, ...blockers };
  }

  /**
   * What stands in the way of a flow's limit, and the first alive run of it: with a shared row lock, so that it cannot
   * end before we have joined it. Asked only when a grant failed.
   */
  private async limitBlockers(
    tx: Tx,
    paths: readonly string[],
    place: { rankAt: Date; ticket: string },
  ): Promise<{ holders: BlockedBy[]; ahead: BlockedBy[]; into?: string }> {
    const [found] = await tx.query<{ holders: BlockedBy[]; ahead: BlockedBy[] }>({
      name: 'control.limit',
      text: `SELECT control.holders($1, $2::text[], x.all, NULL) AS holders, control.ahead($1, $2::text[], x.all, $3::timestamptz, $4::bigint) AS ahead
        FROM (SELECT array_fill(true, ARRAY[cardinality($2::text[])]) AS all) x`,
      values: [tx.tenant, paths, place.rankAt, place.ticket],
    });
    const { holders, ahead } = found!;
    const ids = [...holders, ...ahead].flatMap((b) => b.runId ?? []);
    if (ids.length === 0) return { holders, ahead };
    const alive = await tx.query<{ id: string }>({
      name: 'control.limit-alive',
      text: `SELECT id FROM control.admission WHERE tenant = $1 AND id = ANY($2::uuid[]) AND kind = 'run'
        AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started') ORDER BY id FOR SHARE`,
      values: [tx.tenant, ids.slice(0, 10)],
    });
    const into = ids.find((id) => alive.some((row) => row.id === id));
    return { holders, ahead, ...(into === undefined ? {} : { into }) };
  }

  /** Of a stored start the room that its pinned flow wants for itself, when that is for several runs. */
  async demandsOf(
    row: { id: string; tenant: string; flow: string; ir_digest: string | null },
    claims: readonly Claim[],
  ): Promise<BudgetDemand[]> {
    const shared = claims.filter((c) => c.mode === 'shared' && c.path.startsWith(`${LIMIT_KIND}/${row.flow}/`));
    if (shared.length === 0) return [];
    const [ir] = await this.db.query<{ limit: FlowDocument['limit'] | null }>({
      name: 'control.limit-of',
      text: `SELECT body #> '{flow,limit}' AS limit FROM control.ir WHERE tenant = $1 AND digest = $2`,
      values: [row.tenant, row.ir_digest],
    });
    const limit = ir?.limit;
    if (limit == null) return [];
    return shared.map((claim) => limitDemand(row.id, { name: row.flow, limit }, { claim, runs: limit.runs }));
  }

  /** What the pinned flow says about its limit. */
  private async onLimitOf(tx: Tx, irDigest: string | null): Promise<LimitAct> {
    const [row] = await tx.query<{ act: LimitAct | null }>({
      name: 'control.on-limit',
      text: `SELECT body #>> '{flow,limit,onConflict}' AS act FROM control.ir WHERE tenant = $1 AND digest = $2`,
      values: [tx.tenant, irDigest],
    });
    return row?.act ?? 'queue';
  }
}
