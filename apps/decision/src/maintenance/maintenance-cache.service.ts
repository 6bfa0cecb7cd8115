import { Injectable } from '@nestjs/common';
import type { JsonObject, MaintenanceDocument } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { DocumentStore } from '@opsloop/postgres';
import type { MaintenanceInForce } from './maintenance.pure.js';

/** Another process hears of a new window this late at most; one that begins in the future is known everywhere by then. */
export const REFRESH_MS = 1_000;

/** The maintenance windows in force. Read once, then refreshed behind the back: deciding never waits for it again. */
@Injectable()
export class MaintenanceCache {
  private windows: readonly MaintenanceInForce[] | undefined;
  private readonly byDigest = new Map<string, MaintenanceDocument>();
  private refreshAt = 0;
  private loading: Promise<void> | undefined;

  constructor(
    private readonly store: DocumentStore,
    private readonly logger: Logger,
  ) {}

  async get(now: number): Promise<readonly MaintenanceInForce[]> {
    if (now >= this.refreshAt) {
      const refresh = this.refresh(now);
      if (this.windows === undefined) await refresh;
    }
    return this.windows ?? [];
  }

  /** The next question reads anew and waits for it: this process has just changed one. */
  forget(): void {
    this.windows = undefined;
    this.refreshAt = 0;
  }

  private refresh(now: number): Promise<void> {
    this.loading ??= this.store
      .live('maintenance')
      .then(
        (stored) => {
          const before = new Map(this.byDigest);
          this.byDigest.clear();
          this.windows = stored.map(({ name, digest, body, meta }) => {
            // The same object while nothing changed: what is known of its open window hangs on it.
            const key = `${name} ${digest}`;
            const doc = before.get(key) ?? (body as unknown as MaintenanceDocument);
            this.byDigest.set(key, doc);
            const ended = (meta['ended'] as JsonObject | undefined)?.['until'];
            return { doc, ...(typeof ended === 'string' ? { endedUntil: Date.parse(ended) } : {}) };
          });
          this.refreshAt = now + REFRESH_MS;
        },
        (error: unknown) => {
          this.refreshAt = now + REFRESH_MS;
          this.logger.warn('maintenance windows could not be read', { error: String(error) });
        },
      )
      .finally(() => (this.loading = undefined));
    return this.loading;
  }
}
