import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- What an episode is part of; the first episode of an incident stands for it in lists.
ALTER TABLE decision.episode ADD COLUMN incident uuid;
CREATE INDEX episode_incident ON decision.episode (tenant, incident, opened_at, id) WHERE incident IS NOT NULL;
ALTER TABLE decision.resource ADD COLUMN retired jsonb;
-- Who waits for what: asked when the run on the other side ends.
CREATE INDEX resource_depends ON decision.resource USING gin (depends_on);
`;

/** As before, with claims on what the resources depend on or are members of, and without reading retired ones twice. */
const LOAD = `
CREATE FUNCTION decision.load(p_tenant text, p_locks bigint[], p_paths text[], p_prefixes text[], p_waits jsonb, p_budgets jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE k bigint; r jsonb; links text[]; held jsonb;
BEGIN
  FOR k IN SELECT DISTINCT x FROM unnest(p_locks) x ORDER BY 1 LOOP PERFORM pg_advisory_xact_lock(k); END LOOP;
  held := (SELECT jsonb_agg(DISTINCT jsonb_build_object('path', h.path, 'run_id', h.run_id, 'at', h.at)) FROM decision.hold h WHERE h.tenant = p_tenant
        AND (h.path = ANY (p_paths) OR h.path = ANY (p_prefixes) OR EXISTS (SELECT 1 FROM unnest(p_paths) p WHERE h.path >= p || '/' AND h.path < p || '0')));
  -- Most resources have no links, and mostly nothing is held: then this costs one look at an empty list.
  SELECT array_agg(l) INTO links FROM decision.resource x, unnest(x.depends_on || x.member_of) l WHERE x.tenant = p_tenant AND x.path = ANY (p_paths);
  IF links IS NOT NULL THEN
    held := coalesce(held, '[]') || coalesce((SELECT jsonb_agg(DISTINCT jsonb_build_object('path', h.path, 'run_id', h.run_id, 'at', h.at)) FROM decision.hold h
      WHERE h.tenant = p_tenant AND h.path = ANY (links)), '[]');
  END IF;
  SELECT jsonb_build_object(
    'ruleset', (SELECT id FROM decision.ruleset_head WHERE tenant = p_tenant),
    'resources', (SELECT jsonb_agg(to_jsonb(x)) FROM decision.resource x WHERE x.tenant = p_tenant AND x.path = ANY (p_paths)),
    'episodes', (SELECT jsonb_agg(to_jsonb(e)) FROM decision.episode e WHERE e.tenant = p_tenant AND e.resource = ANY (p_paths) AND e.live),
    'blocked', (SELECT jsonb_agg(to_jsonb(e)) FROM decision.episode e WHERE e.tenant = p_tenant AND e.resource = ANY (p_paths) AND e.blocked_until > clock_timestamp()),
    'waits', (SELECT jsonb_agg(to_jsonb(w)) FROM decision.wait w JOIN jsonb_to_recordset(p_waits) q(rule text, kind text, key text) USING (rule, kind, key) WHERE w.tenant = p_tenant),
    'budgets', (SELECT jsonb_agg(jsonb_build_object('rule', q.rule, 'slot', q.slot, 'key', q.key, 'used',
        (SELECT count(*) FROM decision.budget_use b WHERE b.tenant = p_tenant AND b.rule = q.rule AND b.slot = q.slot AND b.key = q.key AND b.at > to_timestamp(q.since))))
      FROM jsonb_to_recordset(p_budgets) q(rule text, slot smallint, key text, since double precision)),
    'holds', held,
    -- Episodes elsewhere that still need a start which one of these may want to withdraw.
    'siblings', (SELECT jsonb_agg(q.start_id) FROM (SELECT DISTINCT e.start_id FROM decision.episode e
        WHERE e.tenant = p_tenant AND e.resource = ANY (p_paths) AND e.live AND e.state = 'pending' AND e.start_id IS NOT NULL) q
      WHERE EXISTS (SELECT 1 FROM decision.episode s WHERE s.tenant = p_tenant AND s.start_id = q.start_id AND s.live AND s.state = 'pending'
        AND s.doc->'episode'->'withdrawing' IS NULL AND s.resource <> ALL (p_paths))),
    'halts', (SELECT jsonb_agg(body) FROM decision.halt WHERE tenant = p_tenant)
  ) INTO r;
  RETURN r;
END $$;
`;

/** As before, with `retired` of resources and `incident` of episodes. */
const SAVE = `
CREATE FUNCTION decision.save(p_tenant text, p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  -- last_run_end and check_at belong to the runs handler, which does not lock paths for them.
  INSERT INTO decision.resource AS r (tenant, path, kind, labels, state, state_at, seen_at, observed_at, member_of, depends_on, owner, declared, retired)
    SELECT p_tenant, x.path, x.kind, x.labels, x.state, x.state_at, x.seen_at, x.observed_at, x.member_of, x.depends_on, x.owner, x.declared, x.retired
    FROM jsonb_to_recordset(p->'resources') x(path text, kind text, labels jsonb, state jsonb, state_at jsonb, seen_at jsonb, observed_at timestamptz, member_of text[], depends_on text[], owner text, declared boolean, retired jsonb)
    ON CONFLICT (tenant, path) DO UPDATE SET labels = EXCLUDED.labels, state = EXCLUDED.state, state_at = EXCLUDED.state_at, seen_at = EXCLUDED.seen_at, observed_at = EXCLUDED.observed_at,
      member_of = EXCLUDED.member_of, depends_on = EXCLUDED.depends_on, owner = EXCLUDED.owner, declared = EXCLUDED.declared, retired = EXCLUDED.retired;
  INSERT INTO decision.state_change (tenant, path, at, changes, cause)
    SELECT p_tenant, x.path, x.at, x.changes, x.cause FROM jsonb_to_recordset(p->'changes') x(path text, at timestamptz, changes jsonb, cause text);
  INSERT INTO decision.trace (tenant, event_id, ruleset, subject, event, notes, verdicts, at)
    SELECT p_tenant, x.event_id, x.ruleset, x.subject, x.event, x.notes, x.verdicts, x.at
    FROM jsonb_to_recordset(p->'traces') x(event_id uuid, ruleset text, subject text, event jsonb, notes jsonb, verdicts jsonb, at timestamptz) ON CONFLICT DO NOTHING;
  UPDATE decision.trace t SET verdicts = t.verdicts || x.verdicts FROM jsonb_to_recordset(p->'verdicts') x(event_id uuid, verdicts jsonb) WHERE t.tenant = p_tenant AND t.event_id = x.event_id;
  INSERT INTO decision.decision (tenant, id, rule, rule_version, branch, rung, tier, cause, event_id, targets, batches, episodes, start, at)
    SELECT p_tenant, x.id, x.rule, x.rule_version, x.branch, x.rung, x.tier, x.cause, x.event_id, x.targets, x.batches, x.episodes, x.start, x.at
    FROM jsonb_to_recordset(p->'decisions') x(id uuid, rule text, rule_version text, branch text, rung text, tier text, cause text, event_id uuid, targets text[], batches jsonb, episodes jsonb, start jsonb, at timestamptz)
    ON CONFLICT DO NOTHING;
  -- Ended ones first: a batch may end one episode and open the next of the same rule and resource.
  INSERT INTO decision.episode AS e (tenant, id, rule, rule_version, resource, live, state, start_id, due_at, blocked_until, origin, doc, event, opened_at, incident)
    SELECT p_tenant, x.id, x.rule, x.rule_version, x.resource, x.live, x.state, x.start_id, x.due_at, x.blocked_until, x.origin, x.doc, x.event, x.opened_at, x.incident
    FROM jsonb_to_recordset(p->'episodes') x(id uuid, rule text, rule_version text, resource text, live boolean, state text, start_id uuid, due_at timestamptz, blocked_until timestamptz, origin text, doc jsonb, event jsonb, opened_at timestamptz, incident uuid)
    ORDER BY x.live
    ON CONFLICT (tenant, id) DO UPDATE SET live = EXCLUDED.live, state = EXCLUDED.state, start_id = EXCLUDED.start_id, due_at = EXCLUDED.due_at, blocked_until = EXCLUDED.blocked_until, doc = EXCLUDED.doc;
  DELETE FROM decision.wait w USING jsonb_to_recordset(p->'ended') x(rule text, kind text, key text) WHERE w.tenant = p_tenant AND w.rule = x.rule AND w.kind = x.kind AND w.key = x.key;
  INSERT INTO decision.wait AS w (tenant, rule, kind, key, doc, due_at, expires_at)
    SELECT p_tenant, x.rule, x.kind, x.key, x.doc, x.due_at, x.expires_at FROM jsonb_to_recordset(p->'waits') x(rule text, kind text, key text, doc jsonb, due_at timestamptz, expires_at timestamptz)
    ON CONFLICT (tenant, rule, kind, key) DO UPDATE SET doc = EXCLUDED.doc, due_at = EXCLUDED.due_at, expires_at = EXCLUDED.expires_at;
  INSERT INTO decision.budget_use (tenant, rule, slot, key, decision_id, at)
    SELECT p_tenant, x.rule, x.slot, x.key, x.decision_id, x.at FROM jsonb_to_recordset(p->'budgets') x(rule text, slot smallint, key text, decision_id uuid, at timestamptz) ON CONFLICT DO NOTHING;
END $$;
`;

/** Incidents and links between resources. The functions of before are kept under other names for the way back. */
export class IncidentsAndLinks1700000002100 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
    await runner.query(`
      ALTER FUNCTION decision.load RENAME TO load_before_2100;
      ALTER FUNCTION decision.save RENAME TO save_before_2100`);
    await runner.query(LOAD);
    await runner.query(SAVE);
    await runner.query(`
      ALTER FUNCTION decision.load SET plan_cache_mode = force_generic_plan;
      ALTER FUNCTION decision.save SET plan_cache_mode = force_generic_plan`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP FUNCTION decision.load;
      DROP FUNCTION decision.save;
      ALTER FUNCTION decision.load_before_2100 RENAME TO load;
      ALTER FUNCTION decision.save_before_2100 RENAME TO save;
      DROP INDEX decision.resource_depends;
      ALTER TABLE decision.resource DROP COLUMN retired;
      ALTER TABLE decision.episode DROP COLUMN incident`);
  }
}
