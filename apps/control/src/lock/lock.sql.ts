import { BY_KEY } from './overlap.sql.js';

/** Their waiters are found by the ticket, as `lockFreeSql` says: through the tenant each of 1,000 read all 1,000, 0.2 s for a look. */
export const readySql = `
-- Queued admissions whose turn it may be, in order. Without locks: only a hint, the turn itself checks again.
CREATE OR REPLACE FUNCTION control.ready(p_tenant text, p_limit int) RETURNS SETOF uuid LANGUAGE sql STABLE ${BY_KEY} AS $$
  SELECT a.id FROM control.admission a
  WHERE a.tenant = p_tenant AND a.state = 'queued' AND a.next_try_at <= clock_timestamp()
    AND NOT EXISTS (SELECT 1 FROM control.waiter q, LATERAL (
        SELECT c.exclusive, c.expires_at FROM control.claim c WHERE c.tenant = p_tenant AND c.path = ANY (q.path || control.prefixes(q.path))
        UNION ALL SELECT c.exclusive, c.expires_at FROM control.claim c WHERE c.tenant = p_tenant AND c.path >= q.path || '/' AND c.path < q.path || '0') h
      WHERE q.ticket = a.ticket AND q.tenant || '' = p_tenant AND (h.exclusive OR q.exclusive) AND h.expires_at > clock_timestamp())
    AND NOT EXISTS (SELECT 1 FROM control.waiter q, LATERAL (
        SELECT w.exclusive, w.alive_until, w.rank_at, w.ticket FROM control.waiter w WHERE w.tenant = p_tenant AND w.path = ANY (q.path || control.prefixes(q.path))
        UNION ALL SELECT w.exclusive, w.alive_until, w.rank_at, w.ticket FROM control.waiter w WHERE w.tenant = p_tenant AND w.path >= q.path || '/' AND w.path < q.path || '0') e
      WHERE q.ticket = a.ticket AND q.tenant || '' = p_tenant AND (e.exclusive OR q.exclusive) AND e.alive_until > clock_timestamp()
        AND e.ticket <> a.ticket AND (e.rank_at, e.ticket) < (a.rank_at, a.ticket))
  ORDER BY a.rank_at, a.ticket LIMIT p_limit $$;
`;

/**
 * The mutex. Two claims conflict when their paths overlap (equal, or one a prefix of the other at a `/`) and at least
 * one is exclusive. Every transaction that wants claims first takes advisory locks, sorted by key: exclusive on the
 * paths it claims, shared on each of their proper prefixes. Whoever overlaps therefore takes turns, whoever does not
 * never waits, and fences drawn under these locks grow in the order of grants on every overlapping path.
 */
export const acquireSql = `
CREATE FUNCTION control.prefixes(p text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT array_agg(array_to_string((string_to_array(p, '/'))[1:n], '/') ORDER BY n)
  FROM generate_series(1, cardinality(string_to_array(p, '/')) - 1) n $$;

-- Halts: every admission and every start shares this lock, making a halt takes it alone. So once a halt is committed,
-- nothing that has not seen it is still under way.
CREATE FUNCTION control.halt_key(p_tenant text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended(p_tenant, 9) $$;

-- p_own: paths (or prefixes that cover them); p_keys: coalescing keys.
CREATE FUNCTION control.take(p_tenant text, p_own text[], p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  -- Under REPEATABLE READ the conflict query after a wait reads the past and grants what is taken.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'control.take needs READ COMMITTED, not %', current_setting('transaction_isolation') USING ERRCODE = '25001';
  END IF;
  FOR r IN SELECT k, bool_or(own) AS own FROM (
      SELECT hashtextextended(p_tenant || E'\\n' || p, 7) AS k, true AS own FROM unnest(p_own) p
      UNION ALL SELECT hashtextextended(p_tenant || E'\\n' || a, 7), false FROM unnest(p_own) p, unnest(control.prefixes(p)) a
      UNION ALL SELECT hashtextextended(p_tenant || E'\\n' || c, 8), true FROM unnest(p_keys) c) s
    GROUP BY k ORDER BY k LOOP
    IF r.own THEN PERFORM pg_advisory_xact_lock(r.k); ELSE PERFORM pg_advisory_xact_lock_shared(r.k); END IF;
  END LOOP;
END $$;

-- Holders in the way, at most ten. A step asks for more under its run's locks, so it does not block itself.
CREATE FUNCTION control.holders(p_tenant text, p_paths text[], p_x boolean[], p_run uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT coalesce(jsonb_agg(b), '[]') FROM (
    SELECT jsonb_strip_nulls(jsonb_build_object('fence', c.fence::text, 'path', c.path, 'owner', c.owner, 'runId', c.run_id,
        'since', to_char(c.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))) AS b
    FROM unnest(p_paths, p_x) AS q(path, x), LATERAL (
      SELECT * FROM control.claim a WHERE a.tenant = p_tenant AND a.path = ANY (q.path || control.prefixes(q.path))
      UNION ALL
      SELECT * FROM control.claim d WHERE d.tenant = p_tenant AND d.path >= q.path || '/' AND d.path < q.path || '0') c
    WHERE (c.exclusive OR q.x) AND c.expires_at > clock_timestamp() AND (p_run IS NULL OR c.run_id IS DISTINCT FROM p_run)
    GROUP BY c.fence, c.path, c.owner, c.run_id, c.since ORDER BY c.fence, c.path LIMIT 10) h $$;

-- Conflicting waiters with an earlier place.
CREATE FUNCTION control.ahead(p_tenant text, p_paths text[], p_x boolean[], p_rank timestamptz, p_ticket bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT coalesce(jsonb_agg(b), '[]') FROM (
    SELECT jsonb_strip_nulls(jsonb_build_object('path', min(w.path), 'owner', min(w.owner), 'runId', w.run_id)) AS b
    FROM unnest(p_paths, p_x) AS q(path, x), LATERAL (
      SELECT * FROM control.waiter a WHERE a.tenant = p_tenant AND a.path = ANY (q.path || control.prefixes(q.path))
      UNION ALL
      SELECT * FROM control.waiter d WHERE d.tenant = p_tenant AND d.path >= q.path || '/' AND d.path < q.path || '0') w
    WHERE (w.exclusive OR q.x) AND w.alive_until > clock_timestamp() AND w.ticket <> p_ticket AND (w.rank_at, w.ticket) < (p_rank, p_ticket)
    GROUP BY w.ticket, w.run_id ORDER BY w.ticket LIMIT 1000) h $$;

-- All or nothing. fence is null when something is in the way. p_rank null: no waiter counts (a step of a run that
-- already holds locks: a waiter may be waiting for exactly those, and both would wait for ever).
CREATE FUNCTION control.try_grant(p_tenant text, p_paths text[], p_x boolean[], p_holder text, p_owner text, p_principal text, p_run uuid,
    p_step text, p_ttl interval, p_rank timestamptz, p_ticket bigint, OUT fence bigint, OUT holders jsonb, OUT ahead jsonb, OUT expires timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
  holders := control.holders(p_tenant, p_paths, p_x, CASE WHEN p_step IS NULL THEN NULL ELSE p_run END);
  ahead := CASE WHEN p_rank IS NULL THEN '[]'::jsonb ELSE control.ahead(p_tenant, p_paths, p_x, p_rank, p_ticket) END;
  IF holders <> '[]'::jsonb OR ahead <> '[]'::jsonb THEN RETURN; END IF;
  fence := nextval('control.fence');
  expires := CASE WHEN p_ttl IS NULL THEN 'infinity'::timestamptz ELSE clock_timestamp() + p_ttl END;
  INSERT INTO control.claim (tenant, path, fence, exclusive, holder, owner, principal, run_id, step, expires_at)
    SELECT p_tenant, q.path, try_grant.fence, bool_or(q.x), p_holder, p_owner, p_principal, p_run, p_step, try_grant.expires
    FROM unnest(p_paths, p_x) AS q(path, x) GROUP BY q.path;
END $$;

-- One round trip for callers with a single set.
CREATE FUNCTION control.acquire(p_tenant text, p_own text[], p_paths text[], p_x boolean[], p_holder text, p_owner text, p_principal text, p_run uuid,
    p_step text, p_ttl interval, p_rank timestamptz, p_ticket bigint, OUT fence bigint, OUT holders jsonb, OUT ahead jsonb, OUT expires timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM control.take(p_tenant, p_own, '{}');
  SELECT g.fence, g.holders, g.ahead, g.expires INTO fence, holders, ahead, expires
    FROM control.try_grant(p_tenant, p_paths, p_x, p_holder, p_owner, p_principal, p_run, p_step, p_ttl, p_rank, p_ticket) g;
END $$;

${readySql}`;
