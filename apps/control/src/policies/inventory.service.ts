import { Injectable } from '@nestjs/common';
import type { ResourceView } from '@opsloop/contracts';
import { InternalClient, Logger } from '@opsloop/platform';

/** Labels say where a thing stands; what is moved is seen this much later. */
const RESOURCE_MS = 2_000;
/** Counting the inventory reads all of it; a share of it does not change by one host. */
const KIND_MS = 10_000;
/** The handler of `starts` waits for it; fail closed instead of late. */
const TIMEOUT_MS = 2_000;
/** Resources that are remembered: some 10 MB. */
const KEPT_MAX = 10_000;
/** Above this a share is counted elsewhere; some 100 MB for ten seconds would not be worth it. */
const KIND_MAX = 200_000;
const PATHS_MAX = 1_000;

interface Kept<T> {
  at: number;
  value: T;
}

/** What decision knows of the things that are worked on; without an answer nothing is guessed. */
@Injectable()
export class InventoryService {
  private readonly resources = new Map<string, Kept<ResourceView | null>>();
  private readonly kinds = new Map<string, Kept<Promise<readonly ResourceView[] | undefined>>>();

  constructor(
    private readonly internal: InternalClient,
    private readonly logger: Logger,
  ) {}

  /** Those of them that are in the inventory; undefined when it does not answer. */
  async byPath(paths: readonly string[]): Promise<ReadonlyMap<string, ResourceView> | undefined> {
    const now = Date.now();
    const missing = paths.filter((p) => now - (this.resources.get(p)?.at ?? 0) > RESOURCE_MS);
    try {
      for (let i = 0; i < missing.length; i += PATHS_MAX) await this.load(missing.slice(i, i + PATHS_MAX));
    } catch (error) {
      this.logger.warn('the inventory does not answer; starts that depend on it wait', { error });
      return undefined;
    }
    const found = new Map<string, ResourceView>();
    for (const path of paths) {
      const kept = this.resources.get(path)?.value;
      if (kept !== undefined && kept !== null) found.set(path, kept);
    }
    return found;
  }

  private async load(paths: readonly string[]): Promise<void> {
    const { items } = await this.internal.call(
      'POST /internal/decision/resources',
      { paths: [...paths], limit: PATHS_MAX },
      {},
      { timeoutMs: TIMEOUT_MS },
    );
    if (this.resources.size + paths.length > KEPT_MAX) this.resources.clear();
    const found = new Map(items.map((r) => [r.path, r]));
    for (const path of paths) this.resources.set(path, { at: Date.now(), value: found.get(path) ?? null });
  }

  /** All resources of a kind; undefined when it does not answer or there are too many. */
  ofKind(kind: string): Promise<readonly ResourceView[] | undefined> {
    const known = this.kinds.get(kind);
    if (known !== undefined && Date.now() - known.at < KIND_MS) return known.value;
    const value = this.loadKind(kind).catch((error: unknown) => {
      this.kinds.delete(kind);
      this.logger.warn('the inventory does not answer; starts that depend on it wait', { kind, error });
      return undefined;
    });
    this.kinds.set(kind, { at: Date.now(), value });
    return value;
  }

  private async loadKind(kind: string): Promise<readonly ResourceView[] | undefined> {
    const all: ResourceView[] = [];
    for (let after: string | undefined = ''; after !== undefined;) {
      const page: { items: ResourceView[]; next?: string } = await this.internal.call(
        'POST /internal/decision/inventory',
        { kind, after },
        {},
        { timeoutMs: TIMEOUT_MS },
      );
      all.push(...page.items);
      if (all.length > KIND_MAX) return undefined;
      after = page.next;
    }
    return all;
  }
}
