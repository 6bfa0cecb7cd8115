import type { JournalRecord } from './types.js';

/** Characters at which an instance path has an ancestor: `a/b[k]/c~2`. */
const CUTS = /[/[~][^/[~]*$/;

/** `a/b[k]` of `a/b[k]/c`, '' of a step of the flow itself. */
export function parentPath(path: string): string {
  const cut = CUTS.exec(path);
  return cut === null ? '' : path.slice(0, cut.index);
}

/** What is done, by instance path. A step with a final record is not executed again. */
export class Journal {
  private readonly records = new Map<string, JournalRecord>();
  private readonly under = new Map<string, Set<string>>();

  /** @param gone Told of every path that nobody walks to again. */
  constructor(private readonly gone: (path: string) => void) {}

  get(path: string): JournalRecord | undefined {
    return this.records.get(path);
  }

  has(path: string): boolean {
    return this.records.has(path);
  }

  set(path: string, record: JournalRecord): void {
    this.records.set(path, record);
    for (let child = path, parent = parentPath(path); parent !== ''; child = parent, parent = parentPath(parent)) {
      const known = this.under.get(parent);
      if (known?.has(child) === true) return;
      if (known === undefined) this.under.set(parent, new Set([child]));
      else known.add(child);
    }
  }

  /** Forgets everything below `path`: it has ended well, so nobody walks there again. */
  prune(path: string): void {
    const below = this.under.get(path);
    if (below === undefined) return;
    this.under.delete(path);
    for (const child of below) {
      this.records.delete(child);
      this.gone(child);
      this.prune(child);
    }
  }

  /** Forgets `path` and everything below it. */
  remove(path: string): void {
    this.prune(path);
    this.records.delete(path);
    this.gone(path);
    this.under.get(parentPath(path))?.delete(path);
  }

  /** The nearest record at or above `path`. */
  covering(path: string): JournalRecord | undefined {
    for (let at = path; at !== ''; at = parentPath(at)) {
      const record = this.records.get(at);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  entries(): IterableIterator<[string, JournalRecord]> {
    return this.records.entries();
  }
}
