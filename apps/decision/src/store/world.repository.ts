import { hash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { NoticeService } from '@opsloop/bus';
import { durationMs, pathPrefixes } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { World } from '../decide/world.pure.js';
import type { Around } from '../facts/around.pure.js';
import { NOTHING_AROUND } from '../facts/around.pure.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { Configs, LoadRequest, Ruleset } from './model.js';
import { exhaustedNotice } from '../episodes/exhausted.pure.js';
import { loadedOf, saveJson } from './rows.pure.js';
import type { LoadJson } from './rows.pure.js';

/** Loads a {@link World} under its locks and writes it back: one round trip each. */
@Injectable()
export class WorldRepository {
  constructor(
    private readonly rules: RuleCache,
    private readonly notices: NoticeService,
  ) {}

  /**
   * Locks every path, window and budget in one order, then reads. The caller's ruleset may be older than the one that
   * is live under the locks; then `load` answers `undefined` and the caller looks at the rules again.
   */
  async load(
    tx: Tx,
    ruleset: Ruleset,
    configs: Configs,
    now: number,
    request: LoadRequest,
    around: Around = NOTHING_AROUND,
  ): Promise<World | undefined> {
    const paths = [...new Set(request.paths)].sort();
    const json = await this.read(tx, paths, request, now);
    if ((json.ruleset ?? ruleset.id) !== ruleset.id) return undefined;
    const loaded = loadedOf(json);
    const named = [
      ...loaded.episodes.map(({ episode }) => ({ name: episode.rule, version: episode.ruleVersion })),
      ...loaded.blocked.map(({ episode }) => ({ name: episode.rule, version: episode.ruleVersion })),
      ...loaded.waits.map((wait) => ({ name: wait.rule, version: wait.doc.ruleVersion })),
    ];
    const versions = await this.rules.versions(tx, named);
    return new World(tx.tenant, now, configs, ruleset, versions, loaded, around);
  }

  /** Runs are locked before anything else: a start may begin to follow another run while that one closes. */
  async lockRuns(tx: Tx, ids: readonly string[]): Promise<void> {
    const locks = ids.map((id) => lockKey(tx.tenant, `run ${id}`));
    tx.send({
      name: 'decision.lock-runs',
      text: 'SELECT pg_advisory_xact_lock(k) FROM (SELECT DISTINCT unnest($1::bigint[]) k ORDER BY 1) s',
      values: [locks],
    });
  }

  async save(tx: Tx, world: World): Promise<void> {
    const rows = saveJson(world);
    for (const message of world.outgoing)
      tx.publish(message.topic, { id: message.id, key: message.key, body: message.body as never });
    if (world.would.length + world.trialResults.length > 0) noteTrials(tx, world);
    for (const row of world.exhausted) this.notices.send(tx, exhaustedNotice(world, row));
    if (Object.values(rows).every((list) => list.length === 0)) return;
    tx.send({
      name: 'decision.save',
      text: 'SELECT decision.save($1, $2::jsonb)',
      values: [tx.tenant, JSON.stringify(rows)],
    });
    // Once in the life of a resource for each type, so it is no part of every save.
    if (world.reporters.length > 0)
      tx.send({
        name: 'decision.reporters',
        text: `UPDATE decision.resource r SET reported_by = r.reported_by || x.types
          FROM (SELECT path, array_agg(type) AS types FROM unnest($2::text[], $3::text[]) AS n(path, type) GROUP BY path) x
          WHERE r.tenant = $1 AND r.path = x.path`,
        values: [tx.tenant, world.reporters.map((r) => r.path), world.reporters.map((r) => r.type)],
      });
  }

  private async read(tx: Tx, paths: string[], request: LoadRequest, now: number): Promise<LoadJson> {
    const locks = [
      ...paths.map((path) => `path ${path}`),
      ...request.waits.map((wait) => `wait ${wait.rule} ${wait.kind} ${wait.key}`),
      ...request.budgets.map((budget) => `budget ${budget.rule} ${budget.slot} ${budget.key}`),
    ].map((name) => lockKey(tx.tenant, name));
    const [row] = await tx.query<{ r: LoadJson }>({
      name: 'decision.load',
      text: 'SELECT decision.load($1, $2::bigint[], $3::text[], $4::text[], $5::jsonb, $6::jsonb) AS r',
      values: [
        tx.tenant,
        locks,
        paths,
        [...new Set(paths.flatMap(pathPrefixes))],
        JSON.stringify(request.waits.map(({ rule, kind, key }) => ({ rule, kind, key }))),
        JSON.stringify(
          request.budgets.map(({ rule, slot, key, doc }) => ({
            rule,
            slot,
            key,
            since: (now - durationMs(doc.budget![slot]!.within)) / 1_000,
          })),
        ),
      ],
    });
    return row!.r;
  }
}

/** What rules would have done that only watch, and what came of a version that is tried: nobody else pays for it. */
function noteTrials(tx: Tx, world: World): void {
  if (world.would.length > 0)
    tx.send({
      name: 'decision.would',
      text: `INSERT INTO decision.would (tenant, rule, version, event_id, path, ref, branch, tier, at)
        SELECT $1, x.rule, x.version, x."eventId", x.path, x.ref, x.branch, x.tier, $3
        FROM jsonb_to_recordset($2::jsonb) x(rule text, version text, "eventId" uuid, path text, ref text, branch text, tier text) ON CONFLICT DO NOTHING`,
      values: [tx.tenant, JSON.stringify(world.would), world.nowIso],
    });
  if (world.trialResults.length > 0)
    tx.send({
      name: 'decision.trial-results',
      text: `INSERT INTO decision.trial_result (tenant, rule, version, run_id, resource, fixed, at)
        SELECT $1, x.rule, x.version, x.run, x.resource, x.fixed, $3
        FROM jsonb_to_recordset($2::jsonb) x(rule text, version text, run uuid, resource text, fixed boolean) ON CONFLICT DO NOTHING`,
      values: [tx.tenant, JSON.stringify(world.trialResults), world.nowIso],
    });
}

/** 63 bits of a hash: a collision only makes two strangers wait for each other once. */
function lockKey(tenant: string, name: string): string {
  return hash('sha256', `decision\n${tenant}\n${name}`, 'buffer').readBigInt64BE(0).toString();
}
