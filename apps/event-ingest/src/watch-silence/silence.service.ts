import { Inject, Injectable } from '@nestjs/common';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { newId } from '@opsloop/contracts/ids';
import type { SourceDocument } from '@opsloop/contracts';
import { Clock, Logger, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { startDueLoop } from '@opsloop/postgres';
import type { DueLoop } from '@opsloop/postgres';
import { AcceptService } from '../accept/accept.service.js';
import { heardItem, staleItem } from './silence.pure.js';
import { SilenceRepository } from './silence.repository.js';
import type { SenderRow } from './silence.repository.js';

/** Silences are minutes long; a second sooner or later is nothing, and one statement a second is little. */
const EVERY_MS = 1_000;
/**
 * A silence is declared this much late: another process may have heard the sender a second ago and written it down
 * since. Twice the loop's own pace.
 */
const GRACE_MS = 2 * EVERY_MS;

/** Hears senders, and says when one that is expected falls silent: once per silence, and once when it is heard again. */
@Injectable()
export class SilenceService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /** Not yet written: one entry per source, however much it sends. */
  private readonly fresh = new Map<string, Date>();
  private loop: DueLoop | undefined;

  constructor(
    private readonly repository: SilenceRepository,
    private readonly accepting: AcceptService,
    private readonly clock: Clock,
    private readonly logger: Logger,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'ingest silence',
      everyMs: EVERY_MS,
      logger: this.logger,
      run: (batch) => this.look(batch),
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
    await this.write().catch(() => undefined);
  }

  /** Every delivery that proves who it is counts, repeats too: they are the heartbeat of many senders. */
  heard({ name }: Pick<SourceDocument, 'name'>, at: Date): void {
    this.fresh.set(name, at);
  }

  /** One round; answers how many senders changed. */
  async look(batch: number): Promise<number> {
    await this.write();
    const now = this.clock.now();
    const rows = await this.repository.changed(new Date(now.getTime() - GRACE_MS), batch);
    for (const row of rows) await this.say(row, now);
    return rows.length;
  }

  private async write(): Promise<void> {
    if (this.fresh.size === 0) return;
    const times = new Map(this.fresh);
    await this.repository.heard(this.config.tenant, times);
    for (const [source, at] of times) if (this.fresh.get(source) === at) this.fresh.delete(source);
  }

  /** The event first: its id makes it one, should the mark be lost. */
  private async say(row: SenderRow, now: Date): Promise<void> {
    const { tenant, source } = row;
    if (row.stale_since === null) {
      const heardAt = row.heard_at !== null && row.heard_at > row.watched_since ? row.heard_at : undefined;
      const since = heardAt ?? row.watched_since;
      const silence = { source, everyMs: Number(row.every_ms), since, heard: heardAt !== undefined };
      this.logger.warn('a source has fallen silent', { source, since: since.toISOString() });
      await this.accepting.accept({ tenant, items: [staleItem(silence, now, newId())] });
      await this.repository.mark(row, now);
    } else if (row.heard_at !== null) {
      const item = heardItem(source, row.stale_since, row.heard_at, now, newId());
      await this.accepting.accept({ tenant, items: [item] });
      await this.repository.mark(row, null);
    }
  }
}
