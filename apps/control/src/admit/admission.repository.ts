import { Injectable } from '@nestjs/common';
import { workflowIdOf } from '@opsloop/contracts';
import type {
  BlockedBy,
  Claim,
  Consulted,
  Effect,
  HaltView,
  Initiator,
  JsonObject,
  RunsMessage,
  StartRequest,
  Tier,
  TimelineEntry,
} from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import type { Query, Tx } from '@opsloop/postgres';
import { type AdmissionRow, type AdmissionState } from './admission-row.js';

/**
 * How long a new admission is its own process's to start: above the deadline of the start (4 s). Whoever makes a halt
 * waits for claimed starts, and the admission has seen every halt before, since both take the halts' lock: so the start
 * that follows its admission at once has nothing to look up.
 */
const FIRST_CLAIM_S = 5;

export interface HaltRow {
  id: string;
  scope: HaltView['scope'];
  running: HaltView['running'];
  reason: string;
  made_by: string;
  since: Date;
  until: Date | null;
  brake: HaltView['brake'] | null;
  second_person: boolean;
  /** Runs that a person let pass. */
  allowed: string[] | null;
}

export interface GrantRow {
  fence: string | null;
  holders: BlockedBy[];
  ahead: BlockedBy[];
  /** Null for infinity, which has no Date. */
  expires: Date | null;
}

export interface GrantRequest {
  claims: readonly Claim[];
  holder: string;
  owner: string;
  principal?: string;
  runId?: string;
  step?: string;
  ttlMs?: number;
  /** Place in the queue; without it waiters do not count. */
  rankAt?: Date;
  ticket?: string;
}

export const haltView = (row: HaltRow): HaltView => ({
  id: row.id,
  scope: row.scope,
  running: row.running,
  reason: row.reason,
  by: row.made_by,
  since: row.since.toISOString(),
  ...(row.until === null ? {} : { until: row.until.toISOString() }),
  ...(row.brake == null ? {} : { brake: row.brake }),
  ...(row.second_person ? { secondPerson: true } : {}),
  ...(row.allowed == null ? {} : { allowed: row.allowed }),
});

const LIVE_HALTS = `SELECT id, scope, running, reason, made_by, since, until, brake, second_person,
    (SELECT array_agg(run_id) FROM control.halt_allow w WHERE w.tenant = h.tenant AND w.halt_id = h.id) AS allowed FROM control.halt h
  WHERE tenant = $1 AND lifted_at IS NULL AND (until IS NULL OR until > clock_timestamp()) ORDER BY since`;

/** Digests of 64 characters: the memory of all of them is below a megabyte. */
const KEPT_IRS_MAX = 5_000;

/** SQL of admission. All statements are named: they are on the path of every start. */
@Injectable()
export class AdmissionRepository {
  /** Digests of compiled flows that are known to be stored; rows of control.ir are never deleted. */
  private readonly keptIrs = new Set<string>();

  /** Locks of one admitting transaction, in the one order that everybody keeps: halts, then paths and keys, then rows. */
  async take(tx: Tx, paths: readonly string[], keys: readonly string[] = []): Promise<void> {
    await tx.query({
      name: 'control.take',
      text: 'SELECT pg_advisory_xact_lock_shared(control.halt_key($1)), control.take($1, $2::text[], $3::text[])',
      values: [tx.tenant, paths, keys],
    });
  }

  async liveHalts(tx: Pick<Tx, 'query' | 'tenant'>): Promise<HaltView[]> {
    const rows = await tx.query<HaltRow>({ name: 'control.halts', text: LIVE_HALTS, values: [tx.tenant] });
    return rows.map(haltView);
  }

  async existing(tx: Tx, ids: readonly string[]): Promise<Map<string, AdmissionRow>> {
    const rows = await tx.query<AdmissionRow>({
      name: 'control.existing',
      text: 'SELECT * FROM control.admission WHERE tenant = $1 AND id = ANY($2::uuid[])',
      values: [tx.tenant, ids],
    });
    return new Map(rows.map((row) => [row.id, row]));
  }

  /** Alive work by coalescing key; shared row locks, so that it cannot end before we have joined it. */
  async twins(tx: Tx, keys: readonly string[]): Promise<Map<string, string>> {
    if (keys.length === 0) return new Map();
    const rows = await tx.query<{ id: string; coalesce_key: string }>({
      name: 'control.twins',
      text: `SELECT id, coalesce_key FROM control.admission WHERE tenant = $1 AND coalesce_key = ANY($2)
        AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started') ORDER BY id FOR SHARE`,
      values: [tx.tenant, keys],
    });
    return new Map(rows.map((row) => [row.coalesce_key, row.id]));
  }

  async tickets(tx: Tx, count: number): Promise<string[]> {
    const rows = await tx.query<{ t: string }>({
      name: 'control.tickets',
      text: `SELECT nextval('control.ticket') AS t FROM generate_series(1, $1)`,
      values: [count],
    });
    return rows.map((row) => row.t);
  }

  /** All or nothing; the caller holds the locks of {@link take}. */
  async grant(tx: Tx, g: GrantRequest): Promise<GrantRow> {
    const [row] = await tx.query<{
      fence: string | null;
      holders: BlockedBy[];
      ahead: BlockedBy[];
      expires: Date | number | null;
    }>({
      name: 'control.grant',
      text: `SELECT fence, holders, ahead, expires FROM control.try_grant($1, $2::text[], $3::boolean[], $4, $5, $6, $7::uuid, $8,
        make_interval(secs => $9::double precision), $10::timestamptz, $11::bigint)`,
      values: [
        tx.tenant,
        g.claims.map((c) => c.path),
        g.claims.map((c) => c.mode === 'exclusive'),
        g.holder,
        g.owner,
        g.principal ?? null,
        g.runId ?? null,
        g.step ?? null,
        g.ttlMs === undefined ? null : g.ttlMs / 1_000,
        g.rankAt ?? null,
        g.ticket ?? '0',
      ],
    });
    return withoutInfinity(row!);
  }

  /** What a grant would find; takes nothing. */
  async inTheWay(
    tx: Pick<Tx, 'query' | 'tenant'>,
    claims: readonly Claim[],
    place: { rankAt: Date; ticket: string },
  ): Promise<{ holders: BlockedBy[]; ahead: BlockedBy[] }> {
    const [found] = await tx.query<{ holders: BlockedBy[]; ahead: BlockedBy[] }>({
      name: 'control.in-the-way',
      text: `SELECT control.holders($1, $2::text[], $3::boolean[], NULL) AS holders, control.ahead($1, $2::text[], $3::boolean[], $4::timestamptz, $5::bigint) AS ahead`,
      values: [
        tx.tenant,
        claims.map((c) => c.path),
        claims.map((c) => c.mode === 'exclusive'),
        place.rankAt,
        place.ticket,
      ],
    });
    return found!;
  }

  /** {@link take} and {@link grant} for a start that comes alone; no grant when something else must be judged first. */
  async grantOne(
    tx: Tx,
    id: string,
    key: string | undefined,
    paths: readonly string[],
    g: Omit<GrantRequest, 'ticket' | 'step' | 'principal' | 'runId'>,
  ): Promise<{ ticket: string; grant?: GrantRow }> {
    const [row] = await tx.query<GrantRow & { tried: boolean; ticket: string; expires: Date | number | null }>({
      name: 'control.admit-one',
      text: `SELECT tried, ticket, fence, holders, ahead, expires FROM control.admit_one($1, $2::uuid, $3, $4::text[], $5::text[], $6::boolean[], $7, $8,
        make_interval(secs => $9::double precision), $10::timestamptz)`,
      values: [
        tx.tenant,
        id,
        key ?? null,
        paths,
        g.claims.map((c) => c.path),
        g.claims.map((c) => c.mode === 'exclusive'),
        g.holder,
        g.owner,
        g.ttlMs === undefined ? null : g.ttlMs / 1_000,
        g.rankAt ?? null,
      ],
    });
    const { tried, ticket, ...grant } = row!;
    return tried ? { ticket, grant: withoutInfinity(grant) } : { ticket };
  }

  /** Sent, not awaited: nothing is read from it, and a failure fails the transaction. */
  insert(tx: Tx, row: NewAdmission): void {
    tx.send({
      name: 'control.insert',
      text: `INSERT INTO control.admission (tenant, id, kind, state, request, flow, version, effect, ir_digest, atoms, targets, claims, tier, rule,
          decision_id, initiator, coalesce_key, into_id, ticket, rank_at, valid_until, fence, consulted, reason, dry_run, lock_ttl, history, workflow_id, own_claims,
          heartbeat, alive_until, started_at, ended_at, claimed_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
          make_interval(secs => $26::double precision), $27, $28, $29,
          make_interval(secs => $30::double precision), clock_timestamp() + make_interval(secs => $30::double precision),
          CASE WHEN $4 = 'admitted' AND $3 = 'lock' THEN clock_timestamp() END, CASE WHEN $4 IN ('rejected', 'coalesced') THEN clock_timestamp() END,
          CASE WHEN $4 = 'admitted' AND $3 = 'run' THEN clock_timestamp() + make_interval(secs => ${FIRST_CLAIM_S}) END)`,
      values: [
        tx.tenant,
        row.id,
        row.kind,
        row.state,
        JSON.stringify(row.request),
        row.flow,
        row.version ?? null,
        row.effect ?? null,
        row.irDigest ?? null,
        row.atoms,
        row.targets,
        row.claims === undefined ? null : JSON.stringify(row.claims),
        row.tier,
        row.rule ?? null,
        row.decisionId ?? null,
        JSON.stringify(row.initiator),
        row.coalesceKey ?? null,
        row.into ?? null,
        row.ticket,
        row.rankAt,
        row.validUntil,
        row.fence ?? null,
        JSON.stringify(row.consulted),
        row.reason ?? null,
        row.dryRun,
        row.ttlMs === undefined ? null : row.ttlMs / 1_000,
        JSON.stringify(row.history),
        row.kind === 'run' ? workflowIdOf(row.flow, row.id) : null,
        row.ownClaims === undefined ? null : JSON.stringify(row.ownClaims),
        row.heartbeatMs === undefined ? null : row.heartbeatMs / 1_000,
      ],
    });
  }

  async insertWaiters(
    tx: Tx,
    w: { ticket: string; rankAt: Date; owner: string; runId?: string; aliveMs?: number; claims: readonly Claim[] },
  ): Promise<void> {
    await tx.query({
      name: 'control.wait',
      text: `INSERT INTO control.waiter (tenant, path, ticket, exclusive, rank_at, owner, run_id, alive_until)
        SELECT $1, q.path, $2, q.x, $3, $4, $5::uuid, CASE WHEN $6::double precision IS NULL THEN 'infinity' ELSE clock_timestamp() + make_interval(secs => $6::double precision) END
        FROM unnest($7::text[], $8::boolean[]) AS q(path, x)
        ON CONFLICT (tenant, path, ticket) DO UPDATE SET alive_until = excluded.alive_until`,
      values: [
        tx.tenant,
        w.ticket,
        w.rankAt,
        w.owner,
        w.runId ?? null,
        w.aliveMs === undefined ? null : w.aliveMs / 1_000,
        w.claims.map((c) => c.path),
        w.claims.map((c) => c.mode === 'exclusive'),
      ],
    });
  }

  async dropWaiters(tx: Tx, ticket: string): Promise<void> {
    await tx.query(dropWaitersSql(tx.tenant, ticket));
  }

  /**
   * When the work in the way may be done: holders go on for what is left of the median of their flow's last runs, those
   * ahead take the median of theirs, one after the other. Undefined when any of them has no past.
   */
  async eta(
    db: Pick<Tx, 'query' | 'tenant'>,
    w: { holders: readonly BlockedBy[]; ahead: readonly BlockedBy[] },
  ): Promise<string | undefined> {
    const ids = [...w.holders, ...w.ahead].map((b) => b.runId);
    if (ids.length === 0 || ids.includes(undefined)) return undefined;
    const rows = await db.query<{ id: string; left_s: number | null; median_s: number | null }>({
      name: 'control.eta',
      text: `SELECT a.id, m.s AS median_s, (m.s - coalesce(extract(epoch FROM clock_timestamp() - a.started_at), 0))::float AS left_s
        FROM control.admission a, LATERAL (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM d.ended_at - d.started_at)::float) AS s
          FROM (SELECT started_at, ended_at FROM control.admission WHERE tenant = a.tenant AND flow = a.flow AND status = 'succeeded' AND started_at IS NOT NULL
            ORDER BY ended_at DESC LIMIT $3) d) m
        WHERE a.tenant = $1 AND a.id = ANY($2::uuid[])`,
      values: [db.tenant, [...new Set(ids)], DURATIONS_MAX],
    });
    const known = new Map(rows.map((r) => [r.id, r]));
    const left = w.holders.map((h) => known.get(h.runId!)?.left_s);
    const after = w.ahead.map((b) => known.get(b.runId!)?.median_s);
    if ([...left, ...after].some((s) => s === undefined || s === null)) return undefined;
    const seconds = Math.max(0, ...(left as number[])) + (after as number[]).reduce((sum, s) => sum + s, 0);
    return new Date(Date.now() + seconds * 1_000).toISOString();
  }

  /** Keeps a compiled flow once per content. */
  async keepIr(tx: Pick<Tx, 'query' | 'tenant'>, digest: string, body: unknown): Promise<void> {
    await tx.query(keepIrSql(tx.tenant, digest, body));
  }

  /** The same for every admission of a flow, so a process writes it once. */
  keepAdmittedIr(tx: Tx, digest: string, body: unknown): void {
    const key = `${tx.tenant} ${digest}`;
    if (this.keptIrs.has(key)) return;
    tx.send(keepIrSql(tx.tenant, digest, body));
    tx.afterCommit(() => {
      if (this.keptIrs.size >= KEPT_IRS_MAX) this.keptIrs.clear();
      this.keptIrs.add(key);
    });
  }

  /** Locks the row; undefined when there is none. */
  async lockRow(tx: Tx, id: string): Promise<AdmissionRow | undefined> {
    const [row] = await tx.query<AdmissionRow>({
      name: 'control.row',
      text: 'SELECT * FROM control.admission WHERE tenant = $1 AND id = $2 FOR UPDATE',
      values: [tx.tenant, id],
    });
    return row;
  }
}

const withoutInfinity = (row: Omit<GrantRow, 'expires'> & { expires: Date | number | null }): GrantRow => ({
  ...row,
  expires: row.expires instanceof Date ? row.expires : null,
});

/** Found by the ticket: see `lockFreeSql`. */
export const dropWaitersSql = (tenant: string, ticket: string): Query => ({
  name: 'control.unwait',
  text: `DELETE FROM control.waiter WHERE ticket = $2 AND tenant || '' = $1`,
  values: [tenant, ticket],
});

const keepIrSql = (tenant: string, digest: string, body: unknown): Query => ({
  name: 'control.ir',
  text: 'INSERT INTO control.ir (tenant, digest, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
  values: [tenant, digest, JSON.stringify(body)],
});

export interface NewAdmission {
  id: string;
  kind: 'run' | 'lock';
  state: AdmissionState;
  request: StartRequest;
  flow: string;
  version?: string | undefined;
  effect?: Effect | undefined;
  irDigest?: string | undefined;
  atoms: string[];
  targets: string[];
  claims?: Claim[] | undefined;
  ownClaims?: Claim[] | undefined;
  tier: Tier;
  rule?: string | undefined;
  decisionId?: string | undefined;
  initiator: Initiator;
  coalesceKey?: string | undefined;
  into?: string | undefined;
  ticket: string;
  rankAt: Date;
  validUntil: Date;
  fence?: string | undefined;
  consulted: Consulted[];
  reason?: string | undefined;
  dryRun: boolean;
  ttlMs?: number | undefined;
  /** Of a lock for work outside: who does not ask for it this often while it waits no longer wants it. */
  heartbeatMs?: number | undefined;
  history: TimelineEntry[];
}

/** Enough to be robust against one odd run, few enough to follow a change. */
const DURATIONS_MAX = 20;

/** The members that every message on `runs` has. */
export function runsBase(
  row: Pick<AdmissionRow, 'id' | 'decision_id' | 'flow' | 'version' | 'targets' | 'tier' | 'request'>,
  at: Date,
): Pick<RunsMessage, 'id' | 'decisionId' | 'flow' | 'version' | 'targets' | 'tier' | 'cause' | 'at'> {
  return {
    id: row.id,
    ...(row.decision_id === null ? {} : { decisionId: row.decision_id }),
    flow: row.flow,
    ...(row.version === null ? {} : { version: row.version }),
    targets: row.targets,
    tier: row.tier,
    ...(row.request.cause === undefined ? {} : { cause: row.request.cause }),
    at: at.toISOString(),
  };
}

/** `turn` tells messages of the same kind about the same run apart. */
export function publishRuns(tx: Tx, body: RunsMessage, turn: string): void {
  const what = body.kind === 'verdict' ? body.verdict : body.kind;
  // An admission is followed by its start, and whoever listens takes both in one turn.
  const lazy = what === 'admitted';
  tx.publish('runs', { id: messageId('runs', tx.tenant, body.id, what, turn), key: body.id, body, lazy });
}

export type { JsonObject };
