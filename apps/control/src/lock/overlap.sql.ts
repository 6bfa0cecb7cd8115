/**
 * What stands in the way of a set of claims, as `lock.sql.ts` says it, made so that no plan of it reads everything: one
 * that is made while the tables are nearly empty is kept. The prefixes of each path are worked out once, and not for every
 * row that is looked at.
 */
export const BY_KEY =
  'SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET jit = off';

export const overlapSql = `
-- To a plan that expects one row every index with the tenant is as good as the key, and reads all of the tenant's.
DROP INDEX control.claim_holder;
DROP INDEX control.claim_fence;
DROP INDEX control.waiter_ticket;
CREATE INDEX claim_holder ON control.claim (holder);
CREATE INDEX claim_fence ON control.claim (fence);
CREATE INDEX waiter_ticket ON control.waiter (ticket);

CREATE OR REPLACE FUNCTION control.holders(p_tenant text, p_paths text[], p_x boolean[], p_run uuid) RETURNS jsonb LANGUAGE sql STABLE ${BY_KEY} AS $$
  WITH q AS MATERIALIZED (SELECT u.path, u.x, u.path || control.prefixes(u.path) AS up FROM unnest(p_paths, p_x) AS u(path, x))
  SELECT coalesce(jsonb_agg(b), '[]') FROM (
    SELECT jsonb_strip_nulls(jsonb_build_object('fence', c.fence::text, 'path', c.path, 'owner', c.owner, 'runId', c.run_id,
        'since', to_char(c.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))) AS b
    FROM q, LATERAL (
      SELECT * FROM control.claim a WHERE a.tenant = p_tenant AND a.path = ANY (q.up)
      UNION ALL
      SELECT * FROM control.claim d WHERE d.tenant = p_tenant AND d.path >= q.path || '/' AND d.path < q.path || '0') c
    WHERE (c.exclusive OR q.x) AND c.expires_at > clock_timestamp() AND (p_run IS NULL OR c.run_id IS DISTINCT FROM p_run)
    GROUP BY c.fence, c.path, c.owner, c.run_id, c.since ORDER BY c.fence, c.path LIMIT 10) h $$;

CREATE OR REPLACE FUNCTION control.ahead(p_tenant text, p_paths text[], p_x boolean[], p_rank timestamptz, p_ticket bigint) RETURNS jsonb LANGUAGE sql STABLE ${BY_KEY} AS $$
  WITH q AS MATERIALIZED (SELECT u.path, u.x, u.path || control.prefixes(u.path) AS up FROM unnest(p_paths, p_x) AS u(path, x))
  SELECT coalesce(jsonb_agg(b), '[]') FROM (
    SELECT jsonb_strip_nulls(jsonb_build_object('path', min(w.path), 'owner', min(w.owner), 'runId', w.run_id)) AS b
    FROM q, LATERAL (
      SELECT * FROM control.waiter a WHERE a.tenant = p_tenant AND a.path = ANY (q.up)
      UNION ALL
      SELECT * FROM control.waiter d WHERE d.tenant = p_tenant AND d.path >= q.path || '/' AND d.path < q.path || '0') w
    WHERE (w.exclusive OR q.x) AND w.alive_until > clock_timestamp() AND w.ticket <> p_ticket AND (w.rank_at, w.ticket) < (p_rank, p_ticket)
    GROUP BY w.ticket, w.run_id ORDER BY w.ticket LIMIT 1000) h $$;
`;
