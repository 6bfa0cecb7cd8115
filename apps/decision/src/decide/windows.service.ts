import { Injectable } from '@nestjs/common';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import { ConfigCache } from '../documents/config-cache.service.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { unknownResource } from '../resources/merge.pure.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { Configs, LiveRule, Resource, RuleTrace, WaitDoc, WaitKind } from '../store/model.js';
import { WorldService } from '../store/world.service.js';
import type { Aim } from './aim.pure.js';
import { aim } from './aim.pure.js';
import { loadRequestOf } from './decide.service.js';
import { eventIdsOf, groupId, judgeAfterFor, judgeGroup } from './judge.pure.js';
import { readsConfig } from './slots.pure.js';
import type { World } from './world.pure.js';

const TENANT = 'default';
/** Ended windows are swept rarely: they are ignored from the moment they end. */
const SWEEP_ROWS = 5_000;

interface DueWait {
  rule: string;
  kind: WaitKind;
  key: string;
  doc: WaitDoc;
}

interface Work {
  wait: DueWait;
  rule: LiveRule | undefined;
  aim: Aim | undefined;
}

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
    const works = due.map((wait): Work => {
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

function aimOf(
  rule: LiveRule,
  { kind, doc }: DueWait,
  configs: Configs,
  seen: Map<string, Resource>,
  members: Map<string, string[]>,
): Aim {
  const one = aim({
    event: doc.events[0]!,
    rule,
    configs,
    resource: (path) => seen.get(path) ?? unknownResource(path),
    members: (path) => members.get(path) ?? [],
  });
  return kind === 'group' ? { ...one, targets: doc.targets ?? one.targets } : one;
}

/** Under the locks: decides what is still due; a window of a rule that is gone just ends. */
function endWindow(world: World, { wait, rule, aim: one }: Work): void {
  const present = world.wait(wait.rule, wait.kind, wait.key);
  if (present?.dueAt === undefined || Date.parse(present.dueAt) > world.now) return;
  world.endWait(wait.rule, wait.kind, wait.key);
  if (rule === undefined || one === undefined) return;
  const first = present.doc.events[0]!;
  const verdict: RuleTrace =
    wait.kind === 'for'
      ? judgeAfterFor(world, one)
      : judgeGroup(world, one, present.doc.targets ?? [], groupId(world.tenant, rule.name, wait.key, first));
  for (const eventId of eventIdsOf(present.doc))
    world.traceUpdates.push({ eventId, verdicts: { [rule.name]: verdict } });
}
