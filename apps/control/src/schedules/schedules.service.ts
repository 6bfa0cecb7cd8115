import type { FiringView, ScheduleState } from '@opsloop/contracts';
import { Injectable } from '@nestjs/common';
import { type Json, OpsError, type Page, type Verdict } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Clock, decodeCursor, encodeCursor, IsoTime, type Principal } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { AdmitService } from '../admit/admit.service.js';
import { FireService } from './fire.service.js';
import { type FiringRow, ScheduleRepository, type ScheduleRow } from './schedule.repository.js';
import { nextTick, ticksAfter } from './ticks.pure.js';

/** What people ask of schedules and do to them. */
@Injectable()
export class SchedulesService {
  constructor(
    private readonly db: Database,
    private readonly repository: ScheduleRepository,
    private readonly firing: FireService,
    private readonly admission: AdmitService,
    private readonly clock: Clock,
  ) {}

  async list(tenant: string, page: { limit: number; cursor?: string | undefined }): Promise<Page<ScheduleState>> {
    const rows = await this.repository.list(
      tenant,
      page.cursor === undefined ? '' : nameCursor(page.cursor),
      page.limit + 1,
    );
    const items = rows.slice(0, page.limit);
    return {
      items: items.map((row) =>
        stateOf(row, row.last === null ? undefined : { ...row.last, at: new Date(row.last.at) }),
      ),
      ...(rows.length > page.limit ? { nextCursor: encodeCursor(items.at(-1)!.name) } : {}),
    };
  }

  async next(tenant: string, name: string, count: number): Promise<{ items: string[] }> {
    const row = await this.find({ tenant, query: this.db.query.bind(this.db) }, name);
    if (row.problem !== null) throw new OpsError('conflict', `The schedule ${name} cannot fire: ${row.problem}`);
    const ticks = ticksAfter(row.body, this.clock.now().getTime(), count);
    return { items: ticks.map((at) => new Date(at).toISOString()) };
  }

  async firings(
    tenant: string,
    name: string,
    page: { limit: number; cursor?: string | undefined },
  ): Promise<Page<FiringView>> {
    await this.find({ tenant, query: this.db.query.bind(this.db) }, name);
    const before = page.cursor === undefined ? undefined : timeCursor(page.cursor);
    const rows = await this.repository.firings(tenant, name, before, page.limit + 1);
    const items = rows.slice(0, page.limit);
    return {
      items: items.map(firingView),
      ...(rows.length > page.limit ? { nextCursor: encodeCursor(items.at(-1)!.at.toISOString()) } : {}),
    };
  }

  /** Nothing fires until it is resumed; what is under way goes on, and the times in between are not made up for. */
  pause(principal: Principal, name: string, reason: string): Promise<ScheduleState> {
    return this.db.inTransaction(principal.tenant, async (tx) => {
      await this.find(tx, name, true);
      await tx.query(
        `UPDATE control.schedule SET paused_by = $3, paused_at = clock_timestamp(), paused_reason = $4 WHERE tenant = $1 AND name = $2 AND paused_at IS NULL`,
        [tx.tenant, name, principal.name, reason],
      );
      await this.act(tx, 'schedule.pause', name, principal, reason);
      return stateOf((await this.repository.get(tx, name))!);
    });
  }

  resume(principal: Principal, name: string, reason: string): Promise<ScheduleState> {
    return this.db.inTransaction(principal.tenant, async (tx) => {
      const row = await this.find(tx, name, true);
      if (row.paused_at !== null) {
        const next =
          row.problem === null && row.body.enabled !== false
            ? nextTick(row.body, this.clock.now().getTime())
            : undefined;
        await tx.query(
          `UPDATE control.schedule SET paused_by = NULL, paused_at = NULL, paused_reason = NULL, next_at = $3 WHERE tenant = $1 AND name = $2`,
          [tx.tenant, name, next === undefined ? null : new Date(next)],
        );
        await this.act(tx, 'schedule.resume', name, principal, reason);
      }
      return stateOf((await this.repository.get(tx, name))!);
    });
  }

  /** What it would start at its time, now, by a person. */
  async run(
    principal: Principal,
    name: string,
    reason: string,
    input?: Json,
  ): Promise<{ id: string; verdict: Verdict }> {
    const row = await this.find({ tenant: principal.tenant, query: this.db.query.bind(this.db) }, name);
    const initiator = { kind: principal.kind, name: principal.name };
    const request = await this.firing.request(row, this.clock.now(), newId(), initiator, input);
    const prepared = await this.admission.prepare({ request, kind: 'run' });
    if (prepared.refused !== undefined)
      throw new OpsError('validation', prepared.refused, {
        errors: [{ pointer: '/input', message: prepared.refused }],
      });
    return this.db.inTransaction(principal.tenant, async (tx) => {
      const [result] = await this.admission.admit(tx, [prepared]);
      await this.act(tx, 'schedule.run', name, principal, reason);
      return { id: result!.into ?? result!.id, verdict: result!.verdict };
    });
  }

  private async find(tx: Pick<Tx, 'query' | 'tenant'>, name: string, lock = false): Promise<ScheduleRow> {
    const row = await this.repository.get(tx, name, lock);
    if (row === undefined) throw new OpsError('not-found', `There is no schedule ${name}`);
    return row;
  }

  private async act(tx: Tx, act: string, name: string, { name: by }: Principal, reason: string): Promise<void> {
    await tx.query('INSERT INTO control.act (tenant, act, ref, made_by, reason) VALUES ($1, $2, $3, $4, $5)', [
      tx.tenant,
      act,
      name,
      by,
      reason,
    ]);
  }
}

function stateOf(row: ScheduleRow, last?: FiringRow): ScheduleState {
  const { body, paused_at: pausedAt } = row;
  const [when] = (['cron', 'rrule', 'every'] as const).flatMap((key) =>
    body[key] === undefined ? [] : [`${key} ${body[key]}`],
  );
  return {
    name: row.name,
    when: when ?? '',
    zone: body.zone ?? 'UTC',
    ref: body.run ?? body.call ?? '',
    enabled: body.enabled !== false,
    ...(row.next_at === null || pausedAt !== null ? {} : { nextAt: row.next_at.toISOString() }),
    ...(row.problem === null ? {} : { problem: row.problem }),
    ...(pausedAt === null
      ? {}
      : { paused: { by: row.paused_by!, at: pausedAt.toISOString(), reason: row.paused_reason! } }),
    ...(last === undefined ? {} : { last: firingView(last) }),
  };
}

function firingView({ at, result, run_id: run, reason }: FiringRow): FiringView {
  return {
    at: at.toISOString(),
    result,
    ...(run === null ? {} : { run }),
    ...(reason === null ? {} : { reason }),
  };
}

function badCursor(): OpsError {
  return new OpsError('validation', 'The cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
  });
}

function nameCursor(text: string): string {
  const value = decodeCursor(text);
  if (typeof value !== 'string') throw badCursor();
  return value;
}

function timeCursor(text: string): string {
  const value = decodeCursor(text);
  if (typeof value !== 'string' || !IsoTime.safeParse(value).success) throw badCursor();
  return value;
}
