import { Injectable } from '@nestjs/common';
import type { TableDocument } from '@opsloop/contracts';
import { InternalClient, Logger } from '@opsloop/platform';

/** Hints on the bus make changes quick; this is the net when one went to another process. */
const REFRESH_MS = 5_000;
/** A catalog that does not answer is not asked by every batch again. */
const RETRY_MS = 1_000;
/** Deciding waits for it only while a table was never read. */
const TIMEOUT_MS = 1_000;

/**
 * Decision tables by reference, each the newest published version in range. Kept when the catalog does not answer, as
 * configs are: a rule whose table was never read has the verdict `error`, which says so, and every other rule goes on.
 */
@Injectable()
export class TableCache {
  private readonly known = new Map<string, { table?: TableDocument; refreshAt: number }>();
  private loading: Promise<void> | undefined;

  constructor(
    private readonly client: InternalClient,
    private readonly logger: Logger,
  ) {}

  async get(refs: readonly string[], now: number): Promise<ReadonlyMap<string, TableDocument>> {
    const unique = [...new Set(refs)];
    const old = unique.filter((ref) => now >= (this.known.get(ref)?.refreshAt ?? 0));
    if (old.length > 0) {
      const refresh = this.refresh(unique, now);
      if (unique.some((ref) => this.known.get(ref)?.table === undefined)) await refresh;
    }
    return new Map(
      unique.flatMap((ref) => {
        const table = this.known.get(ref)?.table;
        return table === undefined ? [] : [[ref, table] as const];
      }),
    );
  }

  forget(): void {
    for (const one of this.known.values()) one.refreshAt = 0;
  }

  private async refresh(refs: readonly string[], now: number): Promise<void> {
    // A turn that is under way may be about others.
    await this.loading;
    const open = refs.filter((ref) => now >= (this.known.get(ref)?.refreshAt ?? 0));
    if (open.length === 0) return;
    this.loading = this.client
      .call('POST /internal/catalog/tables', { refs: open }, {}, { timeoutMs: TIMEOUT_MS })
      .then(
        ({ tables }) => {
          for (const ref of open) {
            const table = tables[ref];
            this.known.set(
              ref,
              table === undefined ? { refreshAt: now + RETRY_MS } : { table, refreshAt: now + REFRESH_MS },
            );
          }
        },
        (error: unknown) => {
          for (const ref of open) this.known.set(ref, { ...this.known.get(ref), refreshAt: now + RETRY_MS });
          this.logger.warn('decision tables could not be read', { refs: open, error: String(error) });
        },
      )
      .finally(() => (this.loading = undefined));
    await this.loading;
  }
}
