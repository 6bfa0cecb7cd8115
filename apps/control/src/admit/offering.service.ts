import { Injectable } from '@nestjs/common';
import { type CompiledOffering, digestOf, type JsonObject } from '@opsloop/contracts';
import { InternalClient } from '@opsloop/platform';
import { Remembered } from '../remembered.js';

/** The handler of `starts` waits inside its transaction, which PostgreSQL ends after 5 s of silence. */
const TIMEOUT_MS = 2_000;
/** Compiled flows are 10–100 KB each; 500 are more than a second of any stream asks for. */
const CACHE_MAX = 500;

export interface Resolved extends CompiledOffering {
  /** Digest of the compiled flow, under which control keeps it. */
  irDigest: string;
}

/** What the catalog and the configs say, remembered for a second: a storm of events asks the catalog once. */
@Injectable()
export class OfferingService {
  private readonly offerings = new Map<string, Remembered<Resolved>>();
  private readonly configs: Remembered<Record<string, JsonObject>>;

  constructor(private readonly internal: InternalClient) {
    this.configs = new Remembered(async () => {
      const answer = await internal.call('POST /internal/catalog/configs', {}, {}, { timeoutMs: TIMEOUT_MS });
      return answer.configs;
    });
  }

  /** Throws `not-found` for what is not published, `unavailable` when the catalog does not answer. */
  resolve(ref: string): Promise<Resolved> {
    let offering = this.offerings.get(ref);
    if (offering === undefined) {
      if (this.offerings.size >= CACHE_MAX) this.offerings.clear();
      this.offerings.set(ref, (offering = new Remembered(() => this.load(ref))));
    }
    return offering.get();
  }

  config(): Promise<Record<string, JsonObject>> {
    return this.configs.get();
  }

  /** A document changed: what was remembered may be old. */
  forget(): void {
    this.offerings.clear();
    this.configs.forget();
  }

  private async load(ref: string): Promise<Resolved> {
    const offering = await this.internal.call('POST /internal/catalog/compile', { ref }, {}, { timeoutMs: TIMEOUT_MS });
    return { ...offering, irDigest: digestOf(offering.compiled) };
  }
}
