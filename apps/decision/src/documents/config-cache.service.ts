import { Injectable } from '@nestjs/common';
import { InternalClient, Logger } from '@opsloop/platform';
import type { Configs } from '../store/model.js';

/** Hints on the bus make changes quick; this is the net when one went to another process. */
const REFRESH_MS = 5_000;
/** A catalog that does not answer is not asked by every batch again. */
const RETRY_MS = 1_000;
/** Deciding waits for it only while nothing was ever read. */
const TIMEOUT_MS = 1_000;

const EMPTY: Configs = {};

/** `config.<name>.<key>` of rules. Kept when the catalog does not answer: yesterday's pager address beats none. */
@Injectable()
export class ConfigCache {
  private configs: Configs | undefined;
  private refreshAt = 0;
  private loading: Promise<void> | undefined;

  constructor(
    private readonly client: InternalClient,
    private readonly logger: Logger,
  ) {}

  /**
   * Waits for the catalog only when a rule needs a value and none was ever read; otherwise refreshes behind the back.
   * Never fails: without the catalog a slot that reads a config is the verdict `error`, which says so, and every other
   * rule goes on. Failing here would dead-letter events after 1.6 s of an absent catalog.
   */
  async get(needed: boolean, now: number): Promise<Configs> {
    if (needed && now >= this.refreshAt) {
      const refresh = this.refresh(now);
      if (this.configs === undefined) await refresh;
    }
    return this.configs ?? EMPTY;
  }

  forget(): void {
    this.refreshAt = 0;
  }

  private refresh(now: number): Promise<void> {
    this.loading ??= this.client
      .call('POST /internal/catalog/configs', {}, {}, { timeoutMs: TIMEOUT_MS })
      .then(
        ({ configs }) => {
          this.configs = configs;
          this.refreshAt = now + REFRESH_MS;
        },
        (error: unknown) => {
          this.refreshAt = now + RETRY_MS;
          this.logger.warn('configs could not be read', { error: String(error) });
        },
      )
      .finally(() => (this.loading = undefined));
    return this.loading;
  }
}
