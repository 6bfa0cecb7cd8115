import { Injectable } from '@nestjs/common';
import { type BlockedBy, type Claim, durationMs, OpsError } from '@opsloop/contracts';
import { Clock, type Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';
import { GroupsService } from './groups.service.js';
import { LockTurns, type LockWish } from './lock-turns.service.js';
import { claimErrors, mergeClaims, rankOf, userHolder } from './lock.pure.js';

export const TTL_DEFAULT = '60s';
export const TTL_MIN_MS = 1_000;
export const TTL_MAX_MS = 24 * 3_600_000;
/** Nobody waits longer than work stays valid at the longest. */
export const WAIT_MAX_MS = 24 * 3_600_000;
/** Below the 15 s within which a waiter has to be heard of, with time for a slow network. */
export const LONG_POLL_MAX_MS = 10_000;
/** People stand in the queue where ordinary work stands. */
const USER_TIER = 'P2';

/** Claims that overlap one of the paths, each once. */
const ON_PATHS = `(SELECT DISTINCT o.* FROM unnest($2::text[]) p, LATERAL (
  SELECT * FROM control.claim a WHERE a.tenant = $1 AND a.path = ANY (p || control.prefixes(p))
  UNION ALL SELECT * FROM control.claim d WHERE d.tenant = $1 AND d.path >= p || '/' AND d.path < p || '0') o) c`;

export interface LockRequest {
  claims: Claim[];
  owner: string;
  ttlMs: number;
  waitMs: number;
  longPollMs: number;
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
    private readonly turns: LockTurns,
    private readonly groups: GroupsService,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  /**
   * Granted, waiting with a ticket, or refused with who is in the way. Equal requests are one request. The answer
   * "waiting" is kept back for `longPollMs`, and comes as a grant when its turn comes in between.
   */
  async acquire(principal: Principal, request: LockRequest, gone?: AbortSignal): Promise<LockAnswer> {
    const errors = claimErrors(request.claims);
    if (errors.length > 0)
      throw new OpsError('validation', `The claims: ${errors[0]!.pointer} ${errors[0]!.message}`, { errors });
    const claims = mergeClaims(request.claims);
    const all = await this.groups.expand(claims);
    if (all === undefined)
      throw new OpsError(
        'unavailable',
        'The inventory does not answer, so nobody can tell which groups these paths belong to',
        {
          retryAfterSec: 2,
        },
      );
    const wish: LockWish = {
      tenant: principal.tenant,
      claims: all,
      holder: userHolder(principal.name, request.owner, claims),
      owner: request.owner,
      principal: principal.name,
      ttlMs: request.ttlMs,
      waitMs: request.waitMs,
      rankAt: rankOf(USER_TIER, this.clock.now()),
    };
    const turn = await this.turns.wait(wish, Math.min(request.longPollMs, request.waitMs), gone);
    if (turn.status === 200 || turn.status === 201)
      return { status: turn.status, body: { fence: turn.fence!, expiresAt: turn.expires!.toISOString() } };
    const blockedBy = [...turn.holders, ...turn.ahead].slice(0, 10);
    if (turn.status === 409) throw busy(blockedBy);
    return { status: 202, body: { ticket: turn.ticket!, position: turn.ahead.length + 1, blockedBy } };
  }

  /** Extends a lease of one's own: of a person, or of work outside. A run's has none. Found by its fence: see `lockFreeSql`. */
  async renew(principal: Principal, fence: string, ttlMs: number): Promise<{ fence: string; expiresAt: string }> {
    const rows = await this.db.query<{ expires_at: Date }>({
      name: 'control.renew',
      text: `UPDATE control.claim c SET expires_at = clock_timestamp() + make_interval(secs => $3::double precision)
        WHERE c.fence = $2 AND c.tenant || '' = $1 AND c.expires_at < 'infinity' AND NOT c.releasing AND c.expires_at > clock_timestamp()
          AND (c.principal = $4 OR EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = c.tenant AND a.id = c.run_id AND a.kind = 'lock' AND a.initiator ->> 'name' = $4))
        RETURNING c.expires_at`,
      values: [principal.tenant, fence, ttlMs / 1_000, principal.name],
    });
    if (rows.length > 0) return { fence, expiresAt: rows[0]!.expires_at.toISOString() };
    const [other] = await this.db.query<{ expires_at: Date | number }>(
      `SELECT expires_at FROM control.claim WHERE fence = $2 AND tenant || '' = $1 AND NOT releasing AND expires_at > clock_timestamp() LIMIT 1`,
      [principal.tenant, fence],
    );
    if (other === undefined) throw new OpsError('lock-lost', `The lock ${fence} is gone or has run out`);
    if (other.expires_at instanceof Date)
      throw new OpsError('authorization', `The lock ${fence} is another's; only its owner renews it`);
    throw new OpsError('conflict', `The lock ${fence} is a run's: it ends with the run`);
  }

  /** Ok while the fence holds all the paths; a target asks before it obeys. */
  async assert(tenant: string, fence: string, paths: readonly string[]): Promise<{ fence: string; current: true }> {
    const held = await this.db.query<{ path: string }>({
      name: 'control.assert',
      text: `SELECT path FROM control.claim WHERE fence = $2 AND tenant || '' = $1 AND expires_at > clock_timestamp()`,
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

  /** Gives a lock of one's own back. Gone already is fine; a run's, or another's, can only be broken. */
  async release(principal: Principal, fence: string): Promise<void> {
    const released = await this.turns.release(principal.tenant, fence, principal.name);
    if (released === 'of-run')
      throw new OpsError('conflict', `The lock ${fence} is a run's; it can only be broken, with a reason`);
    if (released === 'of-another')
      throw new OpsError('authorization', `The lock ${fence} is another's; it can only be broken, with a reason`);
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

  /** Locks on a path, above it and below it, and of groups that it is a member of. */
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
        FROM ${path === undefined ? 'control.claim c' : ON_PATHS} WHERE c.tenant = $1 AND c.expires_at > clock_timestamp()
        ORDER BY c.path, c.fence LIMIT 1000`,
      path === undefined ? [tenant] : [tenant, [path, ...(await this.groups.aliases(path))]],
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
}

function busy(blockedBy: BlockedBy[]): OpsError {
  const [first] = blockedBy;
  const detail = first === undefined ? 'The lock is held' : `${first.path} is held by ${first.owner}`;
  return new OpsError('lock-busy', detail, { extensions: { blockedBy } });
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
