import { Injectable } from '@nestjs/common';
import { InternalClient, Logger } from '@opsloop/platform';
import type { Configs } from '../store/model.js';

/** Hints on the bus make changes quick; this is the net when one went to another process. */
const REFRESH_MS = 5_000;

/** `config.<name>.<key>` of rules. Kept when the catalog does not answer: yesterday's pager address beats none. */
@Injectable()
export class ConfigCache {
  private configs: Configs | undefined;
  private loadedAt = 0;
  private loading: Promise<void> | undefined;

  constructor(
    private readonly client: InternalClient,
    private readonly logger: Logger,
  ) {}

  /**
   * Waits for the catalog only when a rule needs a value and none was ever read; refreshes behind the back otherwise.
   */
  async get(needed: boolean, now: number): Promise<Configs> {
    if (needed && now - this.loadedAt > REFRESH_MS) {
      const refresh = this.refresh(now);
      if (this.configs === undefined) await refresh;
      else
        refresh.catch((error: unknown) => this.logger.warn('configs could not be refreshed', { error: String(error) }));
    }
    return this.configs ?? EMPTY;
  }

  forget(): void {
    this.loadedAt = 0;
  }

  private refresh(now: number): Promise<void> {
    this.loading ??= this.client
      .call('POST /internal/catalog/configs', {})
      .then(({ configs }) => {
        this.configs = configs;
        this.loadedAt = now;
      })
      .finally(() => (this.loading = undefined));
    return this.loading;
  }
}

const EMPTY: Configs = {};
