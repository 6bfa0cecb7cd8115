import { Injectable } from '@nestjs/common';
import type { EventMessage, InternalCalls, RuleDocument, StartCause, TimelineEntry } from '@opsloop/contracts';
import { durationMs, pathPrefixes } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { ruleScope, viewOf } from '../decide/scope.pure.js';
import { readsConfig } from '../decide/slots.pure.js';
import { ConfigCache } from '../documents/config-cache.service.js';
import { AroundService } from '../facts/around.service.js';
import type { FactSources } from '../facts/facts.pure.js';
import { factsOf } from '../facts/facts.pure.js';
import { isLive } from '../episodes/machine.pure.js';
import { Observer } from '../episodes/observer.service.js';
import { DecisionsRepository } from '../explain/decisions.repository.js';
import { unknownResource } from '../resources/merge.pure.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { Configs, DecisionRow, Resource } from '../store/model.js';
import { WorldService } from '../store/world.service.js';
import { storyOf } from './story.pure.js';
import type { ScopeOf, Standing } from './recheck.pure.js';
import { needsLook, overall, standing } from './recheck.pure.js';

type Recheck = InternalCalls['POST /internal/decision/recheck'];
type Story = InternalCalls['POST /internal/decision/story'];
type Inventory = InternalCalls['POST /internal/decision/inventory'];
type Kinds = InternalCalls['POST /internal/decision/kinds'];
type Resources = InternalCalls['POST /internal/decision/resources'];

const TENANT = 'default';
/** Resources of one internal answer, unless fewer are asked for. */
const RESOURCES_DEFAULT = 500;
const RESOURCES_MAX = 1_000;

/** A rung without `within`: effects that show later than the next resync are hardly its own. */
const EFFECT_WITHIN = '30s';

/** What the other apps ask of decision. */
@Injectable()
export class RecheckService {
  constructor(
    private readonly db: Database,
    private readonly rules: RuleCache,
    private readonly configs: ConfigCache,
    private readonly resources: ResourceRepository,
    private readonly repository: DecisionsRepository,
    private readonly worlds: WorldService,
    private readonly observer: Observer,
    private readonly around: AroundService,
    private readonly clock: Clock,
  ) {}

  async recheck({ id, cause, targets }: Recheck['body']): Promise<Recheck['answer']> {
    const version = { name: cause.rule, version: cause.ruleVersion };
    const doc = (await this.rules.versions(this.db, [version])).get(`${cause.rule}@${cause.ruleVersion}`);
    // Episodes name the resources that the rule is about; a flow may lock others, which clear nothing.
    const asked = new Set(targets);
    const paths = cause.episodes.map((e) => e.resource).filter((path) => asked.size === 0 || asked.has(path));
    const all = paths.length > 0 ? paths : cause.episodes.map((e) => e.resource);
    if (doc === undefined)
      return answer(
        all.map((path) => ({ path, verdict: 'unknown' })),
        `version ${cause.ruleVersion} of ${cause.rule} is gone`,
      );
    const behind = await this.stillHeld(id, all);
    if (behind !== undefined)
      return answer(
        all.map((path) => ({ path, verdict: 'unknown' })),
        `run ${behind} has not ended here yet, so what it left`,
      );
    const ended = await this.endedEpisodes(cause);
    const known = await this.looked(
      doc,
      all.filter((path) => !ended.has(path)),
    );
    const event = cause.eventId === undefined ? undefined : (await this.repository.trace(cause.eventId))?.event;
    const now = this.clock.now().getTime();
    const configs = await this.configs.get(readsConfig(doc), now);
    const sources = await this.factSources(doc, event, known, configs, now);
    const verdicts = all.map((path) => {
      if (ended.has(path)) return { path, verdict: 'cleared' as const };
      const resource = known.get(path) ?? unknownResource(path);
      const scopeOf: ScopeOf = (today) =>
        ruleScope(configs, today, resource, {
          now: new Date(now).toISOString(),
          facts: factsOf(doc, today, resource, sources),
        });
      return { path, verdict: standing(doc, event, resource, configs, now, scopeOf) };
    });
    return answer(verdicts, doc.goal === undefined ? 'the state that the rule is about' : 'the goal of the rule');
  }

  /** Facts as they are today; a rule without any costs nothing. */
  private async factSources(
    doc: RuleDocument,
    event: EventMessage | undefined,
    known: ReadonlyMap<string, Resource>,
    configs: Configs,
    now: number,
  ): Promise<FactSources> {
    const pairs =
      event === undefined || doc.facts === undefined
        ? []
        : [...known.values()].map((resource) => ({ doc, event: { ...event, subject: resource.path }, resource }));
    const around = await this.around.read(this.db, pairs, configs, now);
    return { now, configs, around, events: () => [], opened: () => [] };
  }

  async story({ decisionId, targets, since, until }: Story['body']): Promise<Story['answer']> {
    const decision = decisionId === undefined ? undefined : await this.repository.decision(decisionId);
    const trace = decision?.eventId === undefined ? undefined : await this.repository.trace(decision.eventId);
    const paths = [...new Set([...targets, ...(decision?.targets ?? [])])];
    // The story begins with what the event reported, in the time of its sender.
    const from = [since, trace?.event.time ?? since].sort()[0]!;
    const changes = await this.repository.stateChanges(paths, from, await this.endOfStory(decision, until));
    const entries: TimelineEntry[] = storyOf(trace, decision, changes);
    return { entries };
  }

  /** What a run did shows only after its end: for as long as its attempt has to reach the goal. */
  private async endOfStory(decision: DecisionRow | undefined, until: string | undefined): Promise<string | undefined> {
    if (until === undefined || decision === undefined) return until;
    const { rule: name, ruleVersion: version, branch, rung } = decision;
    const doc = (await this.rules.versions(this.db, [{ name, version }])).get(`${name}@${version}`);
    const within = doc?.branches.find((b) => b.id === branch)?.ladder.find((r) => r.id === rung)?.within;
    return new Date(Date.parse(until) + durationMs(within ?? EFFECT_WITHIN)).toISOString();
  }

  async list({ paths, kind, labels, under, limit }: Resources['body']): Promise<Resources['answer']> {
    const filter = {
      ...(paths === undefined ? {} : { paths }),
      ...(kind === undefined ? {} : { kind }),
      ...(labels === undefined ? {} : { labels }),
      ...(under === undefined ? {} : { under }),
    };
    const { items } = await this.resources.list(filter, { limit: Math.min(limit ?? RESOURCES_DEFAULT, RESOURCES_MAX) });
    return { items: items.map((one) => viewOf(one)) as unknown as Resources['answer']['items'] };
  }

  /** All of a kind, page by page: what shares of an inventory are counted from. */
  async inventory({ kind, after }: Inventory['body']): Promise<Inventory['answer']> {
    const { items, nextCursor } = await this.resources.list(
      { kind },
      { limit: RESOURCES_MAX, ...(after === undefined || after === '' ? {} : { cursor: after }) },
    );
    return {
      items: items.map((one) => viewOf(one)) as unknown as Inventory['answer']['items'],
      ...(nextCursor === undefined ? {} : { next: nextCursor }),
    };
  }

  /** For limits that are a part of all there is of a kind. */
  async kinds(): Promise<Kinds['answer']> {
    const rows = await this.db.query<{ kind: string; count: number }>({
      name: 'decision.kinds',
      text: 'SELECT kind, count(*)::int AS count FROM decision.resource WHERE tenant = $1 GROUP BY kind',
      values: [TENANT],
    });
    return { kinds: Object.fromEntries(rows.map(({ kind, count }) => [kind, count])) };
  }

  /**
   * Control asks when the claims are free. A run that still holds them here is one whose end we have not heard of:
   * what we know of the state is from before it, and must not start work again.
   */
  private async stillHeld(id: string, paths: readonly string[]): Promise<string | undefined> {
    for (const path of paths) {
      const other = (await this.repository.holdsOn(path, pathPrefixes(path))).find((hold) => hold.runId !== id);
      if (other !== undefined) return other.runId;
    }
    return undefined;
  }

  /** An episode that is over needs nothing any more: withdrawn with its rule, or converged in the meantime. */
  private async endedEpisodes(cause: StartCause): Promise<Set<string>> {
    const ended = new Set<string>();
    for (const { id, resource } of cause.episodes) {
      const row = await this.repository.episode(id);
      if (row !== undefined && !isLive(row.episode)) ended.add(resource);
    }
    return ended;
  }

  /** Looks at what is too old to say, and keeps what was seen. */
  private async looked(doc: RuleDocument, paths: readonly string[]): Promise<Map<string, Resource>> {
    const known = await this.resources.byPaths(this.db, paths);
    const now = this.clock.now().getTime();
    const looks = paths
      .map((path) => known.get(path) ?? unknownResource(path))
      .filter((resource) => needsLook(doc, resource, now));
    const seen = await this.observer.observe(looks.map((resource) => ({ doc, resource })));
    if (seen.length === 0) return known;
    return this.db.inTransaction(TENANT, async (tx) => {
      const world = await this.worlds.load(tx, { paths: [...paths] });
      for (const { path, state, at } of seen) world.observe(path, state, at, 'observe');
      await this.worlds.save(tx, world);
      return new Map(paths.map((path) => [path, world.resource(path)]));
    });
  }
}

function answer(targets: { path: string; verdict: Standing }[], about: string): Recheck['answer'] {
  const verdict = overall(targets.map((one) => one.verdict));
  const reasons = {
    stands: `${about} still calls for it`,
    cleared: `${about} no longer calls for it`,
    unknown: `${about} could not be observed`,
  };
  return { verdict, reason: reasons[verdict], targets };
}
