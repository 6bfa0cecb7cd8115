import { Injectable } from '@nestjs/common';
import type { Act, AgreementView, RolloutState, RuleDocument, RuleMode, Tier } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import type { StoredDocument } from '@opsloop/postgres';
import { Database, DocumentStore } from '@opsloop/postgres';
import { RuleCache } from '../rules/rule-cache.service.js';
import { compareActs, countCases } from './agreement.pure.js';
import { ReturnService } from './return.service.js';

const TENANT = 'default';
/** Acts of each kind that are compared: a rule in shadow on a busy week; more are cut, newest first, and the answer says so. */
const ACTS_MAX = 20_000;
/** Cases that are shown; the counts tell of all. */
const SHOWN_MAX = 200;
/** Rules with figures in one answer: as many as a person can watch. */
const TRIALS_MAX = 50;
const DEFAULT_MS = 7 * 86_400_000;

export interface AgreementQuery {
  since?: string | undefined;
  until?: string | undefined;
  version?: string | undefined;
  against?: string | undefined;
  outcome?: string | undefined;
  limit?: number | undefined;
}

interface Row {
  at: Date;
  path: string;
  ref: string;
  tier: Tier | null;
  version: string | null;
  event_id: string | null;
  id: string | null;
}

/** What rules that only watch, or that are tried on a part, would have done beside what was done. */
@Injectable()
export class AgreementService {
  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
    private readonly rules: RuleCache,
    private readonly returns: ReturnService,
    private readonly clock: Clock,
  ) {}

  /** Rules that only watch or have a version that is tried, with their figures; the cases are asked for one by one. */
  async trials(): Promise<{ items: AgreementView[] }> {
    const { rules } = await this.rules.live();
    const names = rules.filter(({ mode, pair }) => mode === 'shadow' || pair !== undefined).slice(0, TRIALS_MAX);
    const items: AgreementView[] = [];
    for (const { name } of names) items.push({ ...(await this.agreement(name, {})), items: [] });
    return { items };
  }

  async agreement(name: string, query: AgreementQuery): Promise<AgreementView> {
    const stored = await this.documents.get(this.db, 'rule', name);
    if (stored === undefined) throw new OpsError('not-found', `There is no rule ${name}`);
    const { mode, rollout, returned, since: shadowSince } = stored.meta as Meta;
    const version = query.version ?? rollout?.version ?? returned?.version ?? stored.version!;
    const doc = await this.docOf(name, version, stored);
    const { from, until } = this.range(query, version === rollout?.version ? rollout?.since : shadowSince);
    const read = { name, doc, version, from, until, against: query.against };
    const [tried, others] = await Promise.all([this.acts(read), this.othersActs(read)]);
    const cases = compareActs(tried.acts, others.acts);
    const shown = cases.filter((one) => query.outcome === undefined || one.outcome === query.outcome);
    const beside = version === stored.version ? {} : { version: stored.version! };
    return {
      ...{ rule: name, version, mode: mode ?? 'active', from, until },
      ...(rollout === undefined ? {} : { rollout }),
      ...(returned === undefined ? {} : { returned }),
      against: query.against === undefined ? beside : { rule: query.against },
      ...countCases(cases),
      cut: tried.cut || others.cut,
      ...(rollout?.version === version ? { verified: await this.returns.figures(name, rollout) } : {}),
      next: nextOf(name, version, rollout, mode),
      items: shown.slice(0, query.limit ?? SHOWN_MAX),
    };
  }

  private range(query: AgreementQuery, began: string | undefined): { from: string; until: string } {
    const now = this.clock.now().getTime();
    const until = query.until ?? new Date(now).toISOString();
    const asked = query.since ?? new Date(Date.parse(until) - DEFAULT_MS).toISOString();
    // What others did before it watched says nothing about it.
    const from = began !== undefined && began > asked ? began : asked;
    if (from > until)
      throw new OpsError('validation', 'The range is empty: since is not before until', {
        errors: [{ pointer: '/since', message: 'must be before until' }],
      });
    return { from, until };
  }

  private async docOf(name: string, version: string, stored: StoredDocument): Promise<RuleDocument> {
    if (version === stored.version) return stored.body as unknown as RuleDocument;
    const found = (await this.rules.versions(this.db, [{ name, version }])).get(`${name}@${version}`);
    if (found === undefined) throw new OpsError('not-found', `There is no rule ${name} version ${version}`);
    return found;
  }

  /** What the version would have started, and what it did start where it acts. */
  private async acts({ name, version, from, until }: Read): Promise<{ acts: Act[]; cut: boolean }> {
    return this.both(
      ['AND rule = $2 AND version = $5', 'AND rule = $2 AND rule_version = $5'],
      [name, from, until, version],
    );
  }

  /** The live version where it acts or only watches, another rule that was named, and people. */
  private async othersActs(read: Read): Promise<{ acts: Act[]; cut: boolean }> {
    const { name, version, from, until, against } = read;
    const rules =
      against === undefined
        ? await this.both(
            ['AND rule = $2 AND version <> $5', 'AND rule = $2 AND rule_version <> $5'],
            [name, from, until, version],
          )
        : await this.both(['AND rule = $2 AND $5 <> $2', 'AND rule = $2 AND $5 <> $2'], [against, from, until, name]);
    const people = await this.byPeople(read);
    return { acts: [...rules.acts, ...people.acts], cut: rules.cut || people.cut };
  }

  private async both([would, did]: [string, string], [rule, from, until, other]: string[]): Promise<Found> {
    const values = [TENANT, rule, from, until, other, ACTS_MAX + 1];
    const [watched, decided] = await Promise.all([
      this.db.query<Row>(
        `SELECT at, path, ref, tier, version, event_id, NULL AS id FROM decision.would WHERE tenant = $1 AND at >= $3 AND at <= $4 ${would} ORDER BY at DESC LIMIT $6`,
        values,
      ),
      this.db.query<Row>(
        // Only what an event began: a second attempt is no second opinion.
        `SELECT at, unnest(targets) AS path, start->>'ref' AS ref, tier, rule_version AS version, event_id, id FROM decision.decision
          WHERE tenant = $1 AND at >= $3 AND at <= $4 ${did} AND cause NOT LIKE '%#%' ORDER BY at DESC LIMIT $6`,
        values,
      ),
    ]);
    return found([
      [watched, 'watched'],
      [decided, 'rule'],
    ]);
  }

  /** Runs of the rule's flows and atoms that no rule asked for. */
  private async byPeople({ doc, from, until }: Read): Promise<Found> {
    const flows = doc.branches.flatMap(({ ladder }) =>
      ladder.map((rung) => (rung.run ?? rung.call)!.split('@', 1)[0]!),
    );
    const rows = await this.db.query<Row>(
      `SELECT coalesce(r.started_at, r.at) AS at, unnest(r.targets) AS path, r.flow AS ref, NULL AS tier, NULL AS version, NULL AS event_id, r.id FROM decision.run r
        WHERE r.tenant = $1 AND r.flow = ANY ($2) AND r.started_at IS NOT NULL AND r.at >= $3 AND r.started_at BETWEEN $3 AND $4
          AND NOT EXISTS (SELECT 1 FROM decision.decision d WHERE d.tenant = r.tenant AND d.id = r.id) ORDER BY r.at DESC LIMIT $5`,
      [TENANT, [...new Set(flows)].flatMap((flow) => [flow, `atom/${flow}`]), from, until, ACTS_MAX + 1],
    );
    return found([[rows, 'person']]);
  }
}

interface Meta {
  mode?: RuleMode;
  rollout?: RolloutState;
  returned?: { version: string; at: string; why: string };
  since?: string;
}

interface Read {
  name: string;
  doc: RuleDocument;
  version: string;
  from: string;
  until: string;
  against: string | undefined;
}

interface Found {
  acts: Act[];
  cut: boolean;
}

function found(lists: readonly [Row[], Act['by']][]): Found {
  return {
    acts: lists.flatMap(([rows, by]) => rows.slice(0, ACTS_MAX).map((row) => actOf(row, by))),
    cut: lists.some(([rows]) => rows.length > ACTS_MAX),
  };
}

function actOf(row: Row, by: Act['by']): Act {
  return {
    ...{ at: row.at.toISOString(), path: row.path, ref: row.ref, by },
    ...(row.tier === null ? {} : { tier: row.tier }),
    ...(row.version === null ? {} : { version: row.version }),
    ...(row.event_id === null ? {} : { eventId: row.event_id }),
    ...(row.id === null ? {} : { id: row.id }),
  };
}

function nextOf(name: string, version: string, rollout: RolloutState | undefined, mode: RuleMode | undefined): string {
  if (rollout?.version !== version)
    return mode === 'shadow' ? `opsloop rules mode ${name} active --reason …` : `opsloop describe rule ${name}`;
  if (rollout.percent >= 100) return `opsloop rules live ${name} ${version} --reason …`;
  return `opsloop rules rollout ${name} --percent ${Math.min(100, Math.max(1, rollout.percent * 10))} --reason …`;
}
