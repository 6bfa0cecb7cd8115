import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { StoredSecrets } from '@opsloop/atoms';
import { OpsError } from '@opsloop/contracts';
import { InternalClient, Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { Tx } from '@opsloop/postgres';
import { SourceRepository } from './source.repository.js';

/** Name of a source's secret in the store; flows cannot name it, since their names have no slash. */
const storeName = (source: string): string => `source/${source}`;
/** A delivery must not fail because service-catalog restarts; a replaced secret has another version and is asked at once. */
const REMEMBER_MS = 600_000;

/**
 * The secrets of sources: kept in the secret store, under a version that stands in our own table. So every process
 * sees a replaced secret with the next delivery, whatever it remembers of the old one.
 */
@Injectable()
export class SourceSecrets implements OnApplicationShutdown {
  private readonly store = new StoredSecrets((key) => this.client.secret(key.split('#', 1)[0]!), REMEMBER_MS);

  constructor(
    private readonly database: Database,
    private readonly repository: SourceRepository,
    @Inject(InternalClient) private readonly client: InternalClient,
    private readonly logger: Logger,
  ) {}

  /** Values by pointer. */
  async of(tenant: string, source: string): Promise<Map<string, string>> {
    const rows = await this.repository.secrets(tenant, source);
    const values = new Map<string, string>();
    for (const { pointer, value, version } of rows) {
      const found = value ?? (await this.store.get(`${storeName(source)}#${version}`));
      if (found !== undefined) values.set(pointer, found);
      if (value !== null) await this.move(tenant, source, pointer, value);
    }
    return values;
  }

  /** Puts a new value into the store; answers its version. */
  async keep(source: string, value: string, by: string): Promise<number> {
    return (await this.client.call('POST /internal/catalog/secrets/keep', { name: storeName(source), value, by }))
      .version;
  }

  /** Destroys the value. The source is gone already, so a failure is only worth a line. */
  async forget(source: string, by: string): Promise<void> {
    try {
      await this.client.call('POST /internal/catalog/secrets/forget', { name: storeName(source), by });
    } catch (error) {
      this.logger.warn('the secret of a removed source is still kept', { source, error });
    }
  }

  onApplicationShutdown(): void {
    this.store.forget();
  }

  /** A value from before the store: it works as it is, so that a store without a key stops no delivery. */
  private async move(tenant: string, source: string, pointer: string, value: string): Promise<void> {
    try {
      const version = await this.keep(source, value, 'opsloop');
      await this.database.inTransaction(tenant, (tx: Tx) => this.repository.moved(tx, source, pointer, version));
    } catch (error) {
      const reason = error instanceof OpsError ? error.detail : String(error);
      this.logger.warn('the secret of a source is not in the secret store yet', { source, reason });
    }
  }
}
