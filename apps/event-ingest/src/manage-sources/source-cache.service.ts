import { Inject, Injectable } from '@nestjs/common';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import type { SourceDocument } from '@opsloop/contracts';
import { PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { Tx } from '@opsloop/postgres';

/** Other processes hear of a change within milliseconds; when the notice is lost, a replaced secret works for so long. */
const FRESH_MS = 2_000;
/** A source is a document that a person wrote; above this the cache starts anew. Some MB. */
const SOURCES_MAX = 1_000;
const CHANNEL = 'ingest_source';

interface Known {
  source: SourceDocument;
  until: number;
}

/**
 * Sources with their secrets, as deliveries need them: two look-ups for each would cost more than the delivery itself.
 * What does not exist is not remembered.
 */
@Injectable()
export class SourceCache implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly known = new Map<string, Known>();
  private readonly reading = new Map<string, Promise<SourceDocument | undefined>>();
  private generation = 0;
  protected readonly freshMs: number = FRESH_MS;
  private stop: (() => Promise<void>) | undefined;

  constructor(
    private readonly database: Database,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    // Embedded there is no other process that could change a source.
    if (!this.config.embedded) this.stop = await this.database.listen(CHANNEL, () => this.forget());
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.stop?.();
    this.forget();
  }

  /** The source as it was within the last two seconds, or as `read` finds it now. */
  get(
    name: string,
    read: (name: string) => Promise<SourceDocument | undefined>,
  ): SourceDocument | Promise<SourceDocument | undefined> {
    const known = this.known.get(name);
    if (known !== undefined && performance.now() < known.until) return known.source;
    return this.reading.get(name) ?? this.read(name, read);
  }

  /** In the transaction that changes a source: from its commit on, nobody uses what it was. */
  changed(tx: Tx): void {
    tx.send({ name: 'ingest-source-changed', text: `SELECT pg_notify('${CHANNEL}', '')` });
    tx.afterCommit(() => this.forget());
  }

  forget(): void {
    this.generation += 1;
    this.known.clear();
    this.reading.clear();
  }

  private read(
    name: string,
    read: (name: string) => Promise<SourceDocument | undefined>,
  ): Promise<SourceDocument | undefined> {
    const { generation } = this;
    const until = performance.now() + this.freshMs;
    const reading = read(name)
      .then((source) => {
        // What was read while it changed may be what it was before.
        if (source !== undefined && generation === this.generation) {
          if (this.known.size >= SOURCES_MAX) this.known.clear();
          this.known.set(name, { source, until });
        }
        return source;
      })
      .finally(() => {
        if (generation === this.generation) this.reading.delete(name);
      });
    this.reading.set(name, reading);
    return reading;
  }
}
