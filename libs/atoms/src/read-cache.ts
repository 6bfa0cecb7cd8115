import type { CachedAnswer, Json } from '@opsloop/contracts';

/** Answers in memory. A thousand hosts with ten reads each fit; the least recently used goes first. */
const ENTRIES_MAX = 10_000;
/** Characters of all answers together: at most 64 MB of a worker's heap. */
const CHARS_MAX = 32 * 1024 * 1024;

interface Entry {
  output: Json;
  size: number;
  at: number;
  until: number;
}

/**
 * Answers of reads, kept in the memory of one worker for as long as their atoms say. Keys come from the interpreter
 * and hold the tenant, the atom and its version.
 */
export class ReadCache {
  private readonly entries = new Map<string, Entry>();
  private readonly loading = new Map<string, Promise<Json>>();
  private chars = 0;

  constructor(
    private readonly now: () => number = Date.now,
    private readonly limits = { entries: ENTRIES_MAX, chars: CHARS_MAX },
  ) {}

  get(key: string): CachedAnswer | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.drop(key, entry);
    if (entry.until <= this.now()) return undefined;
    // A map keeps the order of insertion: the newest use stands last.
    this.add(key, entry);
    return { output: entry.output, cachedAt: new Date(entry.at).toISOString() };
  }

  put(key: string, output: Json, ttlMs: number): void {
    const size = JSON.stringify(output)?.length ?? 0;
    const old = this.entries.get(key);
    if (old !== undefined) this.drop(key, old);
    if (size > this.limits.chars) return;
    this.add(key, { output, size, at: this.now(), until: this.now() + ttlMs });
    for (const [first, entry] of this.entries) {
      if (this.entries.size <= this.limits.entries && this.chars <= this.limits.chars) break;
      this.drop(first, entry);
    }
  }

  /** The answer from memory, or the one that `load` gives; whoever asks meanwhile waits for the same answer. */
  async through(key: string, ttlMs: number, load: () => Promise<Json>): Promise<CachedAnswer> {
    const known = this.get(key);
    if (known !== undefined) return known;
    const other = this.loading.get(key);
    if (other !== undefined) {
      // Its failure, or its cancellation, is its own.
      await other.catch(() => undefined);
      const answer = this.get(key);
      if (answer !== undefined) return answer;
    }
    const mine = load();
    this.loading.set(key, mine);
    try {
      const output = await mine;
      this.put(key, output, ttlMs);
      return { output };
    } finally {
      if (this.loading.get(key) === mine) this.loading.delete(key);
    }
  }

  private add(key: string, entry: Entry): void {
    this.entries.set(key, entry);
    this.chars += entry.size;
  }

  private drop(key: string, entry: Entry): void {
    this.entries.delete(key);
    this.chars -= entry.size;
  }
}
