import { Injectable } from '@nestjs/common';
import type { BlockedBy } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import type { BudgetDemand } from './demand.pure.js';
import { type BudgetFacts, isFull, type RoomFacts } from './policy-verdict.pure.js';

/** A start's place in every queue. */
export interface Place {
  id: string;
  ticket: string;
  rankAt: Date;
}

/** Names of those in the way are for people: a few. */
const HOLDERS_MAX = 10;

interface RoomRow {
  n: number;
  used: number;
  fresh: number;
  ahead: number;
  free_at: Date | null;
}

/** SQL of counters: what is in use, charges, and who waits for room. */
@Injectable()
export class BudgetRepository {
  /** Under the locks of the counters. One round trip, and another one when something is full. */
  async look(tx: Tx, budgets: readonly BudgetDemand[], place: Omit<Place, 'id'>): Promise<BudgetFacts[]> {
    if (budgets.length === 0) return [];
    const flat = budgets.flatMap((b) => b.rooms.map((room) => ({ b, room })));
    const rows = await tx.query<RoomRow>({
      name: 'control.rooms',
      text: `SELECT * FROM control.rooms($1, $2::int[], $3::text[], $4::interval[], $5::int[], $6::jsonb, $7::timestamptz, $8::bigint)`,
      values: [
        tx.tenant,
        flat.map((_, i) => i),
        flat.map(({ b }) => b.counter),
        flat.map(({ room }) => intervalOf(room.withinMs)),
        flat.map(({ room }) => room.max),
        JSON.stringify(Object.fromEntries(budgets.map((b) => [b.counter, b.units]))),
        place.rankAt,
        place.ticket,
      ],
    });
    const found = new Map(rows.map((r) => [r.n, r]));
    const facts = budgets.map((b): BudgetFacts => {
      const { policy, digest, key, counter, act, noun } = b;
      const rooms = b.rooms.map((room): RoomFacts => {
        const r = found.get(flat.findIndex((one) => one.b === b && one.room === room))!;
        return {
          ...room,
          used: r.used,
          fresh: r.fresh,
          ahead: r.ahead,
          ...(r.free_at === null ? {} : { freeAt: r.free_at.toISOString() }),
        };
      });
      return { policy, digest, key, counter, act, noun, rooms, holders: [] };
    });
    return this.withHolders(tx, facts);
  }

  private async withHolders(tx: Tx, facts: BudgetFacts[]): Promise<BudgetFacts[]> {
    const full = facts.filter((f) => f.rooms.some(isFull));
    if (full.length === 0) return facts;
    const rows = await tx.query<{
      counter: string;
      run_id: string;
      flow: string;
      since: Date;
      initiator: { kind: string; name: string };
    }>({
      name: 'control.budget-holders',
      text: `SELECT DISTINCT ON (c.counter, c.run_id) c.counter, c.run_id, a.flow, c.at AS since, a.initiator FROM control.charge c
        JOIN control.admission a ON a.tenant = c.tenant AND a.id = c.run_id
        WHERE c.tenant = $1 AND c.counter = ANY($2::text[]) AND c.live_until > clock_timestamp() ORDER BY c.counter, c.run_id, c.at LIMIT $3`,
      values: [tx.tenant, full.map((f) => f.counter), HOLDERS_MAX * full.length],
    });
    for (const f of full) {
      f.holders = rows
        .filter((r) => r.counter === f.counter)
        .slice(0, HOLDERS_MAX)
        .map((r): BlockedBy => ({
          path: f.counter,
          owner: `${r.flow} by ${r.initiator.kind} ${r.initiator.name}`,
          runId: r.run_id,
          flow: r.flow,
          since: r.since.toISOString(),
        }));
      if (f.act === 'coalesce') await this.joinable(tx, f);
    }
    return facts;
  }

  /** An alive run to join, with a shared row lock, so that it cannot end before we have joined it. */
  private async joinable(tx: Tx, f: BudgetFacts): Promise<void> {
    const [row] = await tx.query<{ id: string }>({
      name: 'control.budget-alive',
      text: `SELECT id FROM control.admission WHERE tenant = $1 AND id = ANY($2::uuid[]) AND kind = 'run' AND state IN ('admitted', 'started')
        ORDER BY id LIMIT 1 FOR SHARE`,
      values: [tx.tenant, f.holders.flatMap((h) => h.runId ?? [])],
    });
    if (row !== undefined) f.into = row.id;
  }

  /** Charges a start that was admitted; sent, not awaited. */
  charge(tx: Tx, id: string, budgets: readonly BudgetDemand[], step = ''): void {
    const rows = budgets.flatMap((b) => b.units.map((unit) => ({ b, unit })));
    if (rows.length === 0) return;
    const keepS = (b: BudgetDemand): number | null => {
      const withins = b.rooms.flatMap((r) => r.withinMs ?? []);
      return withins.length === 0 ? null : Math.max(...withins) / 1_000;
    };
    tx.send({
      name: 'control.charge',
      text: `INSERT INTO control.charge (tenant, counter, unit, run_id, step, policy, keep_until)
        SELECT $1, q.counter, q.unit, $2::uuid, $3, q.policy, CASE WHEN q.keep IS NULL THEN '-infinity' ELSE clock_timestamp() + make_interval(secs => q.keep) END
        FROM unnest($4::text[], $5::text[], $6::text[], $7::double precision[]) AS q(counter, unit, policy, keep)
        ON CONFLICT (tenant, counter, unit, run_id, step) DO UPDATE SET live_until = 'infinity', keep_until = excluded.keep_until`,
      values: [
        tx.tenant,
        id,
        step,
        rows.map((r) => r.b.counter),
        rows.map((r) => r.unit),
        rows.map((r) => r.b.policy),
        rows.map((r) => keepS(r.b)),
      ],
    });
  }

  /** A place in the queue of every room that was full. */
  wait(tx: Tx, place: Place, budgets: readonly BudgetFacts[]): void {
    const rows = budgets.flatMap((b) => b.rooms.map((r, room) => ({ ...r, counter: b.counter, room }))).filter(isFull);
    tx.send({
      name: 'control.budget-wait',
      text: `WITH gone AS (DELETE FROM control.budget_wait WHERE tenant = $1 AND ticket = $2 AND NOT (counter, room) IN (SELECT * FROM unnest($3::text[], $4::int[])))
        INSERT INTO control.budget_wait (tenant, ticket, counter, room, run_id, amount, max, within, rank_at)
        SELECT $1, $2, q.counter, q.room, $5::uuid, q.amount, q.max, q.within, $9
        FROM unnest($3::text[], $4::int[], $6::int[], $7::int[], $8::interval[]) AS q(counter, room, amount, max, within)
        ON CONFLICT (tenant, counter, ticket, room) DO UPDATE SET amount = excluded.amount, max = excluded.max, within = excluded.within`,
      values: [
        tx.tenant,
        place.ticket,
        rows.map((r) => r.counter),
        rows.map((r) => r.room),
        place.id,
        rows.map((r) => r.fresh),
        rows.map((r) => r.max),
        rows.map((r) => intervalOf(r.withinMs)),
        place.rankAt,
      ],
    });
  }

  /** Who is before a queued start in the queues of the rooms it waits for, and who has them. */
  async standing(
    db: Pick<Tx, 'query'>,
    row: { tenant: string; ticket: string },
  ): Promise<{ ahead: number; holders: BlockedBy[] }> {
    const [found] = await db.query<{ ahead: number; holders: BlockedBy[] }>(
      `SELECT (SELECT count(DISTINCT o.ticket)::int FROM control.budget_wait m JOIN control.budget_wait o ON o.tenant = m.tenant AND o.counter = m.counter
          AND o.within IS NOT DISTINCT FROM m.within AND (o.rank_at, o.ticket) < (m.rank_at, m.ticket) WHERE m.tenant = $1 AND m.ticket = $2) AS ahead,
        (SELECT coalesce(jsonb_agg(h), '[]') FROM (SELECT jsonb_build_object('path', c.counter, 'runId', c.run_id, 'flow', a.flow,
            'owner', a.flow || ' by ' || (a.initiator->>'kind') || ' ' || (a.initiator->>'name'),
            'since', to_char(min(c.at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS h
          FROM (SELECT DISTINCT counter FROM control.budget_wait WHERE tenant = $1 AND ticket = $2) m
          JOIN control.charge c ON c.tenant = $1 AND c.counter = m.counter AND c.live_until > clock_timestamp()
          JOIN control.admission a ON a.tenant = c.tenant AND a.id = c.run_id
          GROUP BY c.counter, c.run_id, a.flow, a.initiator ORDER BY min(c.at) LIMIT ${HOLDERS_MAX}) x) AS holders`,
      [row.tenant, row.ticket],
    );
    return found!;
  }

  /** It waits for no room any more. */
  unwait(tx: Tx, ticket: string): void {
    tx.send({
      name: 'control.budget-unwait',
      text: 'DELETE FROM control.budget_wait WHERE tenant = $1 AND ticket = $2',
      values: [tx.tenant, ticket],
    });
  }
}

const intervalOf = (ms: number | undefined): string | null => (ms === undefined ? null : `${ms} milliseconds`);

/**
 * Gives back what a run was charged: what a window counts stays until the window has passed, and after an unclean end
 * the rest stays as long as its claims do. Sent, not awaited.
 */
export function releaseCharges(tx: Pick<Tx, 'send' | 'tenant'>, runId: string, afterS = 0, step?: string): void {
  tx.send({
    name: 'control.uncharge',
    text: `WITH over AS (DELETE FROM control.charge WHERE tenant = $1 AND run_id = $2::uuid AND ($4::text IS NULL OR step = $4) AND keep_until <= clock_timestamp() AND $3 = 0)
      UPDATE control.charge SET live_until = clock_timestamp() + make_interval(secs => $3::double precision)
      WHERE tenant = $1 AND run_id = $2::uuid AND ($4::text IS NULL OR step = $4) AND (keep_until > clock_timestamp() OR $3 > 0) AND live_until = 'infinity'`,
    values: [tx.tenant, runId, afterS, step ?? null],
  });
}

/** Takes charges back altogether: what was admitted did not begin. */
export function dropCharges(tx: Pick<Tx, 'send' | 'tenant'>, runId: string): void {
  tx.send({
    name: 'control.drop-charges',
    text: 'DELETE FROM control.charge WHERE tenant = $1 AND run_id = $2::uuid',
    values: [tx.tenant, runId],
  });
}
