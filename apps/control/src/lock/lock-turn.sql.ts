/**
 * One lock given back, for itself and as a part of a turn. What is looked up by its fence, holder or ticket names the tenant in
 * words that no index has: plans are made while the tables are nearly empty, and any index that begins with the tenant then
 * costs as much as the right one. Such a plan read the whole index of all claims, those that are gone and not yet vacuumed
 * included: 0.3 ms more for each lock after 6,000 of them, and growing.
 */
export const lockFreeSql = `
-- One lock given back: 204, and what it held; 403 another's, 409 a run's. ahead: whether a run waits there (true), or a person
-- alone (false).
CREATE FUNCTION control.lock_free(p_tenant text, p_quick boolean, p_fence bigint, p_by text, OUT status int, OUT holders jsonb, OUT ahead jsonb)
LANGUAGE plpgsql AS $$
BEGIN
  -- What a crash of the server may undo: see the caller.
  IF p_quick THEN PERFORM set_config('synchronous_commit', 'off', true); END IF;
  status := 204;
  WITH gone AS (DELETE FROM control.claim c WHERE c.fence = p_fence AND c.tenant || '' = p_tenant AND c.principal = p_by RETURNING c.path)
    SELECT jsonb_agg(g.path) INTO holders FROM gone g;
  IF holders IS NULL THEN
    SELECT CASE WHEN c.run_id IS NOT NULL THEN 409 ELSE 403 END INTO status FROM control.claim c
      WHERE c.fence = p_fence AND c.tenant || '' = p_tenant AND c.expires_at > clock_timestamp() LIMIT 1;
    IF NOT FOUND THEN status := 204; END IF;
  ELSIF EXISTS (SELECT 1 FROM control.waiter w WHERE w.tenant = p_tenant) THEN
    -- Whoever waits here is told: runs by their own queue, people by the process that keeps their answer back.
    SELECT to_jsonb(bool_or(w.runs)) INTO ahead FROM jsonb_array_elements_text(holders) g(path), LATERAL (
      SELECT w.run_id IS NOT NULL AS runs FROM control.waiter w WHERE w.tenant = p_tenant AND w.path = ANY (g.path || control.prefixes(g.path))
      UNION ALL SELECT w.run_id IS NOT NULL FROM control.waiter w WHERE w.tenant = p_tenant AND w.path >= g.path || '/' AND w.path < g.path || '0') w;
  END IF;
END $$;
ALTER FUNCTION control.lock_free SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION control.lock_free SET enable_seqscan = off;
ALTER FUNCTION control.lock_free SET enable_mergejoin = off;
ALTER FUNCTION control.lock_free SET enable_bitmapscan = off;
ALTER FUNCTION control.lock_free SET jit = off;
`;

/**
 * Locks of people, many in one statement: what is given back is freed, then each request in order is granted, queued or
 * refused. All advisory locks of the whole turn are taken first, in one sorted sweep, so a waiter can be granted in the
 * very transaction that frees its path without breaking the order that keeps deadlocks out. Each statement inside has a
 * snapshot younger than the locks, since the function is volatile and the transaction READ COMMITTED.
 *
 * Arrays side by side: one entry per release; one per request (`p_first`, `p_last`: its claims; `p_alone`: it meets no
 * other of this turn; `p_mode`: 0 is answered now, 1 kept back if it has to wait, 2 was kept back and is asked again); one
 * per claim, with its prefixes and itself joined by newlines, which no path holds, and the request it belongs to (`p_of`).
 */
export const lockTurnSql = `
CREATE FUNCTION control.lock_turn(p_tenant text, p_own text[], p_up text[], p_release bigint[], p_by text[],
    p_holder text[], p_owner text[], p_principal text[], p_ttl double precision[], p_wait double precision[], p_alive double precision,
    p_rank timestamptz[], p_mode int[], p_alone boolean[], p_first int[], p_last int[], p_path text[], p_x boolean[], p_lineage text[], p_of int[],
    OUT n int, OUT status int, OUT fence bigint, OUT expires timestamptz, OUT ticket bigint, OUT rank timestamptz, OUT holders jsonb, OUT ahead jsonb)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
  r record; a int; b int; j int; line text[]; busy boolean; until timestamptz; alive timestamptz; place record; done boolean[] := '{}';
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'control.lock_turn needs READ COMMITTED, not %', current_setting('transaction_isolation') USING ERRCODE = '25001';
  END IF;
  -- In the order of the keys: a subquery that sorts is read in its order.
  PERFORM CASE WHEN own THEN pg_advisory_xact_lock(k)::text ELSE pg_advisory_xact_lock_shared(k)::text END FROM (
    SELECT k, bool_or(own) AS own FROM (
      SELECT hashtextextended(p_tenant || E'\\n' || p, 7) AS k, true AS own FROM unnest(p_own) p
      UNION ALL SELECT hashtextextended(p_tenant || E'\\n' || p, 7), false FROM unnest(p_up) p) s
    GROUP BY k ORDER BY k) o;

  IF cardinality(p_release) > 0 THEN
    -- In the order of the fences: two processes that free the same ones do not wait for each other crosswise.
    FOR i IN 1 .. cardinality(p_release) LOOP
      n := -i; fence := p_release[i]; expires := NULL; ticket := NULL; rank := NULL;
      SELECT f.status, f.holders, f.ahead INTO status, holders, ahead FROM control.lock_free(p_tenant, false, p_release[i], p_by[i]) f;
      RETURN NEXT;
    END LOOP;
  END IF;

  -- Requests that meet no other of this turn, nobody's lock and nobody's place are granted together.
  IF true = ANY (p_alone) THEN
    FOR r IN
      WITH blocked AS MATERIALIZED (SELECT q.i FROM unnest(p_path, p_x, p_lineage, p_of) AS q(path, x, lineage, i), LATERAL (
            SELECT 1 FROM control.claim c WHERE c.tenant = p_tenant AND c.path = ANY (string_to_array(q.lineage, E'\\n')) AND (c.exclusive OR q.x) AND c.expires_at > clock_timestamp()
            UNION ALL SELECT 1 FROM control.claim c WHERE c.tenant = p_tenant AND c.path >= q.path || '/' AND c.path < q.path || '0' AND (c.exclusive OR q.x) AND c.expires_at > clock_timestamp()
            UNION ALL SELECT 1 FROM control.waiter w WHERE w.tenant = p_tenant AND w.path = ANY (string_to_array(q.lineage, E'\\n')) AND (w.exclusive OR q.x) AND w.alive_until > clock_timestamp()
            UNION ALL SELECT 1 FROM control.waiter w WHERE w.tenant = p_tenant AND w.path >= q.path || '/' AND w.path < q.path || '0' AND (w.exclusive OR q.x) AND w.alive_until > clock_timestamp()
            LIMIT 1) h),
        free AS MATERIALIZED (SELECT q.i::int AS i, q.holder, q.owner, q.principal, q.ttl, nextval('control.fence') AS fence
          FROM unnest(p_alone, p_holder, p_owner, p_principal, p_ttl) WITH ORDINALITY AS q(alone, holder, owner, principal, ttl, i)
            LEFT JOIN LATERAL (SELECT 1 AS known FROM control.claim c WHERE c.holder = q.holder AND c.tenant || '' = p_tenant
              UNION ALL SELECT 1 FROM control.lock_request w WHERE w.tenant = p_tenant AND w.holder = q.holder LIMIT 1) k ON true
          WHERE q.alone AND k.known IS NULL AND NOT EXISTS (SELECT 1 FROM blocked b WHERE b.i = q.i)),
        put AS (INSERT INTO control.claim AS t (tenant, path, fence, exclusive, holder, owner, principal, expires_at)
          SELECT p_tenant, q.path, g.fence, q.x, g.holder, g.owner, g.principal, clock_timestamp() + make_interval(secs => g.ttl)
          FROM free g, unnest(p_path, p_x, p_of) AS q(path, x, i) WHERE q.i = g.i RETURNING t.fence, t.expires_at)
      SELECT g.i, g.fence, min(t.expires_at) AS expires FROM free g JOIN put t ON t.fence = g.fence GROUP BY g.i, g.fence
    LOOP
      n := r.i; status := 201; fence := r.fence; expires := r.expires; ticket := NULL; holders := '[]'; ahead := '[]';
      done[r.i] := true;
      RETURN NEXT;
    END LOOP;
  END IF;

  FOR j IN 1 .. coalesce(cardinality(p_holder), 0) LOOP
    CONTINUE WHEN done[j];
    n := j; rank := NULL; holders := '[]'; ahead := '[]'; a := p_first[j]; b := p_last[j];
    SELECT h.fence, h.expires_at, q.ticket, q.rank_at, q.wait_until INTO place FROM (SELECT 1) one
      LEFT JOIN LATERAL (SELECT c.fence, c.expires_at FROM control.claim c WHERE c.holder = p_holder[j] AND c.tenant || '' = p_tenant
        AND c.expires_at > clock_timestamp() LIMIT 1) h ON true
      LEFT JOIN LATERAL (SELECT w.ticket, w.rank_at, w.wait_until FROM control.lock_request w WHERE w.tenant = p_tenant AND w.holder = p_holder[j]
        AND w.alive_until > clock_timestamp() AND w.wait_until > clock_timestamp()) q ON true;
    IF place.fence IS NOT NULL THEN
      status := 200; fence := place.fence; expires := place.expires_at; ticket := NULL; RETURN NEXT; CONTINUE;
    END IF;
    IF place.ticket IS NOT NULL THEN ticket := place.ticket; rank := place.rank_at; until := place.wait_until;
    ELSE ticket := nextval('control.ticket'); rank := p_rank[j]; until := clock_timestamp() + make_interval(secs => p_wait[j]); END IF;

    busy := false;
    FOR i IN a .. b LOOP
      line := string_to_array(p_lineage[i], E'\\n');
      busy := EXISTS (SELECT 1 FROM control.claim c WHERE c.tenant = p_tenant AND c.path = ANY (line) AND (c.exclusive OR p_x[i]) AND c.expires_at > clock_timestamp())
        OR EXISTS (SELECT 1 FROM control.claim c WHERE c.tenant = p_tenant AND c.path >= p_path[i] || '/' AND c.path < p_path[i] || '0'
          AND (c.exclusive OR p_x[i]) AND c.expires_at > clock_timestamp())
        OR EXISTS (SELECT 1 FROM control.waiter w WHERE w.tenant = p_tenant AND w.path = ANY (line) AND (w.exclusive OR p_x[i])
          AND w.alive_until > clock_timestamp() AND w.ticket <> lock_turn.ticket AND (w.rank_at, w.ticket) < (rank, lock_turn.ticket))
        OR EXISTS (SELECT 1 FROM control.waiter w WHERE w.tenant = p_tenant AND w.path >= p_path[i] || '/' AND w.path < p_path[i] || '0'
          AND (w.exclusive OR p_x[i]) AND w.alive_until > clock_timestamp() AND w.ticket <> lock_turn.ticket AND (w.rank_at, w.ticket) < (rank, lock_turn.ticket));
      EXIT WHEN busy;
    END LOOP;

    IF NOT busy THEN
      fence := nextval('control.fence');
      expires := clock_timestamp() + make_interval(secs => p_ttl[j]);
      INSERT INTO control.claim (tenant, path, fence, exclusive, holder, owner, principal, expires_at)
        SELECT p_tenant, q.path, lock_turn.fence, q.x, p_holder[j], p_owner[j], p_principal[j], lock_turn.expires
        FROM unnest(p_path[a:b], p_x[a:b]) AS q(path, x);
      status := 201;
    ELSE
      fence := NULL; expires := NULL;
      -- Who is in the way is looked up for those that are answered now.
      IF p_mode[j] = 0 THEN
        holders := control.holders(p_tenant, p_path[a:b], p_x[a:b], NULL);
        ahead := control.ahead(p_tenant, p_path[a:b], p_x[a:b], rank, ticket);
      END IF;
      status := CASE WHEN p_wait[j] > 0 THEN 202 ELSE 409 END;
    END IF;

    IF status <> 202 THEN
      IF place.ticket IS NOT NULL THEN
        WITH q AS (DELETE FROM control.lock_request q WHERE q.tenant = p_tenant AND q.holder = p_holder[j])
        DELETE FROM control.waiter w WHERE w.ticket = place.ticket AND w.tenant || '' = p_tenant;
      END IF;
    ELSIF p_mode[j] < 2 THEN
      -- It stands in nobody's way after its own deadline, nor when it is no longer heard of.
      alive := least(until, clock_timestamp() + make_interval(secs => p_alive));
      WITH q AS (INSERT INTO control.lock_request AS q (tenant, holder, ticket, rank_at, wait_until, alive_until)
        VALUES (p_tenant, p_holder[j], lock_turn.ticket, rank, until, alive)
        ON CONFLICT (tenant, holder) DO UPDATE SET alive_until = excluded.alive_until, ticket = excluded.ticket, rank_at = excluded.rank_at, wait_until = excluded.wait_until)
      INSERT INTO control.waiter (tenant, path, ticket, exclusive, rank_at, owner, alive_until)
        SELECT p_tenant, q.path, lock_turn.ticket, q.x, rank, p_owner[j], alive
        FROM unnest(p_path[a:b], p_x[a:b]) AS q(path, x)
        ON CONFLICT ON CONSTRAINT waiter_pkey DO UPDATE SET alive_until = excluded.alive_until;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;
-- Each statement has one good plan, by keys; without the settings a plan that is made while the tables are empty reads
-- them whole, and is kept.
ALTER FUNCTION control.lock_turn SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION control.lock_turn SET enable_seqscan = off;
ALTER FUNCTION control.lock_turn SET enable_mergejoin = off;
ALTER FUNCTION control.lock_turn SET enable_bitmapscan = off;
-- Estimates of many small steps add up to what PostgreSQL compiles first: 3 ms for a statement of 0.3 ms.
ALTER FUNCTION control.lock_turn SET jit = off;
`;
