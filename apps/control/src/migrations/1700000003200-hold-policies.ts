import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * A counter is locked like a path, in the same sorted sweep as the claims of a start, and its value is the number of
 * different units charged to it: so a charge is made only where there is room, in the transaction that grants the locks.
 * Charges go with the end of their run, without any lock: less in use never breaks a limit.
 */
const TABLES = `
CREATE TABLE control.charge (
  tenant text NOT NULL, counter text COLLATE "C" NOT NULL, unit text COLLATE "C" NOT NULL, run_id uuid NOT NULL, step text NOT NULL DEFAULT '',
  policy text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), live_until timestamptz NOT NULL DEFAULT 'infinity',
  keep_until timestamptz NOT NULL DEFAULT '-infinity', PRIMARY KEY (tenant, counter, unit, run_id, step));
CREATE INDEX charge_run ON control.charge (tenant, run_id);
CREATE INDEX charge_over ON control.charge (greatest(live_until, keep_until));
CREATE INDEX charge_window ON control.charge (tenant, counter, at);

-- Rooms that a queued start found full. A start that is queued for its locks alone has none and keeps nobody from a room.
CREATE TABLE control.budget_wait (
  tenant text NOT NULL, counter text COLLATE "C" NOT NULL, ticket bigint NOT NULL, room int NOT NULL, run_id uuid NOT NULL,
  amount int NOT NULL, max int NOT NULL, within interval, rank_at timestamptz NOT NULL, PRIMARY KEY (tenant, counter, ticket, room));
CREATE INDEX budget_wait_ticket ON control.budget_wait (tenant, ticket);

CREATE TABLE control.storm (
  tenant text NOT NULL, policy text NOT NULL, key text NOT NULL, since timestamptz NOT NULL, until timestamptz NOT NULL, run_id uuid NOT NULL,
  seen int NOT NULL, PRIMARY KEY (tenant, policy, key, since));

-- facts: what its verdict follows from. due_at: when it is looked at again although nothing was freed. hold_until: of a
-- freeze or a storm, not of a halt. extended: its time to wait was prolonged by one of these or by a question.
ALTER TABLE control.admission ADD COLUMN facts jsonb, ADD COLUMN charged boolean NOT NULL DEFAULT false, ADD COLUMN due_at timestamptz,
  ADD COLUMN hold_until timestamptz, ADD COLUMN extended boolean NOT NULL DEFAULT false, ADD COLUMN approval_id uuid;
CREATE INDEX admission_due ON control.admission (tenant, due_at) WHERE state = 'queued' AND due_at IS NOT NULL;
CREATE INDEX admission_hold ON control.admission (tenant, hold_until) WHERE state = 'held' AND hold_until IS NOT NULL;

-- Questions that a policy asks before a start, about the plan that stands in them.
ALTER TABLE control.approval ADD COLUMN policy text, ADD COLUMN plan jsonb, ADD COLUMN plan_hash text, ADD COLUMN remind_every interval,
  ADD COLUMN reminded_at timestamptz, ADD COLUMN reminders int NOT NULL DEFAULT 0, ADD COLUMN escalate_to jsonb;
`;

const FUNCTIONS = `
-- What is in use of a counter: at once without p_within, else what was begun within it.
CREATE FUNCTION control.used(p_tenant text, p_counter text, p_within interval) RETURNS int LANGUAGE sql STABLE AS $$
  SELECT count(DISTINCT c.unit)::int FROM control.charge c WHERE c.tenant = p_tenant AND c.counter = p_counter
    AND CASE WHEN p_within IS NULL THEN c.live_until > clock_timestamp() ELSE c.at > clock_timestamp() - p_within END $$;

-- Rooms of counters as a start with this place in the queue finds them; its caller holds the locks of the counters.
CREATE FUNCTION control.rooms(p_tenant text, p_n int[], p_counter text[], p_within interval[], p_max int[], p_units jsonb, p_rank timestamptz, p_ticket bigint,
    OUT n int, OUT used int, OUT fresh int, OUT ahead int, OUT free_at timestamptz) RETURNS SETOF record LANGUAGE sql STABLE AS $$
  SELECT r.n, u.used, f.fresh, w.ahead,
    CASE WHEN r.within IS NULL OR u.used + f.fresh + w.ahead <= r.max THEN NULL ELSE (SELECT o.last + r.within FROM (
        SELECT max(c.at) AS last FROM control.charge c WHERE c.tenant = p_tenant AND c.counter = r.counter AND c.at > clock_timestamp() - r.within
        GROUP BY c.unit ORDER BY 1 OFFSET greatest(0, least(u.used, u.used + f.fresh + w.ahead - r.max) - 1) LIMIT 1) o) END
  FROM unnest(p_n, p_counter, p_within, p_max) AS r(n, counter, within, max),
    LATERAL (SELECT control.used(p_tenant, r.counter, r.within) AS used) u,
    LATERAL (SELECT count(*)::int AS fresh FROM jsonb_array_elements_text(p_units -> r.counter) m(unit) WHERE NOT EXISTS (
      SELECT 1 FROM control.charge c WHERE c.tenant = p_tenant AND c.counter = r.counter AND c.unit = m.unit
        AND CASE WHEN r.within IS NULL THEN c.live_until > clock_timestamp() ELSE c.at > clock_timestamp() - r.within END)) f,
    LATERAL (SELECT coalesce(sum(b.amount), 0)::int AS ahead FROM control.budget_wait b WHERE b.tenant = p_tenant AND b.counter = r.counter
      AND b.within IS NOT DISTINCT FROM r.within AND b.ticket <> p_ticket AND (b.rank_at, b.ticket) < (p_rank, p_ticket)) w $$;

-- Queued starts for which a room has opened, or whose time to be looked at has come. Only a hint: the turn itself checks.
CREATE FUNCTION control.budget_ready(p_tenant text, p_limit int) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
  WITH w AS (SELECT b.*, sum(b.amount) OVER (PARTITION BY b.counter, b.within ORDER BY b.rank_at, b.ticket) AS upto FROM control.budget_wait b WHERE b.tenant = p_tenant),
  u AS (SELECT k.counter, k.within, control.used(p_tenant, k.counter, k.within) AS used FROM (SELECT DISTINCT w.counter, w.within FROM w) k),
  open AS (SELECT DISTINCT w.run_id FROM w JOIN u ON u.counter = w.counter AND u.within IS NOT DISTINCT FROM w.within WHERE u.used + w.upto <= w.max)
  SELECT a.id FROM control.admission a WHERE a.tenant = p_tenant AND a.state = 'queued' AND a.next_try_at = 'infinity'
    AND (a.id IN (SELECT run_id FROM open) OR a.due_at <= clock_timestamp())
  ORDER BY a.rank_at, a.ticket LIMIT p_limit $$;
`;

export class HoldPolicies1700000003200 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
    await runner.query(FUNCTIONS);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.budget_ready, control.rooms, control.used');
    await runner.query('DROP TABLE control.storm, control.budget_wait, control.charge');
    await runner.query(
      `DELETE FROM control.approval WHERE policy IS NOT NULL;
      ALTER TABLE control.approval DROP COLUMN policy, DROP COLUMN plan, DROP COLUMN plan_hash, DROP COLUMN remind_every, DROP COLUMN reminded_at,
        DROP COLUMN reminders, DROP COLUMN escalate_to;
      ALTER TABLE control.admission DROP COLUMN facts, DROP COLUMN charged, DROP COLUMN due_at, DROP COLUMN hold_until, DROP COLUMN extended, DROP COLUMN approval_id`,
    );
  }
}
