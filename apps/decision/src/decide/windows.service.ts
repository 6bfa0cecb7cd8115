import { Injectable } from '@nestjs/common';
import type { EventMessage } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import { ConfigCache } from '../documents/config-cache.service.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import { WorldService } from '../store/world.service.js';
import type { Observation } from '../episodes/observer.service.js';
import { Observer } from '../episodes/observer.service.js';
import { unknownResource } from '../resources/merge.pure.js';
import type { LiveRule } from '../store/model.js';
import { loadRequestOf, subjectIn } from './load-request.pure.js';
import { onMismatch } from './match.pure.js';
import { readsConfig } from './slots.pure.js';
import type { DueWait, WindowWork } from './windows.pure.js';
import { aimOf, endWindow } from './windows.pure.js';
import { ruleOfWait } from './sides.pure.js';
import { ruleNamed } from './world.pure.js';

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
    private readonly observer: Observer,
    private readonly clock: Clock,
  ) {}

  async run(batch: number): Promise<number> {
    const due = await this.db.query<DueWait>({
      name: 'decision.due-waits',
      text: 'SELECT rule, kind, key, doc FROM decision.wait WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1',
      values: [batch],
    });
    if (due.length === 0) return 0;
    const looks = await this.look(due);
    await this.db.inTransaction(TENANT, (tx) => this.decide(tx, due, looks));
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

  /** Goals that can be observed are, before anything is decided about them: nobody looked while it was left alone. */
  private async look(due: readonly DueWait[]): Promise<Observation[]> {
    const ruleset = await this.rules.live();
    const debts = due.filter(({ kind }) => kind === 'debt');
    if (debts.length === 0) return [];
    const known = await this.resources.byPaths(
      this.db,
      debts.map(({ key }) => key),
    );
    return this.observer.observe(
      debts.flatMap(({ rule, key }) => {
        const doc = ruleNamed(ruleset, rule)?.doc;
        return doc?.goal?.observe === undefined ? [] : [{ doc, resource: known.get(key) ?? unknownResource(key) }];
      }),
    );
  }

  /** An event that reports no state holds until the same source says otherwise of the same subject. */
  private async takenBack(tx: Tx, rule: LiveRule, { doc }: DueWait): Promise<string | undefined> {
    const event = doc.events[0]!;
    if (event.state !== undefined || event.subject === undefined) return undefined;
    const [last] = await tx.query<{ event: EventMessage }>({
      name: 'decision.last-said',
      text: `SELECT event FROM decision.trace WHERE tenant = $1 AND subject = $2 AND event->>'type' = $3 AND event->>'source' = $4 ORDER BY at DESC, event_id DESC LIMIT 1`,
      values: [tx.tenant, event.subject, event.type, event.source],
    });
    return last === undefined || onMismatch(rule, last.event) === undefined ? undefined : last.event.eventId;
  }

  private async decide(tx: Tx, due: readonly DueWait[], looks: readonly Observation[]): Promise<void> {
    const now = this.clock.now().getTime();
    const ruleset = await this.rules.live();
    const configs = await this.configs.get(
      [...ruleset.rules, ...(ruleset.tried ?? [])].some((rule) => readsConfig(rule.doc)),
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
    const works: WindowWork[] = [];
    for (const wait of due) {
      const rule = ruleOfWait(ruleset, wait);
      const aim = rule === undefined ? undefined : aimOf(rule, wait, configs, seen, members);
      const clearedBy = rule === undefined || wait.kind !== 'debt' ? undefined : await this.takenBack(tx, rule, wait);
      works.push({ wait, rule, aim, clearedBy });
    }
    const aims = works.flatMap((work) => work.aim ?? []);
    const request = loadRequestOf([], aims, configs, seen);
    const world = await this.worlds.load(
      tx,
      { ...request, waits: [...request.waits, ...due.map(({ rule, kind, key }) => ({ rule, kind, key }))] },
      aims.map(({ event, rule }) => ({ doc: rule.doc, event, resource: subjectIn(seen, event) })),
    );
    for (const { path, state, at } of looks) world.observe(path, state, at, 'observe');
    for (const work of works) endWindow(world, work);
    await this.worlds.save(tx, world);
  }
}
