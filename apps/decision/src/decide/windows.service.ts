import { Injectable } from '@nestjs/common';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import { ConfigCache } from '../documents/config-cache.service.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import { WorldService } from '../store/world.service.js';
import { loadRequestOf } from './load-request.pure.js';
import { readsConfig } from './slots.pure.js';
import type { DueWait, WindowWork } from './windows.pure.js';
import { aimOf, endWindow } from './windows.pure.js';

const TENANT = 'default';
/** Ended windows are swept rarely: they are ignored from the moment they end. */
const SWEEP_ROWS = 5_000;

/** `for` and `group` windows whose time has come. */
@Injectable()
export class WindowsService {
  constructor(
    private readonly db: Database,
    private readonly rules: RuleCache,
    private readonly configs: ConfigCache,
    private readonly resources: ResourceRepository,
    private readonly worlds: WorldService,
    private readonly clock: Clock,
  ) {}

  async run(batch: number): Promise<number> {
    const due = await this.db.query<DueWait>({
      name: 'decision.due-waits',
      text: 'SELECT rule, kind, key, doc FROM decision.wait WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1',
      values: [batch],
    });
    if (due.length > 0) await this.db.inTransaction(TENANT, (tx) => this.decide(tx, due));
    return due.length;
  }

  /** Windows that only end: nothing is decided by them any more. */
  async sweep(): Promise<number> {
    const rows = await this.db.query(
      `DELETE FROM decision.wait WHERE ctid IN (SELECT ctid FROM decision.wait WHERE due_at IS NULL AND expires_at < clock_timestamp() - interval '1 minute' LIMIT $1) RETURNING 1`,
      [SWEEP_ROWS],
    );
    return rows.length;
  }

  private async decide(tx: Tx, due: readonly DueWait[]): Promise<void> {
    const now = this.clock.now().getTime();
    const { rules } = await this.rules.live();
    const configs = await this.configs.get(
      rules.some((rule) => readsConfig(rule.doc)),
      now,
    );
    const seen = await this.resources.byPaths(
      tx,
      due.flatMap(({ doc }) => [...doc.events.flatMap((e) => e.subject ?? []), ...(doc.targets ?? [])]),
    );
    const members = await this.resources.membersOf(
      tx,
      due.flatMap(({ doc }) => doc.events.flatMap((e) => e.subject ?? [])),
    );
    const works = due.map((wait): WindowWork => {
      const rule = rules.find((one) => one.name === wait.rule);
      return { wait, rule, aim: rule === undefined ? undefined : aimOf(rule, wait, configs, seen, members) };
    });
    const aims = works.flatMap((work) => work.aim ?? []);
    const request = loadRequestOf([], aims, configs, seen);
    const world = await this.worlds.load(tx, {
      ...request,
      waits: [...request.waits, ...due.map(({ rule, kind, key }) => ({ rule, kind, key }))],
    });
    for (const work of works) endWindow(world, work);
    await this.worlds.save(tx, world);
  }
}
