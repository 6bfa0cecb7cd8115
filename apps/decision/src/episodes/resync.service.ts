import { Injectable } from '@nestjs/common';
import type { RuleDocument } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import { Clock, Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { Aim } from '../decide/aim.pure.js';
import { aim, budgetKeys } from '../decide/aim.pure.js';
import { waitsOf } from '../decide/load-request.pure.js';
import { isFresh } from '../decide/scope.pure.js';
import { actingOn } from '../decide/sides.pure.js';
import { resyncEvent } from '../decide/start.pure.js';
import { ConfigCache } from '../documents/config-cache.service.js';
import { unknownResource } from '../resources/merge.pure.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { Configs, LiveRule, LoadRequest, Resource } from '../store/model.js';
import { WorldService } from '../store/world.service.js';
import { LookTurns } from './look-turns.pure.js';
import type { Look, Observation } from './observer.service.js';
import { Observer } from './observer.service.js';
import { aimsAt, caresFor, openFromState, stateCause } from './open-from-state.pure.js';

const TENANT = 'default';
/** Resources per transaction: the same batch as everywhere, so that events never wait long for their paths. */
const PAGE = 64;
/** Targets of one transaction: a group has up to 1,000 members, and events must not wait long for their paths. */
const TARGETS_PER_TX = 256;
const NOBODY: ReadonlyMap<string, string[]> = new Map();
/** Looks per pass: 16 at a time for 10 s at worst, so that one pass ends before the next but one begins. */
const LOOKS_MAX = 256;

/** Level-triggered: looks at goals without being told, so that a lost event only delays. */
@Injectable()
export class ResyncService {
  private running = false;
  private readonly turns = new LookTurns(LOOKS_MAX);

  constructor(
    private readonly db: Database,
    private readonly rules: RuleCache,
    private readonly configs: ConfigCache,
    private readonly resources: ResourceRepository,
    private readonly worlds: WorldService,
    private readonly observer: Observer,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Resources whose exclusive run has just ended: their goals are checked once. */
  async runChecks(batch: number): Promise<number> {
    const rows = await this.db.query<{ path: string; check_at: Date }>({
      name: 'decision.due-checks',
      text: 'SELECT path, check_at FROM decision.resource WHERE check_at <= clock_timestamp() ORDER BY check_at LIMIT $1',
      values: [batch],
    });
    if (rows.length === 0) return 0;
    const known = await this.resources.byPaths(
      this.db,
      rows.map((row) => row.path),
    );
    await this.check([...known.values()], LOOKS_MAX);
    // Only the check that we answered: a run that ended meanwhile has set a later one.
    await this.db.query(
      "UPDATE decision.resource r SET check_at = NULL FROM unnest($2::text[], $3::timestamptz[]) x(path, at) WHERE r.tenant = $1 AND r.path = x.path AND r.check_at <= x.at + interval '1 millisecond'",
      [TENANT, rows.map((row) => row.path), rows.map((row) => row.check_at)],
    );
    return rows.length;
  }

  /** One pass over everything that a rule with a goal looks after. Passes never overlap. */
  async pass(): Promise<void> {
    if (this.running) return;
    this.running = true;
    try {
      const { rules } = await this.rules.live();
      if (!rules.some((rule) => rule.mode === 'active' && rule.doc.goal !== undefined)) return;
      this.turns.begin();
      let after: string | undefined;
      let cursor: string | undefined;
      do {
        const page = await this.resources.list({}, { limit: PAGE, cursor });
        const last = page.items.at(-1)?.path ?? '';
        this.turns.took(await this.check(page.items, this.turns.grant(last)), after);
        after = last;
        cursor = page.nextCursor;
      } while (cursor !== undefined);
    } catch (error) {
      this.logger.warn('a resync did not finish', { error: String(error) });
    } finally {
      this.running = false;
    }
  }

  /** Looks where the last look is too old, then asks the rules. Returns how many looks it took. */
  private async check(resources: readonly Resource[], looksLeft: number): Promise<number> {
    const now = this.clock.now().getTime();
    const { rules } = await this.rules.live();
    const configs = await this.configs.get(false, now);
    const pairs = resources.flatMap((resource) =>
      rules
        .map((rule) => actingFor(rule, resource, configs))
        .filter((rule) => caresFor(rule, resource))
        .map((rule) => ({ rule, resource })),
    );
    if (pairs.length === 0) return 0;
    const works = await this.works(pairs, configs);
    const looks = staleLooks(works, now).slice(0, Math.max(0, looksLeft));
    const seen = await this.observer.observe(looks);
    for (const slice of slicesOf(works)) await this.ask(slice, seen, configs);
    return looks.length;
  }

  /** With the targets of each: the subject itself, its members, or what its labels name. */
  private async works(pairs: readonly { rule: LiveRule; resource: Resource }[], configs: Configs): Promise<Work[]> {
    const groups = pairs.filter(({ rule }) => aimsAt(rule.doc) === 'members').map(({ resource }) => resource.path);
    const members = groups.length === 0 ? NOBODY : await this.resources.membersOf(this.db, [...new Set(groups)]);
    const aimed = pairs.map((pair) => ({ ...pair, aim: aimOf(pair.rule, pair.resource, configs, members) }));
    const known = new Map(pairs.map(({ resource }) => [resource.path, resource]));
    const others = [...new Set(aimed.flatMap(({ aim: { targets } }) => targets))].filter((path) => !known.has(path));
    if (others.length > 0)
      for (const [path, one] of await this.resources.byPaths(this.db, others)) known.set(path, one);
    return aimed
      .filter(({ aim: { error, targets } }) => error === undefined && targets.length > 0)
      .map((one) => ({ ...one, targets: one.aim.targets.map((path) => known.get(path) ?? unknownResource(path)) }));
  }

  private async ask(works: readonly Work[], seen: readonly Observation[], configs: Configs): Promise<void> {
    const paths = [
      ...new Set(works.flatMap(({ resource, targets }) => [resource.path, ...targets.map((t) => t.path)])),
    ];
    await this.db.inTransaction(TENANT, async (tx) => {
      const world = await this.worlds.load(
        tx,
        {
          paths,
          waits: works
            .flatMap(({ aim: one }) => waitsOf(one))
            .filter(({ kind }) => kind === 'throttle' || kind === 'incident' || kind === 'flap'),
          budgets: works.flatMap(({ rule, targets }) =>
            targets.flatMap((target) => budgetsOf(rule.doc, target, configs)),
          ),
        },
        works.map(({ rule, resource, aim: { event } }) => ({ doc: rule.doc, event, resource })),
      );
      for (const { path, state, at } of seen) if (paths.includes(path)) world.observe(path, state, at, 'observe');
      const known = await this.usedCauses(
        tx,
        works.flatMap(({ rule, resource, targets }) =>
          targets.map(({ path }) => ({ rule, resource: world.resource(resource.path), path })),
        ),
      );
      for (const { rule, resource, targets } of works) {
        const live = world.liveRule(rule.name);
        if (live === undefined) continue;
        const again = (id: string): boolean => known.has(id);
        const acting = actingFor(live, resource, configs);
        openFromState(
          world,
          acting,
          resource.path,
          targets.map(({ path }) => path),
          again,
        );
      }
      await this.worlds.save(tx, world);
    });
  }

  /** Causes whose ids were used by an episode before. */
  private async usedCauses(
    tx: { tenant: string; query: Database['query'] },
    pairs: readonly { rule: LiveRule; resource: Resource; path: string }[],
  ): Promise<Set<string>> {
    const ids = pairs.map(({ rule, resource, path }) =>
      messageId('episode', tx.tenant, rule.name, rule.version, stateCause(rule.name, resource), path),
    );
    const rows = await tx.query<{ id: string }>({
      name: 'decision.used-causes',
      text: 'SELECT id FROM decision.episode WHERE tenant = $1 AND id = ANY ($2::uuid[])',
      values: [tx.tenant, ids],
    });
    return new Set(rows.map((row) => row.id));
  }
}

/** A rule on one resource, with what it would act on. */
interface Work {
  rule: LiveRule;
  resource: Resource;
  aim: Aim;
  targets: Resource[];
}

function slicesOf(works: readonly Work[]): Work[][] {
  const slices: Work[][] = [];
  let room = 0;
  for (const work of works) {
    if (slices.length === 0 || work.targets.length > room) {
      slices.push([]);
      room = TARGETS_PER_TX;
    }
    slices.at(-1)!.push(work);
    room -= work.targets.length;
  }
  return slices;
}

/** One look per resource and way of looking, however many rules ask. */
function staleLooks(works: readonly Work[], now: number): Look[] {
  const looks = new Map<string, Look>();
  for (const { rule, resource } of works.flatMap(({ rule, targets }) =>
    targets.map((resource) => ({ rule, resource })),
  )) {
    if (rule.doc.goal?.observe === undefined || isFresh(rule.doc, resource, now)) continue;
    looks.set(JSON.stringify([resource.path, rule.doc.goal.observe.call, rule.doc.goal.observe.with ?? null]), {
      doc: rule.doc,
      resource,
    });
  }
  return [...looks.values()];
}

/** Of two versions the one that acts on this resource. */
function actingFor(rule: LiveRule, resource: Resource, configs: Configs): LiveRule {
  if (rule.pair === undefined) return rule;
  return actingOn(rule, resyncEvent(TENANT, rule.name, resource, ''), () => resource, configs);
}

/** The state in the shape of an event, with the keys of its windows. */
function aimOf(rule: LiveRule, resource: Resource, configs: Configs, members: ReadonlyMap<string, string[]>): Aim {
  const event = resyncEvent(TENANT, rule.name, resource, resource.observedAt ?? '');
  return aim({ event, rule, configs, resource: () => resource, members: (path) => members.get(path) ?? [] });
}

function budgetsOf(
  doc: RuleDocument,
  resource: Resource,
  configs: Parameters<typeof budgetKeys>[3],
): LoadRequest['budgets'][number][] {
  if (doc.budget === undefined) return [];
  try {
    const event = resyncEvent(TENANT, doc.name, resource, resource.observedAt ?? '');
    return budgetKeys(doc, event, resource, configs).map((key) => ({ ...key, doc }));
  } catch {
    return [];
  }
}
