/**
 * Locks of people, many in one statement: what is given back is freed, then each request in order is granted, queued or
 * refused. All advisory locks of the whole turn are taken first, in one sorted sweep, so a waiter can be granted in the
 * very transaction that frees its path without breaking the order that keeps deadlocks out. Each statement inside has a
 * snapshot younger than the locks, since the function is volatile and the transaction READ COMMITTED.
 *
 * Arrays side by side: one entry per release; one per request (`p_first`, `p_last`: its claims); one per claim, with its
 * prefixes and itself joined by newlines, which no path holds.
 */
export const lockTurnSql = `
CREATE FUNCTION control.lock_turn(p_tenant text, p_own text[], p_up text[], p_release bigint[], p_by text[],
    p_holder text[], p_owner text[], p_principal text[], p_ttl double precision[], p_wait double precision[], p_alive double precision,
    p_rank timestamptz[], p_again boolean[], p_first int[], p_last int[], p_path text[], p_x boolean[], p_lineage text[],
    OUT n int, OUT status int, OUT fence bigint, OUT expires timestamptz, OUT ticket bigint, OUT holders jsonb, OUT ahead jsonb)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
  r record; a int; b int; j int; line text[]; busy boolean; placed boolean; rank timestamptz; until timestamptz; alive timestamptz; place record;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'control.lock_turn needs READ COMMITTED, not %', current_setting('transaction_isolation') USING ERRCODE = '25001';
  END IF;
  FOR r IN SELECT k, bool_or(own) AS own FROM (
      SELECT hashtextextended(p_tenant || E'\\n' || p, 7) AS k, true AS own FROM unnest(p_own) p
      UNION ALL SELECT hashtextextended(p_tenant || E'\\n' || p, 7), false FROM unnest(p_up) p) s
    GROUP BY k ORDER BY k LOOP
    IF r.own THEN PERFORM pg_advisory_xact_lock(r.k); ELSE PERFORM pg_advisory_xact_lock_shared(r.k); END IF;
  END LOOP;

  FOR j IN 1 .. coalesce(cardinality(p_release), 0) LOOP
    n := -j; status := 204; fence := p_release[j]; expires := NULL; ticket := NULL; holders := NULL; ahead := NULL;
    FOR r IN DELETE FROM control.claim c WHERE c.tenant = p_tenant AND c.fence = p_release[j] AND c.principal = p_by[j] RETURNING c.path LOOP
      -- Whoever waits here is told: runs by their own queue, people by the process that keeps their answer back.
      SELECT to_jsonb(bool_or(w.run_id IS NOT NULL) OR coalesce(ahead = 'true', false)) AS runs INTO place FROM control.waiter w
        WHERE w.tenant = p_tenant AND (w.path = ANY (r.path || control.prefixes(r.path)) OR (w.path >= r.path || '/' AND w.path < r.path || '0'));
      ahead := coalesce(place.runs, ahead);
      holders := coalesce(holders, '[]') || to_jsonb(r.path);
    END LOOP;
    IF holders IS NULL THEN
      SELECT CASE WHEN c.run_id IS NOT NULL THEN 409 ELSE 403 END INTO place FROM control.claim c
        WHERE c.tenant = p_tenant AND c.fence = p_release[j] AND c.expires_at > clock_timestamp() LIMIT 1;
      IF FOUND THEN status := place."case"; END IF;
    END IF;
    RETURN NEXT;
  END LOOP;

  FOR j IN 1 .. coalesce(cardinality(p_holder), 0) LOOP
    n := j; ticket := NULL; holders := '[]'; ahead := '[]'; a := p_first[j]; b := p_last[j];
    SELECT c.fence, c.expires_at INTO fence, expires FROM control.claim c
      WHERE c.tenant = p_tenant AND c.holder = p_holder[j] AND c.expires_at > clock_timestamp() LIMIT 1;
    IF FOUND THEN status := 200; RETURN NEXT; CONTINUE; END IF;

    SELECT q.ticket, q.rank_at, q.wait_until INTO place FROM control.lock_request q WHERE q.tenant = p_tenant AND q.holder = p_holder[j]
      AND q.alive_until > clock_timestamp() AND q.wait_until > clock_timestamp();
    placed := FOUND;
    IF placed THEN ticket := place.ticket; rank := place.rank_at; until := place.wait_until;
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
      -- A waiter that is only woken up knows already who is in its way.
      IF NOT p_again[j] THEN
        holders := control.holders(p_tenant, p_path[a:b], p_x[a:b], NULL);
        ahead := control.ahead(p_tenant, p_path[a:b], p_x[a:b], rank, ticket);
      END IF;
      status := CASE WHEN p_wait[j] > 0 THEN 202 ELSE 409 END;
    END IF;

    IF status = 202 THEN
      IF NOT p_again[j] THEN
        -- It stands in nobody's way after its own deadline, nor when it is no longer heard of.
        alive := least(until, clock_timestamp() + make_interval(secs => p_alive));
        INSERT INTO control.lock_request AS q (tenant, holder, ticket, rank_at, wait_until, alive_until)
          VALUES (p_tenant, p_holder[j], lock_turn.ticket, rank, until, alive)
          ON CONFLICT (tenant, holder) DO UPDATE SET alive_until = excluded.alive_until, ticket = excluded.ticket, rank_at = excluded.rank_at, wait_until = excluded.wait_until;
        INSERT INTO control.waiter (tenant, path, ticket, exclusive, rank_at, owner, alive_until)
          SELECT p_tenant, q.path, lock_turn.ticket, q.x, rank, p_owner[j], alive
          FROM unnest(p_path[a:b], p_x[a:b]) AS q(path, x)
          ON CONFLICT ON CONSTRAINT waiter_pkey DO UPDATE SET alive_until = excluded.alive_until;
      END IF;
    ELSIF placed THEN
      DELETE FROM control.lock_request q WHERE q.tenant = p_tenant AND q.holder = p_holder[j];
      DELETE FROM control.waiter w WHERE w.tenant = p_tenant AND w.ticket = lock_turn.ticket;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;
ALTER FUNCTION control.lock_turn SET plan_cache_mode = force_generic_plan;
`;
