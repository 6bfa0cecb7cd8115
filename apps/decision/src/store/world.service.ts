import { Injectable } from '@nestjs/common';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import type { World } from '../decide/world.pure.js';
import { readsConfig } from '../decide/slots.pure.js';
import { ConfigCache } from '../documents/config-cache.service.js';
import type { Pair } from '../facts/around.service.js';
import { AroundService } from '../facts/around.service.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { LoadRequest } from './model.js';
import { WorldRepository } from './world.repository.js';

/** Loads a {@link World} with the rules that are live under its locks, for everyone who does not match events. */
@Injectable()
export class WorldService {
  constructor(
    private readonly rules: RuleCache,
    private readonly configs: ConfigCache,
    private readonly worlds: WorldRepository,
    private readonly around: AroundService,
    private readonly clock: Clock,
  ) {}

  /** `pairs`: events that will be judged by rules, for their facts and tables. */
  async load(tx: Tx, request: Partial<LoadRequest>, pairs: readonly Pair[] = []): Promise<World> {
    const now = this.clock.now().getTime();
    const full = { paths: request.paths ?? [], waits: request.waits ?? [], budgets: request.budgets ?? [] };
    let ruleset = await this.rules.live();
    const configs = await this.configs.get(
      [...ruleset.rules, ...(ruleset.tried ?? [])].some((rule) => readsConfig(rule.doc)),
      now,
    );
    const around = await this.around.read(tx, pairs, configs, now);
    let world = await this.worlds.load(tx, ruleset, configs, now, full, around);
    if (world === undefined) {
      ruleset = await this.rules.reload(tx);
      world = await this.worlds.load(tx, ruleset, configs, now, full, around);
    }
    // The locks are held by now, and rules change without them: the third answer is as good as the second.
    return world ?? (await this.load(tx, request, pairs));
  }

  save(tx: Tx, world: World): Promise<void> {
    return this.worlds.save(tx, world);
  }
}
