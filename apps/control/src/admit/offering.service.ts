import { Injectable } from '@nestjs/common';
import { type CompiledOffering, digestOf, type JsonObject } from '@opsloop/contracts';
import { InternalClient } from '@opsloop/platform';

/** A version published elsewhere starts at most this much later; the same storm of events asks the catalog once. */
const CACHE_MS = 1_000;
/** The handler of `starts` waits inside its transaction, which PostgreSQL ends after 5 s of silence. */
const TIMEOUT_MS = 2_000;
/** Compiled flows are 10–100 KB each; 500 are more than a second of any stream asks for. */
const CACHE_MAX = 500;

export interface Resolved extends CompiledOffering {
  /** Digest of the compiled flow, under which control keeps it. */
  irDigest: string;
}

interface Entry<T> {
  at: number;
  value: Promise<T>;
}

/** What the catalog and the configs say, remembered for a second. Failures are not remembered. */
@Injectable()
export class OfferingService {
  private readonly offerings = new Map<string, Entry<Resolved>>();
  private configs: Entry<Record<string, JsonObject>> | undefined;

  constructor(private readonly internal: InternalClient) {}

  /** Throws `not-found` for what is not published, `unavailable` when the catalog does not answer. */
  resolve(ref: string): Promise<Resolved> {
    const known = this.offerings.get(ref);
    if (known !== undefined && Date.now() - known.at < CACHE_MS) return known.value;
    if (this.offerings.size >= CACHE_MAX) this.offerings.clear();
    const value = this.load(ref);
    this.offerings.set(ref, { at: Date.now(), value });
    value.catch(() => this.offerings.delete(ref));
    return value;
  }

  config(): Promise<Record<string, JsonObject>> {
    if (this.configs !== undefined && Date.now() - this.configs.at < CACHE_MS) return this.configs.value;
    const value = this.internal
      .call('POST /internal/catalog/configs', {}, {}, { timeoutMs: TIMEOUT_MS })
      .then((a) => a.configs);
    this.configs = { at: Date.now(), value };
    value.catch(() => (this.configs = undefined));
    return value;
  }

  /** A document changed: what was remembered may be old. */
  forget(): void {
    this.offerings.clear();
    this.configs = undefined;
  }

  private async load(ref: string): Promise<Resolved> {
    const offering = await this.internal.call('POST /internal/catalog/compile', { ref }, {}, { timeoutMs: TIMEOUT_MS });
    return { ...offering, irDigest: digestOf(offering.compiled) };
  }
}
