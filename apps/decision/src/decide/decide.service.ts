import { Injectable } from '@nestjs/common';
import type { EventMessage } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { Clock, Logger } from '@opsloop/platform';
import { ConfigCache } from '../documents/config-cache.service.js';
import { AroundService } from '../facts/around.service.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { hearsMisses } from '../index-rules/rule-keys.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import type { IndexedRuleset } from '../rules/rule-cache.service.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { Configs, LiveRule, Resource } from '../store/model.js';
import { WorldRepository } from '../store/world.repository.js';
import type { Aim } from './aim.pure.js';
import { aim } from './aim.pure.js';
import { decideEvents } from './batch.pure.js';
import { loadRequestOf, subjectIn } from './load-request.pure.js';
import { sides } from './sides.pure.js';
import { aimReadsResource, readsConfig } from './slots.pure.js';

/** A rule put while a batch waits for its locks makes it look again; more than a few times in one batch is no accident. */
const LOOKS_MAX = 5;

/** Events → decisions: load under locks, decide purely, write. */
@Injectable()
export class DecideService {
  constructor(
    private readonly rules: RuleCache,
    private readonly configs: ConfigCache,
    private readonly resources: ResourceRepository,
    private readonly worlds: WorldRepository,
    private readonly around: AroundService,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async decide(tx: Tx, events: readonly EventMessage[]): Promise<void> {
    for (let look = 1; look <= LOOKS_MAX; look += 1) {
      const ruleset = look === 1 ? await this.rules.live() : await this.rules.reload(tx);
      if (await this.decideWith(tx, ruleset, events)) return;
    }
    throw new Error(`the rules changed ${LOOKS_MAX} times under one batch`);
  }

  private async decideWith(tx: Tx, ruleset: IndexedRuleset, events: readonly EventMessage[]): Promise<boolean> {
    const now = this.clock.now().getTime();
    const found = events.map((event) => ({ event, rules: ruleset.index.candidates(event) }));
    const judged = found.flatMap(({ rules }) => rules);
    const configs = await this.configs.get(
      judged.some((rule) => readsConfig(rule.doc)),
      now,
    );
    const seen = await this.seenBefore(tx, events, judged);
    const pairs = found.map(({ event, rules }) => ({
      event,
      rules: sides(rules, event, () => subjectIn(seen, event), configs),
    }));
    const aims = await this.aims(tx, pairs, configs, seen);
    const all = [...aims.values()].flat();
    const subjects = new Map(events.map((event) => [event, subjectIn(seen, event)]));
    const around = await this.around.read(
      tx,
      all.map(({ event, rule }) => ({ doc: rule.doc, event, resource: subjects.get(event) })),
      configs,
      now,
    );
    const world = await this.worlds.load(tx, ruleset, configs, now, loadRequestOf(events, all, configs, seen), around);
    if (world === undefined) return false;
    decideEvents(world, events, aims);
    await this.worlds.save(tx, world);
    this.logger.debug('events decided', { events: events.length, decisions: world.decisions.length });
    return true;
  }

  /** Labels for slots that read the resource before it is locked; nothing is read when no candidate has such a slot. */
  private async seenBefore(
    tx: Tx,
    events: readonly EventMessage[],
    rules: readonly LiveRule[],
  ): Promise<Map<string, Resource>> {
    const subjects = [...new Set(events.map((e) => e.subject).filter((s) => s !== undefined))];
    if (subjects.length === 0 || !rules.some((rule) => aimReadsResource(rule.doc) || rule.pair?.by !== undefined))
      return new Map();
    return this.resources.byPaths(tx, subjects);
  }

  private async aims(
    tx: Tx,
    pairs: readonly { event: EventMessage; rules: LiveRule[] }[],
    configs: Configs,
    seen: Map<string, Resource>,
  ): Promise<Map<EventMessage, Aim[]>> {
    const groups = pairs
      .filter(({ rules }) =>
        rules.some(
          (rule) => rule.doc.targets !== undefined && 'from' in rule.doc.targets && rule.doc.targets.from === 'members',
        ),
      )
      .map(({ event }) => event.subject)
      .filter((s) => s !== undefined);
    const members = groups.length === 0 ? new Map<string, string[]>() : await this.resources.membersOf(tx, groups);
    const aims = new Map<EventMessage, Aim[]>();
    for (const { event, rules } of pairs) {
      const list = rules.map((rule) => {
        const one = aim({
          event,
          rule,
          configs,
          resource: (path) => seen.get(path) ?? unknownResource(path),
          members: (path) => members.get(path) ?? [],
        });
        // The index has compared all of `on`, unless the rule wants to hear of what does not match as well.
        one.fits = !hearsMisses(rule.doc);
        return one;
      });
      aims.set(event, list);
    }
    const more = [...aims.values()]
      .flat()
      .filter((one) => one.rule.doc.budget !== undefined)
      .flatMap((one) => one.targets);
    const missing = more.filter((path) => !seen.has(path));
    if (missing.length > 0)
      for (const [path, resource] of await this.resources.byPaths(tx, missing)) seen.set(path, resource);
    return aims;
  }
}
