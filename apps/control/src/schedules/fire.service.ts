import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Initiator, Json, StartRequest, Tier } from '@opsloop/contracts';
import { firingId } from '@opsloop/contracts/ids';
import { Clock, Failpoint, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import { renderTemplate, toScopeValue } from '@opsloop/rules';
import { AdmitService, type Prepared } from '../admit/admit.service.js';
import { OfferingService } from '../admit/offering.service.js';
import { ScheduleRepository, type ScheduleRow } from './schedule.repository.js';
import { dueTicks } from './ticks.pure.js';

/** A time is met to half a second; whoever needs it better than that needs no schedule. */
const EVERY_MS = 500;
/** Schedules of one look; the rest comes with the next, at once. */
const BATCH = 32;
/** As rules without a tier. */
const TIER_DEFAULT: Tier = 'P3';

/** What a firing starts, or why it cannot. */
type Shot = { at: number } & ({ prepared: Prepared } | { failed: string });

/**
 * Fires schedules. Everything that a firing does, its admission, its row and the next time, is one transaction under
 * the lock of the schedule's row: it happens once, with any number of control processes, and after a kill as well.
 */
@Injectable()
export class FireService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly repository: ScheduleRepository,
    private readonly admission: AdmitService,
    private readonly offerings: OfferingService,
    private readonly failpoint: Failpoint,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.schedules',
      everyMs: EVERY_MS,
      batch: BATCH,
      logger: this.logger,
      run: (batch) => this.look(batch),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  private async look(batch: number): Promise<number> {
    const rows = await this.repository.due(batch);
    let done = 0;
    for (const row of rows)
      try {
        if (await this.fire(row)) done += 1;
      } catch (error) {
        this.logger.warn('a schedule could not fire; it is tried again', { schedule: row.name, error });
      }
    return rows.length === batch && done > 0 ? batch : 0;
  }

  /** What a start of a schedule asks for. Throws what is wrong with its `with`. */
  async request(row: ScheduleRow, at: Date, id: string, initiator: Initiator, input?: Json): Promise<StartRequest> {
    const { name, body, tenant } = row;
    const config = await this.offerings.config();
    const scope = { config: toScopeValue(config), schedule: toScopeValue({ name, at: at.toISOString() }) };
    return {
      id,
      tenant,
      ref: (body.run ?? body.call)!,
      input: input ?? renderTemplate(body.with ?? {}, scope),
      targets: [],
      tier: body.tier ?? TIER_DEFAULT,
      initiator,
      coalesce: false,
      correlationId: id,
      hops: 0,
      at: at.toISOString(),
    };
  }

  private async fire(row: ScheduleRow): Promise<boolean> {
    const now = this.clock.now().getTime();
    const overlap = row.body.overlap ?? 'skip';
    const due =
      row.next_at === null || row.next_at.getTime() > now
        ? { fire: [], missed: [], next: row.next_at?.getTime() }
        : dueTicks(row.body, row.next_at.getTime(), now);
    const on = { tenant: row.tenant, query: this.db.query.bind(this.db) };
    const waiting = overlap === 'queue' ? await this.repository.waiting(on, row.name) : undefined;
    if (due.fire.length + due.missed.length === 0 && (await this.isBusy(row, waiting))) return false;
    // Resolved before the transaction; of several times at most one starts unless they may overlap.
    const ticks = [...(waiting === undefined ? [] : [waiting.getTime()]), ...due.fire];
    const shots: Shot[] = [];
    for (const at of ticks) shots.push(await this.shot(row, at));
    return this.db.inTransaction(row.tenant, async (tx) => {
      if (!(await this.repository.lock(tx, row))) return false;
      await this.repository.noteMissed(tx, row.name, due.missed, 'nobody looked at its time');
      for (const shot of shots) await this.one(tx, row, shot, overlap);
      this.failpoint.pass('schedule.before-commit');
      if (due.next !== row.next_at?.getTime()) await this.repository.setNext(tx, row.name, due.next);
      return true;
    });
  }

  private async isBusy(row: ScheduleRow, waiting: Date | undefined): Promise<boolean> {
    if (waiting === undefined) return true;
    const on = { tenant: row.tenant, query: this.db.query.bind(this.db) };
    return (await this.repository.openRun(on, row.name)) !== undefined;
  }

  /** The catalog's absence queues the start; only what is wrong in the schedule itself fails it. */
  private async shot(row: ScheduleRow, at: number): Promise<Shot> {
    const time = new Date(at);
    const id = firingId(row.tenant, row.name, time.toISOString());
    let request: StartRequest;
    try {
      request = await this.request(row, time, id, { kind: 'schedule', name: row.name });
    } catch (error) {
      if (isAway(error)) throw error;
      return { at, failed: error instanceof Error ? error.message : String(error) };
    }
    return { at, prepared: await this.admission.prepare({ request, kind: 'run' }) };
  }

  private async one(tx: Tx, row: ScheduleRow, shot: Shot, overlap: 'skip' | 'queue' | 'allow'): Promise<void> {
    const firing = { schedule: row.name, at: new Date(shot.at) };
    if ('failed' in shot) {
      await this.repository.note(tx, { ...firing, result: 'failed', run_id: null, reason: shot.failed });
      return;
    }
    const open = overlap === 'allow' ? undefined : await this.repository.openRun(tx, row.name);
    if (open !== undefined) {
      const result = overlap === 'queue' ? 'waiting' : 'skipped';
      await this.repository.note(tx, { ...firing, result, run_id: null, reason: `run ${open} has not ended` });
      return;
    }
    const [admitted] = await this.admission.admit(tx, [shot.prepared]);
    await this.repository.note(tx, {
      ...firing,
      result: admitted!.verdict === 'rejected' ? 'failed' : 'started',
      run_id: admitted!.id,
      reason: admitted!.reason ?? null,
    });
  }
}

const isAway = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && ['unavailable', 'overload', 'internal'].includes(String(error.code));
