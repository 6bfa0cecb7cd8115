import { Injectable } from '@nestjs/common';
import { type BlockedBy, type Claim, durationMs, OpsError } from '@opsloop/contracts';
import { Clock, type Principal } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { AdmissionRepository, dropWaitersSql } from '../admit/admission.repository.js';
import { Signals } from '../signals.service.js';
import { claimErrors, coverPaths, mergeClaims, rankOf, userHolder } from './lock.pure.js';

/** A waiter that does not repeat its request within this is taken for dead and passed. */
export const HEARTBEAT_MS = 15_000;
export const TTL_DEFAULT = '60s';
export const TTL_MIN_MS = 1_000;
export const TTL_MAX_MS = 24 * 3_600_000;
/** Nobody waits longer than work stays valid at the longest. */
export const WAIT_MAX_MS = 24 * 3_600_000;
/** People stand in the queue where ordinary work stands. */
const USER_TIER = 'P2';

export interface LockRequest {
  claims: Claim[];
  owner: string;
  ttlMs: number;
  waitMs: number;
}

export type LockAnswer =
  | { status: 200 | 201; body: { fence: string; expiresAt: string } }
  | { status: 202; body: { ticket: string; position: number; blockedBy: BlockedBy[] } };

export interface LockView {
  fence: string;
  path: string;
  mode: 'shared' | 'exclusive';
  owner: string;
  runId?: string;
  since: string;
  expiresAt: string | null;
  state: 'held' | 'releasing';
  waiting: number;
}

/** Locks of people and of scripts outside: leases with a fence. */
@Injectable()
export class LockService {
  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  /** Granted, waiting with a ticket, or refused with who is in the way. Equal requests are one request. */
  async acquire(principal: Principal, request: LockRequest): Promise<LockAnswer> {
    const errors = claimErrors(request.claims);
    if (errors.length > 0)
      throw new OpsError('validation', `The claims: ${errors[0]!.pointer} ${errors[0]!.message}`, { errors });
    const claims = mergeClaims(request.claims);
    const holder = userHolder(principal.name, request.owner, claims);
    return this.db
      .inTransaction<LockAnswer>(principal.tenant, async (tx) => {
        const paths = coverPaths(claims.map((c) => c.path));
        // One round trip, in this order. The place is read in vain when the lock is held already, which is rare.
        const [, held, place] = await Promise.all([
          this.repository.take(tx, paths, [holder]),
          this.heldBy(tx, holder),
          this.placeOf(tx, holder),
        ]);
        if (held !== undefined) return { status: 200, body: held };
        const grant = await this.repository.grant(tx, {
          claims,
          holder,
          owner: request.owner,
          principal: principal.name,
          ttlMs: request.ttlMs,
          rankAt: place.rankAt,
          ticket: place.ticket,
        });
        if (grant.fence !== null) {
          this.leaveQueue(tx, holder, place.ticket);
          return { status: 201, body: { fence: grant.fence, expiresAt: grant.expires!.toISOString() } };
        }
        const blockedBy = [...grant.holders, ...grant.ahead].slice(0, 10);
        if (request.waitMs === 0) {
          this.leaveQueue(tx, holder, place.ticket);
          throw new LockBusy(blockedBy);
        }
        await this.wait(tx, { holder, place, request, claims });
        return { status: 202, body: { ticket: place.ticket, position: grant.ahead.length + 1, blockedBy } };
      })
      .catch(busy);
  }

  async renew(tenant: string, fence: string, ttlMs: number): Promise<{ fence: string; expiresAt: string }> {
    const rows = await this.db.query<{ expires_at: Date }>({
      name: 'control.renew',
      text: `UPDATE control.claim SET expires_at = clock_timestamp() + make_interval(secs => $3::double precision)
        WHERE tenant = $1 AND fence = $2 AND principal IS NOT NULL AND expires_at > clock_timestamp() RETURNING expires_at`,
      values: [tenant, fence, ttlMs / 1_000],
    });
    if (rows.length === 0) {
      const ofRun = await this.db.query(
        'SELECT 1 FROM control.claim WHERE tenant = $1 AND fence = $2 AND run_id IS NOT NULL',
        [tenant, fence],
      );
      if (ofRun.length > 0) throw new OpsError('conflict', `The lock ${fence} is a run's: it ends with the run`);
      throw new OpsError('lock-lost', `The lock ${fence} is gone or has run out`);
    }
    return { fence, expiresAt: rows[0]!.expires_at.toISOString() };
  }

  /** Ok while the fence holds all the paths; a target asks before it obeys. */
  async assert(tenant: string, fence: string, paths: readonly string[]): Promise<{ fence: string; current: true }> {
    const held = await this.db.query<{ path: string }>({
      name: 'control.assert',
      text: `SELECT path FROM control.claim WHERE tenant = $1 AND fence = $2 AND expires_at > clock_timestamp()`,
      values: [tenant, fence],
    });
    const stale = paths.filter((p) => !held.some((h) => p === h.path || p.startsWith(`${h.path}/`)));
    if (held.length === 0 || stale.length > 0) {
      throw new OpsError(
        'stale-fence',
        `The fence ${fence} is not current on ${stale.slice(0, 5).join(', ') || 'anything'}`,
      );
    }
    return { fence, current: true };
  }

  /** Gives a person's lock back. Gone already is fine; a run's can only be broken. */
  async release(tenant: string, fence: string): Promise<void> {
    const gone = await this.db.query({
      name: 'control.release',
      text: 'DELETE FROM control.claim WHERE tenant = $1 AND fence = $2 AND principal IS NOT NULL RETURNING fence',
      values: [tenant, fence],
    });
    if (gone.length > 0) return this.signals.emit('released');
    const ofRun = await this.db.query('SELECT 1 FROM control.claim WHERE tenant = $1 AND fence = $2', [tenant, fence]);
    if (ofRun.length > 0)
      throw new OpsError('conflict', `The lock ${fence} is a run's; it can only be broken, with a reason`);
  }

  /** Break-glass: frees whatever the fence holds. The next grant on these paths gets a higher fence. */
  async break(principal: Principal, fence: string, reason: string): Promise<{ fence: string; paths: string[] }> {
    const paths = await this.db.inTransaction(principal.tenant, async (tx) => {
      const gone = await tx.query<{ path: string; run_id: string | null; owner: string }>(
        'DELETE FROM control.claim WHERE tenant = $1 AND fence = $2 RETURNING path, run_id, owner',
        [tx.tenant, fence],
      );
      if (gone.length === 0) return [];
      await tx.query(
        'INSERT INTO control.act (tenant, act, ref, made_by, reason, detail) VALUES ($1, $2, $3, $4, $5, $6)',
        [tx.tenant, 'lock-broken', fence, principal.name, reason, JSON.stringify(gone)],
      );
      const entry = [
        {
          at: this.clock.now().toISOString(),
          kind: 'operator',
          title: `lock ${fence} broken by ${principal.name}: ${reason}`,
          ref: fence,
        },
      ];
      for (const run of new Set(gone.flatMap((g) => g.run_id ?? []))) {
        await tx.query('UPDATE control.admission SET history = history || $3::jsonb WHERE tenant = $1 AND id = $2', [
          tx.tenant,
          run,
          JSON.stringify(entry),
        ]);
      }
      tx.afterCommit(() => this.signals.emit('released'));
      return gone.map((g) => g.path).sort();
    });
    return { fence, paths };
  }

  /** Locks on a path, above it and below it. */
  async list(tenant: string, path: string | undefined): Promise<{ items: LockView[] }> {
    const rows = await this.db.query<{
      fence: string;
      path: string;
      exclusive: boolean;
      owner: string;
      run_id: string | null;
      since: Date;
      expires_at: Date | number;
      releasing: boolean;
      waiting: number;
    }>(
      `SELECT c.*, (SELECT count(DISTINCT w.ticket)::int FROM control.waiter w WHERE w.tenant = c.tenant AND w.alive_until > clock_timestamp()
          AND (w.path = ANY (c.path || control.prefixes(c.path)) OR (w.path >= c.path || '/' AND w.path < c.path || '0'))) AS waiting
        FROM control.claim c WHERE c.tenant = $1 AND c.expires_at > clock_timestamp()
          AND ($2::text IS NULL OR c.path = ANY ($2::text || control.prefixes($2::text)) OR (c.path >= $2::text || '/' AND c.path < $2::text || '0'))
        ORDER BY c.path, c.fence LIMIT 1000`,
      [tenant, path ?? null],
    );
    return {
      items: rows.map((r) => ({
        fence: r.fence,
        path: r.path,
        mode: r.exclusive ? 'exclusive' : 'shared',
        owner: r.owner,
        ...(r.run_id === null ? {} : { runId: r.run_id }),
        since: r.since.toISOString(),
        expiresAt: r.expires_at instanceof Date ? r.expires_at.toISOString() : null,
        state: r.releasing ? 'releasing' : 'held',
        waiting: r.waiting,
      })),
    };
  }

  private async heldBy(tx: Tx, holder: string): Promise<{ fence: string; expiresAt: string } | undefined> {
    const [row] = await tx.query<{ fence: string; expires_at: Date }>({
      name: 'control.held-by',
      text: 'SELECT fence, expires_at FROM control.claim WHERE tenant = $1 AND holder = $2 AND expires_at > clock_timestamp() LIMIT 1',
      values: [tx.tenant, holder],
    });
    return row === undefined ? undefined : { fence: row.fence, expiresAt: row.expires_at.toISOString() };
  }

  private async placeOf(tx: Tx, holder: string): Promise<{ ticket: string; rankAt: Date }> {
    const place = tx.query<{ ticket: string; rank_at: Date }>({
      name: 'control.place',
      text: 'SELECT ticket, rank_at FROM control.lock_request WHERE tenant = $1 AND holder = $2 AND alive_until > clock_timestamp() AND wait_until > clock_timestamp()',
      values: [tx.tenant, holder],
    });
    // Drawn in the same round trip; one that is not used leaves a gap, which means nothing.
    const [[old], [ticket]] = await Promise.all([place, this.repository.tickets(tx, 1)]);
    if (old !== undefined) return { ticket: old.ticket, rankAt: old.rank_at };
    return { ticket: ticket!, rankAt: rankOf(USER_TIER, this.clock.now()) };
  }

  private async wait(
    tx: Tx,
    w: { holder: string; place: { ticket: string; rankAt: Date }; request: LockRequest; claims: Claim[] },
  ): Promise<void> {
    const { holder, place, request, claims } = w;
    await tx.query(
      `INSERT INTO control.lock_request (tenant, holder, ticket, rank_at, wait_until, alive_until)
        VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5::double precision), clock_timestamp() + make_interval(secs => $6::double precision))
        ON CONFLICT (tenant, holder) DO UPDATE SET alive_until = excluded.alive_until, ticket = excluded.ticket, rank_at = excluded.rank_at,
          wait_until = CASE WHEN lock_request.ticket = excluded.ticket THEN lock_request.wait_until ELSE excluded.wait_until END`,
      [tx.tenant, holder, place.ticket, place.rankAt, request.waitMs / 1_000, HEARTBEAT_MS / 1_000],
    );
    await this.repository.insertWaiters(tx, {
      ticket: place.ticket,
      rankAt: place.rankAt,
      owner: request.owner,
      aliveMs: HEARTBEAT_MS,
      claims,
    });
  }

  private leaveQueue(tx: Tx, holder: string, ticket: string): void {
    tx.send({
      name: 'control.leave',
      text: 'DELETE FROM control.lock_request WHERE tenant = $1 AND holder = $2',
      values: [tx.tenant, holder],
    });
    tx.send(dropWaitersSql(tx.tenant, ticket));
  }
}

/** Thrown inside the transaction, which wrote nothing worth keeping. */
class LockBusy extends Error {
  constructor(readonly blockedBy: BlockedBy[]) {
    super('busy');
  }
}

function busy(error: unknown): never {
  if (!(error instanceof LockBusy)) throw error;
  const [first] = error.blockedBy;
  throw new OpsError(
    'lock-busy',
    first === undefined ? 'The lock is held' : `${first.path} is held by ${first.owner}`,
    { extensions: { blockedBy: error.blockedBy } },
  );
}

/** A duration within bounds, or a validation error that names the field. */
export function boundedMs(text: string, pointer: string, minMs: number, maxMs: number): number {
  let ms: number;
  try {
    ms = durationMs(text);
  } catch (error) {
    const message = error instanceof OpsError ? error.detail : 'is not a duration';
    throw new OpsError('validation', `${pointer} ${message}`, { errors: [{ pointer, message }] });
  }
  if (ms < minMs || ms > maxMs) {
    const message = `must lie between ${minMs / 1_000}s and ${maxMs / 1_000}s`;
    throw new OpsError('validation', `${pointer} ${message}`, { errors: [{ pointer, message }] });
  }
  return ms;
}
