import type { MigrationInterface, QueryRunner } from 'typeorm';
import { documentTableSql } from '@opsloop/postgres';

const TABLES = `
-- Which rule versions, in which mode, judged an event: immutable, so that "why not" has the same answer for ever.
CREATE TABLE decision.ruleset (tenant text NOT NULL, id text NOT NULL, rules jsonb NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, id));
CREATE TABLE decision.ruleset_head (tenant text PRIMARY KEY, id text NOT NULL);

-- state_at: time of the last change per key; seen_at: time of the last observation per key, which is what late events lose against.
CREATE TABLE decision.resource (tenant text NOT NULL, path text COLLATE "C" NOT NULL, kind text NOT NULL, labels jsonb NOT NULL DEFAULT '{}', state jsonb NOT NULL DEFAULT '{}',
  state_at jsonb NOT NULL DEFAULT '{}', seen_at jsonb NOT NULL DEFAULT '{}', observed_at timestamptz, member_of text[] NOT NULL DEFAULT '{}', depends_on text[] NOT NULL DEFAULT '{}',
  owner text, declared boolean NOT NULL DEFAULT false, last_run_end timestamptz, check_at timestamptz, PRIMARY KEY (tenant, path));
CREATE INDEX resource_kind ON decision.resource (tenant, kind, path);
CREATE INDEX resource_labels ON decision.resource USING gin (labels jsonb_path_ops);
CREATE INDEX resource_members ON decision.resource USING gin (member_of);
CREATE INDEX resource_check ON decision.resource (check_at) WHERE check_at IS NOT NULL;
CREATE TABLE decision.state_change (tenant text NOT NULL, path text COLLATE "C" NOT NULL, at timestamptz NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, changes jsonb NOT NULL, cause text,
  PRIMARY KEY (tenant, path, at, id));

CREATE TABLE decision.trace (tenant text NOT NULL, event_id uuid NOT NULL, ruleset text NOT NULL, subject text, event jsonb NOT NULL, notes jsonb NOT NULL, verdicts jsonb NOT NULL,
  at timestamptz NOT NULL, PRIMARY KEY (tenant, event_id));
CREATE INDEX trace_subject ON decision.trace (tenant, subject, at DESC);
CREATE TABLE decision.decision (tenant text NOT NULL, id uuid NOT NULL, rule text NOT NULL, rule_version text NOT NULL, branch text NOT NULL, rung text NOT NULL, tier text NOT NULL, cause text NOT NULL,
  event_id uuid, targets text[] NOT NULL, batches jsonb NOT NULL, episodes jsonb NOT NULL, start jsonb NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant, id));
CREATE INDEX decision_at ON decision.decision (tenant, at DESC, id DESC);
CREATE INDEX decision_rule ON decision.decision (tenant, rule, at DESC);
CREATE INDEX decision_event ON decision.decision (tenant, event_id);

CREATE TABLE decision.episode (tenant text NOT NULL, id uuid NOT NULL, rule text NOT NULL, rule_version text NOT NULL, resource text COLLATE "C" NOT NULL, live boolean NOT NULL, state text NOT NULL,
  start_id uuid, due_at timestamptz, blocked_until timestamptz, origin text NOT NULL, doc jsonb NOT NULL, event jsonb NOT NULL, opened_at timestamptz NOT NULL, PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX episode_live ON decision.episode (tenant, rule, resource) WHERE live;
CREATE INDEX episode_start ON decision.episode (tenant, start_id) WHERE live AND start_id IS NOT NULL;
CREATE INDEX episode_due ON decision.episode (due_at) WHERE live AND due_at IS NOT NULL;
CREATE INDEX episode_blocked ON decision.episode (tenant, resource) WHERE blocked_until IS NOT NULL;
CREATE INDEX episode_resource ON decision.episode (tenant, resource, opened_at DESC);
CREATE INDEX episode_opened ON decision.episode (tenant, opened_at DESC, id DESC);

-- Windows: kind for | atLeast | dedupe | group. due_at: somebody decides then; expires_at: it only ends.
CREATE TABLE decision.wait (tenant text NOT NULL, rule text NOT NULL, kind text NOT NULL, key text NOT NULL, doc jsonb NOT NULL, due_at timestamptz, expires_at timestamptz NOT NULL, PRIMARY KEY (tenant, rule, kind, key));
CREATE INDEX wait_due ON decision.wait (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX wait_expires ON decision.wait (expires_at);
CREATE TABLE decision.budget_use (tenant text NOT NULL, rule text NOT NULL, slot smallint NOT NULL, key text NOT NULL, decision_id uuid NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant, rule, slot, key, decision_id));
CREATE INDEX budget_use_at ON decision.budget_use (tenant, rule, slot, key, at);

-- What the topic "runs" told: the admissions view of decisions, and what a coalesced start follows.
CREATE TABLE decision.run (tenant text NOT NULL, id uuid NOT NULL, flow text NOT NULL, verdict text, doc jsonb NOT NULL DEFAULT '{}', targets text[] NOT NULL, started_at timestamptz, closed_at timestamptz,
  status text, at timestamptz NOT NULL, PRIMARY KEY (tenant, id));
-- Exclusive claims of runs in flight: whose effects we see.
CREATE TABLE decision.hold (tenant text NOT NULL, path text COLLATE "C" NOT NULL, run_id uuid NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant, path, run_id));
CREATE INDEX hold_run ON decision.hold (tenant, run_id);
CREATE TABLE decision.halt (tenant text NOT NULL, id text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant, id));
`;

/**
 * One round trip that locks and then reads. Each statement of a volatile function takes a new snapshot, so what is read
 * after the locks is what the last holder committed. Keys are drawn in order, so two batches never wait in a circle.
 */
const LOAD = `
CREATE FUNCTION decision.load(p_tenant text, p_locks bigint[], p_paths text[], p_prefixes text[], p_waits jsonb, p_budgets jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE k bigint; r jsonb;
BEGIN
  FOR k IN SELECT DISTINCT x FROM unnest(p_locks) x ORDER BY 1 LOOP PERFORM pg_advisory_xact_lock(k); END LOOP;
  SELECT jsonb_build_object(
    'ruleset', (SELECT id FROM decision.ruleset_head WHERE tenant = p_tenant),
    'resources', (SELECT jsonb_agg(to_jsonb(x)) FROM decision.resource x WHERE x.tenant = p_tenant AND x.path = ANY (p_paths)),
    'episodes', (SELECT jsonb_agg(to_jsonb(e)) FROM decision.episode e WHERE e.tenant = p_tenant AND e.resource = ANY (p_paths) AND e.live),
    'blocked', (SELECT jsonb_agg(to_jsonb(e)) FROM decision.episode e WHERE e.tenant = p_tenant AND e.resource = ANY (p_paths) AND e.blocked_until > clock_timestamp()),
    'waits', (SELECT jsonb_agg(to_jsonb(w)) FROM decision.wait w JOIN jsonb_to_recordset(p_waits) q(rule text, kind text, key text) USING (rule, kind, key) WHERE w.tenant = p_tenant),
    'budgets', (SELECT jsonb_agg(jsonb_build_object('rule', q.rule, 'slot', q.slot, 'key', q.key, 'used',
        (SELECT count(*) FROM decision.budget_use b WHERE b.tenant = p_tenant AND b.rule = q.rule AND b.slot = q.slot AND b.key = q.key AND b.at > to_timestamp(q.since))))
      FROM jsonb_to_recordset(p_budgets) q(rule text, slot smallint, key text, since double precision)),
    'holds', (SELECT jsonb_agg(DISTINCT jsonb_build_object('path', h.path, 'run_id', h.run_id, 'at', h.at)) FROM decision.hold h WHERE h.tenant = p_tenant
        AND (h.path = ANY (p_paths) OR h.path = ANY (p_prefixes) OR EXISTS (SELECT 1 FROM unnest(p_paths) p WHERE h.path >= p || '/' AND h.path < p || '0'))),
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

/** All that a batch decided, written in one round trip. Every row has its own key, so a repeat writes nothing twice. */
const SAVE = `
CREATE FUNCTION decision.save(p_tenant text, p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  -- last_run_end and check_at belong to the runs handler, which does not lock paths for them.
  INSERT INTO decision.resource AS r (tenant, path, kind, labels, state, state_at, seen_at, observed_at, member_of, depends_on, owner, declared)
    SELECT p_tenant, x.path, x.kind, x.labels, x.state, x.state_at, x.seen_at, x.observed_at, x.member_of, x.depends_on, x.owner, x.declared
    FROM jsonb_to_recordset(p->'resources') x(path text, kind text, labels jsonb, state jsonb, state_at jsonb, seen_at jsonb, observed_at timestamptz, member_of text[], depends_on text[], owner text, declared boolean)
    ON CONFLICT (tenant, path) DO UPDATE SET labels = EXCLUDED.labels, state = EXCLUDED.state, state_at = EXCLUDED.state_at, seen_at = EXCLUDED.seen_at, observed_at = EXCLUDED.observed_at,
      member_of = EXCLUDED.member_of, depends_on = EXCLUDED.depends_on, owner = EXCLUDED.owner, declared = EXCLUDED.declared;
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
  INSERT INTO decision.episode AS e (tenant, id, rule, rule_version, resource, live, state, start_id, due_at, blocked_until, origin, doc, event, opened_at)
    SELECT p_tenant, x.id, x.rule, x.rule_version, x.resource, x.live, x.state, x.start_id, x.due_at, x.blocked_until, x.origin, x.doc, x.event, x.opened_at
    FROM jsonb_to_recordset(p->'episodes') x(id uuid, rule text, rule_version text, resource text, live boolean, state text, start_id uuid, due_at timestamptz, blocked_until timestamptz, origin text, doc jsonb, event jsonb, opened_at timestamptz)
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

/** The tables of this app, and the two functions of its hot path. */
export class CreateDecision1700000002000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE SCHEMA IF NOT EXISTS decision');
    await runner.query(documentTableSql('decision'));
    await runner.query(TABLES);
    await runner.query(LOAD);
    await runner.query(SAVE);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP SCHEMA decision CASCADE');
  }
}
