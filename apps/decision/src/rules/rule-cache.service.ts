import { Injectable } from '@nestjs/common';
import type { Json, JsonObject, RolloutState, RuleDocument, RuleMode } from '@opsloop/contracts';
import { digestOf } from '@opsloop/contracts';
import type { StoredDocument, Tx } from '@opsloop/postgres';
import { Database, DocumentStore } from '@opsloop/postgres';
import { CandidateIndex } from '../index-rules/candidate-index.pure.js';
import type { LiveRule, Pair, Ruleset } from '../store/model.js';

/** Old versions kept in memory: enough for every open episode of a large fleet of rules; above it the cache starts anew. */
const VERSIONS_MAX = 5_000;

export interface IndexedRuleset extends Ruleset {
  index: CandidateIndex;
}

type Reader = Tx | Database;

/** The live rules with their index. Whoever judges compares the id with the one under its locks, so it is never stale. */
@Injectable()
export class RuleCache {
  private current: IndexedRuleset | undefined;
  private readonly byVersion = new Map<string, RuleDocument>();
  /** Bodies of what was live when we last looked: a change of one rule reads one body, not 10,000. */
  private bodies = new Map<string, RuleDocument>();

  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
  ) {}

  async live(): Promise<IndexedRuleset> {
    return this.current ?? (await this.reload(this.db));
  }

  forget(): void {
    this.current = undefined;
  }

  async reload(from: Reader): Promise<IndexedRuleset> {
    const heads = await this.documents.heads('rule', from);
    const missing = heads.filter(({ digest }) => !this.bodies.has(digest)).map(({ name }) => name);
    const read =
      missing.length === 0 ? new Map<string, JsonObject>() : await this.documents.bodies('rule', missing, from);
    const bodies = new Map<string, RuleDocument>();
    const rules = heads.flatMap((head): LiveRule[] => {
      const doc = this.bodies.get(head.digest) ?? (read.get(head.name) as RuleDocument | undefined);
      if (doc === undefined) return [];
      bodies.set(head.digest, doc);
      return [{ ...headOf(head), doc }];
    });
    // A rule that changed between the two reads is there with its new body and the old digest: look again.
    if (rules.length < heads.length || rules.some((rule) => rule.doc.version !== rule.version))
      return this.reload(from);
    this.bodies = bodies;
    const ruleset = await this.paired(from, rulesetOf(rules));
    const judging = ruleset.rules.flatMap((rule) => (rule.pair === undefined ? [rule] : [rule, rule.pair.tried]));
    this.current = { ...ruleset, index: new CandidateIndex(judging) };
    return this.current;
  }

  /** Versions that are tried stand beside the live ones. */
  private async paired(from: Reader, ruleset: { id: string; rules: Judging[] }): Promise<Ruleset> {
    const wanted = ruleset.rules.flatMap(({ name, trial }) => (trial === undefined ? [] : [{ name, ...trial }]));
    if (wanted.length === 0) return ruleset;
    const docs = await this.versions(from, wanted);
    const tried: LiveRule[] = [];
    const rules = ruleset.rules.map(({ trial, ...live }): LiveRule => {
      const doc = trial && docs.get(`${live.name}@${trial.version}`);
      if (doc === undefined) return live;
      const { percent, by, version } = trial!;
      const pair = { percent, ...(by === undefined ? {} : { by }) } as Pair;
      pair.live = { ...live, pair };
      pair.tried = { name: live.name, version, digest: digestOf(doc as unknown as Json), mode: live.mode, doc, pair };
      tried.push(pair.tried);
      return pair.live;
    });
    return { id: ruleset.id, rules, tried };
  }

  /** In the transaction that changed a rule: stores which rules judge from its commit on. */
  async publish(tx: Tx): Promise<void> {
    // Two rules that change at once must not both think that they were last.
    await tx.query(`SELECT pg_advisory_xact_lock(hashtext('decision.ruleset'), hashtext($1))`, [tx.tenant]);
    const ruleset = rulesetOf((await this.documents.heads('rule', tx)).map(headOf));
    const rules = ruleset.rules.map(({ name, version, digest, mode, rollout, trial }) => ({
      name,
      version,
      digest,
      mode,
      ...(rollout === undefined ? {} : { rollout }),
      ...(trial === undefined ? {} : { trial: { ...trial } }),
    }));
    // From now on no trace names the one before: its age begins here.
    await tx.query(
      'UPDATE decision.ruleset r SET at = clock_timestamp() FROM decision.ruleset_head h WHERE h.tenant = $1 AND r.tenant = h.tenant AND r.id = h.id AND h.id <> $2',
      [tx.tenant, ruleset.id],
    );
    await tx.query('INSERT INTO decision.ruleset (tenant, id, rules) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING', [
      tx.tenant,
      ruleset.id,
      JSON.stringify(rules),
    ]);
    await tx.query(
      'INSERT INTO decision.ruleset_head (tenant, id) VALUES ($1, $2) ON CONFLICT (tenant) DO UPDATE SET id = EXCLUDED.id',
      [tx.tenant, ruleset.id],
    );
    tx.afterCommit(() => this.forget());
  }

  /** Documents of exact versions, for episodes and windows that began under them. */
  async versions(
    from: Reader,
    named: readonly { name: string; version: string }[],
  ): Promise<ReadonlyMap<string, RuleDocument>> {
    if (this.byVersion.size > VERSIONS_MAX) this.byVersion.clear();
    // A map of its own: the cache may start anew while somebody else still works with the answer.
    const found = new Map<string, RuleDocument>();
    for (const { name, version } of named) {
      const key = `${name}@${version}`;
      if (found.has(key)) continue;
      const doc =
        this.byVersion.get(key) ??
        ((await this.documents.get(from, 'rule', name, version))?.body as RuleDocument | undefined);
      if (doc === undefined) continue;
      this.byVersion.set(key, doc);
      found.set(key, doc);
    }
    return found;
  }
}

type Head = Omit<LiveRule, 'doc'> & { trial?: Trial };
type Judging = LiveRule & { trial?: Trial };

/** As the operational state of a rule names it. */
interface Trial {
  version: string;
  percent: number;
  by?: Json;
}

/** Id = digest of what judges: names, contents and modes. */
function rulesetOf<T extends Head>(live: readonly T[]): { id: string; rules: T[] } {
  const rules = live.filter((rule) => rule.mode !== 'disabled');
  rules.sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    id: digestOf(
      rules.map(({ name, version, digest, mode, rollout, trial }) => ({
        name,
        version,
        digest,
        mode,
        rollout: rollout ?? null,
        // Left out where nothing is tried: sets of before keep their ids.
        ...(trial === undefined ? {} : { trial: { ...trial } }),
      })),
    ),
    rules,
  };
}

function headOf(stored: Pick<StoredDocument, 'name' | 'version' | 'digest' | 'meta'>): Head {
  const { mode, rollout } = stored.meta as JsonObject & { mode?: RuleMode; rollout?: RolloutState };
  const { version, percent = 100, by } = rollout ?? {};
  const key = by === undefined ? {} : { by };
  return {
    name: stored.name,
    version: stored.version!,
    digest: stored.digest,
    mode: mode ?? 'active',
    ...(rollout === undefined || version !== undefined ? {} : { rollout: { percent, ...key } }),
    // Once it is live it is tried no more.
    ...(version === undefined || version === stored.version ? {} : { trial: { version, percent, ...key } }),
  };
}
