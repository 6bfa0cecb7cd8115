import { Injectable } from '@nestjs/common';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { isFresh } from '../decide/scope.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { EpisodeJson } from '../store/rows.pure.js';
import { episodeOf } from '../store/rows.pure.js';
import type { LoadRequest } from '../store/model.js';
import { WorldService } from '../store/world.service.js';
import { budgetKeysOf, goOn, replacements } from './go-on.pure.js';
import type { Look } from './observer.service.js';
import { Observer } from './observer.service.js';

const TENANT = 'default';

/** Episodes whose time has come: look at them, then let the machine go on. */
@Injectable()
export class DueService {
  constructor(
    private readonly db: Database,
    private readonly rules: RuleCache,
    private readonly resources: ResourceRepository,
    private readonly worlds: WorldService,
    private readonly observer: Observer,
    private readonly clock: Clock,
  ) {}

  /** Returns how many were due. Looks happen before the transaction: nothing is locked while the network answers. */
  async run(batch: number): Promise<number> {
    const rows = await this.db.query<EpisodeJson>({
      name: 'decision.due-episodes',
      text: 'SELECT id, rule, rule_version, resource, live, state, start_id, origin, doc, event, opened_at FROM decision.episode WHERE live AND due_at <= clock_timestamp() ORDER BY due_at LIMIT $1',
      values: [batch],
    });
    if (rows.length === 0) return 0;
    const due = rows.map(episodeOf);
    const versions = await this.rules.versions(
      this.db,
      due.map(({ episode }) => ({ name: episode.rule, version: episode.ruleVersion })),
    );
    const known = await this.resources.byPaths(
      this.db,
      due.map(({ episode }) => episode.resource),
    );
    const next = [...known.values()].flatMap(replacements);
    if (next.length > 0) for (const [path, one] of await this.resources.byPaths(this.db, next)) known.set(path, one);
    const now = this.clock.now().getTime();
    const looks = due.flatMap(({ episode }): Look[] => {
      const doc = versions.get(`${episode.rule}@${episode.ruleVersion}`);
      const own = known.get(episode.resource) ?? unknownResource(episode.resource);
      const [path = own.path] = replacements(own);
      const resource = path === own.path ? own : (known.get(path) ?? unknownResource(path));
      if (doc?.goal?.observe === undefined) return [];
      const wanted = (episode.observeAt !== undefined && episode.observeAt <= now) || !isFresh(doc, resource, now);
      return wanted ? [{ doc, resource }] : [];
    });
    const seen = await this.observer.observe(looks);
    const budgets = due.flatMap((row): LoadRequest['budgets'][number][] => {
      const doc = versions.get(`${row.episode.rule}@${row.episode.ruleVersion}`);
      if (doc === undefined) return [];
      return budgetKeysOf(row, doc, known.get(row.episode.resource) ?? unknownResource(row.episode.resource)).map(
        (key) => ({ ...key, doc }),
      );
    });
    await this.db.inTransaction(TENANT, async (tx) => {
      const world = await this.worlds.load(tx, {
        paths: due.flatMap(({ episode }) => [episode.resource, ...replacements(known.get(episode.resource))]),
        budgets,
      });
      goOn(world, due, seen);
      await this.worlds.save(tx, world);
    });
    return rows.length;
  }
}
