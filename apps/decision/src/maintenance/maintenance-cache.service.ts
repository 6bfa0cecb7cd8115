import { Injectable } from '@nestjs/common';
import type { MaintenanceDocument } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { DocumentStore } from '@opsloop/postgres';

/** Another process hears of a new window this late at most; one that begins in the future is known everywhere by then. */
const REFRESH_MS = 1_000;

/** The maintenance windows in force. Read once, then refreshed behind the back: deciding never waits for it again. */
@Injectable()
export class MaintenanceCache {
  private documents: readonly MaintenanceDocument[] | undefined;
  private readonly byDigest = new Map<string, MaintenanceDocument>();
  private refreshAt = 0;
  private loading: Promise<void> | undefined;

  constructor(
    private readonly store: DocumentStore,
    private readonly logger: Logger,
  ) {}

  async get(now: number): Promise<readonly MaintenanceDocument[]> {
    if (now >= this.refreshAt) {
      const refresh = this.refresh(now);
      if (this.documents === undefined) await refresh;
    }
    return this.documents ?? [];
  }

  /** The next question reads anew and waits for it: this process has just changed one. */
  forget(): void {
    this.documents = undefined;
    this.refreshAt = 0;
  }

  private refresh(now: number): Promise<void> {
    this.loading ??= this.store
      .live('maintenance')
      .then(
        (stored) => {
          // The same object while nothing changed: what is known of its open window hangs on it.
          const docs = stored.map((one) => {
            const doc = this.byDigest.get(one.digest) ?? (one.body as unknown as MaintenanceDocument);
            return [one.digest, doc] as const;
          });
          this.byDigest.clear();
          for (const [digest, doc] of docs) this.byDigest.set(digest, doc);
          this.documents = docs.map(([, doc]) => doc);
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
