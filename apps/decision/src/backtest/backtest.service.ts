import { setImmediate as turn } from 'node:timers/promises';
import type { BeforeApplicationShutdown } from '@nestjs/common';
import { Injectable } from '@nestjs/common';
import type { BacktestResult, BacktestView, EventMessage, Json } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { isUuid, newId } from '@opsloop/contracts/ids';
import type { Principal } from '@opsloop/platform';
import { Clock, Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { readsConfig } from '../decide/slots.pure.js';
import { ConfigCache } from '../documents/config-cache.service.js';
import type { Around } from '../facts/around.pure.js';
import { NOTHING_AROUND } from '../facts/around.pure.js';
import { tablesOf } from '../facts/facts.pure.js';
import { TableCache } from '../facts/table-cache.service.js';
import { MaintenanceCache } from '../maintenance/maintenance-cache.service.js';
import { RulePlay } from '../play-rules/rule-play.pure.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import { checkedRule } from '../rules/rules.service.js';
import type { Configs, LiveRule, Resource } from '../store/model.js';
import { compare, PlayedSide } from './compare.pure.js';

const TENANT = 'default';
/** Events of one backtest: a busy week, played in a minute or two. */
export const EVENTS_MAX = 200_000;
/** Rows per read: some megabytes, read in some milliseconds. */
const PAGE = 1_000;
/** Events are judged for as long at a time; then everything else of this process has its turn. */
const SLICE_MS = 8;
/** How often progress is written. */
const BEAT_MS = 500;
/** A backtest whose process has not said anything for this long has no process any more. */
const SILENT_MS = 30_000;

export interface BacktestRequest {
  /** Rules as they would be; of a name that is live the version in use is compared with it. */
  rules: Json[];
  /** Names of rules that would be gone. */
  remove: string[];
  /** ISO. */
  since: string;
  until: string;
  /** Only events about these: path itself or below. */
  under?: string | undefined;
}

/** Plays stored events by the rules as they are and as they would be. Nothing is decided and nothing starts. */
@Injectable()
export class BacktestService implements BeforeApplicationShutdown {
  /** One at a time: the second would take the other core from deciding. */
  private running: Promise<void> = Promise.resolve();
  private readonly mine = new Set<string>();
  private stopped = false;

  constructor(
    private readonly db: Database,
    private readonly rules: RuleCache,
    private readonly resources: ResourceRepository,
    private readonly configs: ConfigCache,
    private readonly tables: TableCache,
    private readonly maintenance: MaintenanceCache,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async begin(principal: Principal, request: BacktestRequest): Promise<BacktestView> {
    const changed = request.rules.map((body, i) => checkedRule(body, undefined, `/rules/${i}`));
    const { rules: live } = await this.rules.live();
    const names = new Set([...changed.map(({ name }) => name), ...request.remove]);
    for (const [i, name] of request.remove.entries())
      if (!live.some((rule) => rule.name === name))
        throw new OpsError('validation', `${name} is not a rule in use`, {
          errors: [{ pointer: `/remove/${i}`, message: 'is not a rule in use' }],
        });
    const after = changed.map((doc): LiveRule => ({
      name: doc.name,
      version: doc.version,
      digest: '',
      mode: 'active',
      doc,
    }));
    // A rule in shadow is compared as if it acted, on both sides alike: the question is what it decides.
    const before = live.filter(({ name }) => names.has(name)).map(acting);
    const id = newId();
    await this.db.query("INSERT INTO decision.backtest (tenant, id, by, status) VALUES ($1, $2, $3, 'queued')", [
      TENANT,
      id,
      principal.name,
    ]);
    this.mine.add(id);
    this.running = this.running.then(() => this.run(id, request, before, after)).finally(() => this.mine.delete(id));
    return this.get(id);
  }

  async get(id: string): Promise<BacktestView> {
    const [row] = isUuid(id)
      ? await this.db.query<{
          at: Date;
          by: string;
          status: BacktestView['status'];
          done: number;
          total: number;
          result: BacktestResult | null;
          problem: string | null;
          silent: boolean;
        }>(
          `SELECT at, by, status, done, total, result, problem, beat < clock_timestamp() - make_interval(secs => $3::float8) AS silent
           FROM decision.backtest WHERE tenant = $1 AND id = $2`,
          [TENANT, id, SILENT_MS / 1_000],
        )
      : [];
    if (row === undefined) throw new OpsError('not-found', `There is no backtest ${id}`);
    const lost = row.silent && (row.status === 'running' || row.status === 'queued');
    const problem = lost ? 'the process that compared has ended; begin anew' : row.problem;
    return {
      id,
      status: lost ? 'failed' : row.status,
      at: row.at.toISOString(),
      by: row.by,
      progress: { done: row.done, total: row.total },
      ...(row.result === null ? {} : { result: row.result }),
      ...(problem === null ? {} : { problem }),
    };
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  private async run(id: string, request: BacktestRequest, before: LiveRule[], after: LiveRule[]): Promise<void> {
    try {
      const result = await this.play(id, request, before, after);
      await this.note(id, { status: 'done', done: result.events, total: result.events, result });
    } catch (error) {
      this.logger.warn('a backtest failed', { id, error });
      const problem = error instanceof OpsError ? error.detail : String(error);
      // Without the database nobody can be told; the row then falls silent.
      await this.note(id, { status: 'failed', problem }).catch(() => undefined);
    }
  }

  private async play(
    id: string,
    request: BacktestRequest,
    before: LiveRule[],
    after: LiveRule[],
  ): Promise<BacktestResult> {
    const total = await this.count(request);
    await this.note(id, { status: 'running', total: Math.min(total, EVENTS_MAX) });
    const all = [...before, ...after];
    const configs = await this.configs.get(
      all.some((rule) => readsConfig(rule.doc)),
      this.clock.now().getTime(),
    );
    const members = all.some(
      ({ doc }) => doc.targets !== undefined && 'from' in doc.targets && doc.targets.from === 'members',
    );
    const around = await this.aroundOf(all);
    const sides = [before, after].map((rules) => sideOf(rules, configs, around));
    await this.remember(
      request,
      sides.map(({ play }) => play),
    );
    const known = new Set<string>();
    let done = 0;
    let slice = performance.now();
    let beat = slice;
    for await (const page of this.pages(request)) {
      const fresh = await this.unknown(page, known, members);
      for (const { play } of sides) for (const resource of fresh) play.store.putResource(resource);
      for (const event of page) {
        for (const { play } of sides) play.send(event);
        done += 1;
        if (performance.now() - slice < SLICE_MS) continue;
        await turn();
        if (this.stopped) throw new OpsError('unavailable', 'the process was stopped; begin anew');
        if (performance.now() - beat > BEAT_MS) {
          await this.note(id, { status: 'running', done });
          beat = performance.now();
        }
        slice = performance.now();
      }
    }
    for (const { play } of sides) play.advance(Date.parse(request.until));
    return compare({
      from: request.since,
      until: request.until,
      events: done,
      cut: total > EVENTS_MAX,
      rules: [...new Set(all.map(({ name }) => name))],
      before: sides[0]!.side,
      after: sides[1]!.side,
    });
  }

  /** Tables and maintenance windows as they are today. */
  private async aroundOf(rules: readonly LiveRule[]): Promise<PlayAround> {
    const now = this.clock.now().getTime();
    const refs = rules.flatMap(({ doc }) => tablesOf(doc));
    return {
      tables: refs.length === 0 ? NOTHING_AROUND.tables : await this.tables.get(refs, now),
      maintenance: await this.maintenance.get(now),
    };
  }

  /** Events of before the range that facts count in it; they are counted and not judged. */
  private async remember(request: BacktestRequest, plays: readonly RulePlay[]): Promise<void> {
    const backMs = Math.max(...plays.map(({ countsBackMs }) => countsBackMs));
    if (backMs === 0) return;
    const since = new Date(Date.parse(request.since) - backMs).toISOString();
    for await (const page of this.pages({ ...request, since, until: request.since })) {
      for (const event of page) for (const play of plays) play.remember(event);
      await turn();
    }
  }

  private async count({ since, until, under: path }: BacktestRequest): Promise<number> {
    const [row] = await this.db.query<{ count: string }>(
      `SELECT count(*) FROM (SELECT 1 FROM decision.trace WHERE tenant = $1 AND at >= $2 AND at < $3 AND ${under('$4')} LIMIT $5) s`,
      [TENANT, since, until, path ?? null, EVENTS_MAX + 1],
    );
    return Number(row!.count);
  }

  /** Events as they were decided, oldest first; replays are no events of their own. */
  private async *pages({ since, until, under: path }: BacktestRequest): AsyncGenerator<EventMessage[]> {
    let after: { at: string; id: string } = { at: since, id: '00000000-0000-0000-0000-000000000000' };
    for (let read = 0; read < EVENTS_MAX;) {
      const rows = await this.db.query<{ event_id: string; at: string; event: EventMessage }>({
        name: 'decision.backtest-page',
        // The time as text: a Date would lose the microseconds by which rows are told apart.
        text: `SELECT event_id, at::text, event FROM decision.trace
          WHERE tenant = $1 AND (at, event_id) > ($2::timestamptz, $3::uuid) AND at < $4 AND ${under('$5')}
          ORDER BY at, event_id LIMIT $6`,
        values: [TENANT, after.at, after.id, until, path ?? null, Math.min(PAGE, EVENTS_MAX - read)],
      });
      const last = rows.at(-1);
      if (last === undefined) return;
      read += rows.length;
      after = { at: last.at, id: last.event_id };
      yield rows.map(({ event }) => event).filter((event) => event.replayOf === undefined);
    }
  }

  /** What the page names and was not seen yet, as it is declared today; its state comes from the events alone. */
  private async unknown(page: readonly EventMessage[], known: Set<string>, withMembers: boolean): Promise<Resource[]> {
    const subjects = [...new Set(page.flatMap((event) => event.subject ?? []))].filter((path) => !known.has(path));
    if (subjects.length === 0) return [];
    const members = withMembers ? await this.resources.membersOf(this.db, subjects) : new Map<string, string[]>();
    const paths = [...new Set([...subjects, ...[...members.values()].flat()])].filter((path) => !known.has(path));
    for (const path of paths) known.add(path);
    return [...(await this.resources.byPaths(this.db, paths)).values()].map(withoutState);
  }

  private async note(
    id: string,
    row: { status: BacktestView['status']; done?: number; total?: number; result?: BacktestResult; problem?: string },
  ): Promise<void> {
    // Those that wait for this one live as long as we do.
    await this.db.query('UPDATE decision.backtest SET beat = clock_timestamp() WHERE tenant = $1 AND id = ANY ($2)', [
      TENANT,
      [...this.mine],
    ]);
    await this.db.query(
      `UPDATE decision.backtest SET status = $3, done = coalesce($4, done), total = coalesce($5, total), result = $6, problem = $7
       WHERE tenant = $1 AND id = $2`,
      [
        TENANT,
        id,
        row.status,
        row.done ?? null,
        row.total ?? null,
        row.result === undefined ? null : JSON.stringify(row.result),
        row.problem ?? null,
      ],
    );
  }
}

/** The path itself or below; nothing in the parameter means everything. */
const under = (parameter: string): string =>
  `(${parameter}::text IS NULL OR subject = ${parameter} OR starts_with(subject, ${parameter} || '/'))`;

type PlayAround = Pick<Around, 'tables' | 'maintenance'>;

function sideOf(
  rules: readonly LiveRule[],
  configs: Configs,
  around: PlayAround,
): { play: RulePlay; side: PlayedSide } {
  const side = new PlayedSide();
  const play = new RulePlay({
    rules,
    configs,
    resources: [],
    ...around,
    verdict: (eventId, rule, { verdict }) => side.verdict(eventId, rule, verdict),
    decided: (row) => side.decided(row),
  });
  return { play, side };
}

function acting({ rollout: _rollout, pair: _pair, ...rule }: LiveRule): LiveRule {
  return { ...rule, mode: 'active' };
}

function withoutState({ observedAt: _observedAt, lastRunEnd: _end, checkAt: _check, ...resource }: Resource): Resource {
  return { ...resource, state: {}, stateAt: {}, seenAt: {} };
}
