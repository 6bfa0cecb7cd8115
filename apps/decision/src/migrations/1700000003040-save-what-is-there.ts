import type { MigrationInterface, QueryRunner } from 'typeorm';

/** As before, without the statements that have nothing to write: a batch of events usually fills three of these nine lists. */
const SAVE = `
CREATE FUNCTION decision.save(p_tenant text, p jsonb) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  -- last_run_end and check_at belong to the runs handler, which does not lock paths for them.
  IF p->'resources' <> '[]' THEN
    INSERT INTO decision.resource AS r (tenant, path, kind, labels, state, state_at, seen_at, observed_at, member_of, depends_on, owner, declared, retired)
      SELECT p_tenant, x.path, x.kind, x.labels, x.state, x.state_at, x.seen_at, x.observed_at, x.member_of, x.depends_on, x.owner, x.declared, x.retired
      FROM jsonb_to_recordset(p->'resources') x(path text, kind text, labels jsonb, state jsonb, state_at jsonb, seen_at jsonb, observed_at timestamptz, member_of text[], depends_on text[], owner text, declared boolean, retired jsonb)
      ON CONFLICT (tenant, path) DO UPDATE SET labels = EXCLUDED.labels, state = EXCLUDED.state, state_at = EXCLUDED.state_at, seen_at = EXCLUDED.seen_at, observed_at = EXCLUDED.observed_at,
        member_of = EXCLUDED.member_of, depends_on = EXCLUDED.depends_on, owner = EXCLUDED.owner, declared = EXCLUDED.declared, retired = EXCLUDED.retired;
  END IF;
  IF p->'changes' <> '[]' THEN
    INSERT INTO decision.state_change (tenant, path, at, changes, cause)
      SELECT p_tenant, x.path, x.at, x.changes, x.cause FROM jsonb_to_recordset(p->'changes') x(path text, at timestamptz, changes jsonb, cause text);
  END IF;
  IF p->'traces' <> '[]' THEN
    INSERT INTO decision.trace (tenant, event_id, ruleset, subject, event, notes, verdicts, at)
      SELECT p_tenant, x.event_id, x.ruleset, x.subject, x.event, x.notes, x.verdicts, x.at
      FROM jsonb_to_recordset(p->'traces') x(event_id uuid, ruleset text, subject text, event jsonb, notes jsonb, verdicts jsonb, at timestamptz) ON CONFLICT DO NOTHING;
  END IF;
  IF p->'verdicts' <> '[]' THEN
    UPDATE decision.trace t SET verdicts = t.verdicts || x.verdicts FROM jsonb_to_recordset(p->'verdicts') x(event_id uuid, verdicts jsonb) WHERE t.tenant = p_tenant AND t.event_id = x.event_id;
  END IF;
  IF p->'decisions' <> '[]' THEN
    INSERT INTO decision.decision (tenant, id, rule, rule_version, branch, rung, tier, cause, event_id, targets, batches, episodes, start, at)
      SELECT p_tenant, x.id, x.rule, x.rule_version, x.branch, x.rung, x.tier, x.cause, x.event_id, x.targets, x.batches, x.episodes, x.start, x.at
      FROM jsonb_to_recordset(p->'decisions') x(id uuid, rule text, rule_version text, branch text, rung text, tier text, cause text, event_id uuid, targets text[], batches jsonb, episodes jsonb, start jsonb, at timestamptz)
      ON CONFLICT DO NOTHING;
  END IF;
  -- Ended ones first: a batch may end one episode and open the next of the same rule and resource.
  IF p->'episodes' <> '[]' THEN
    INSERT INTO decision.episode AS e (tenant, id, rule, rule_version, resource, live, state, start_id, due_at, blocked_until, origin, doc, event, opened_at, incident)
      SELECT p_tenant, x.id, x.rule, x.rule_version, x.resource, x.live, x.state, x.start_id, x.due_at, x.blocked_until, x.origin, x.doc, x.event, x.opened_at, x.incident
      FROM jsonb_to_recordset(p->'episodes') x(id uuid, rule text, rule_version text, resource text, live boolean, state text, start_id uuid, due_at timestamptz, blocked_until timestamptz, origin text, doc jsonb, event jsonb, opened_at timestamptz, incident uuid)
      ORDER BY x.live
      ON CONFLICT (tenant, id) DO UPDATE SET live = EXCLUDED.live, state = EXCLUDED.state, start_id = EXCLUDED.start_id, due_at = EXCLUDED.due_at, blocked_until = EXCLUDED.blocked_until, doc = EXCLUDED.doc;
  END IF;
  IF p->'ended' <> '[]' THEN
    DELETE FROM decision.wait w USING jsonb_to_recordset(p->'ended') x(rule text, kind text, key text) WHERE w.tenant = p_tenant AND w.rule = x.rule AND w.kind = x.kind AND w.key = x.key;
  END IF;
  IF p->'waits' <> '[]' THEN
    INSERT INTO decision.wait AS w (tenant, rule, kind, key, doc, due_at, expires_at)
      SELECT p_tenant, x.rule, x.kind, x.key, x.doc, x.due_at, x.expires_at FROM jsonb_to_recordset(p->'waits') x(rule text, kind text, key text, doc jsonb, due_at timestamptz, expires_at timestamptz)
      ON CONFLICT (tenant, rule, kind, key) DO UPDATE SET doc = EXCLUDED.doc, due_at = EXCLUDED.due_at, expires_at = EXCLUDED.expires_at;
  END IF;
  IF p->'budgets' <> '[]' THEN
    INSERT INTO decision.budget_use (tenant, rule, slot, key, decision_id, at)
      SELECT p_tenant, x.rule, x.slot, x.key, x.decision_id, x.at FROM jsonb_to_recordset(p->'budgets') x(rule text, slot smallint, key text, decision_id uuid, at timestamptz) ON CONFLICT DO NOTHING;
  END IF;
END $$;
`;

/** The function of before is kept under another name for the way back. */
export class SaveWhatIsThere1700000003040 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER FUNCTION decision.save RENAME TO save_before_3040');
    await runner.query(SAVE);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP FUNCTION decision.save;
      ALTER FUNCTION decision.save_before_3040 RENAME TO save`);
  }
}
