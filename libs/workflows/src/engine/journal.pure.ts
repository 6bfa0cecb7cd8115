/** Characters at which an instance path has an ancestor: `a/b[k]/c~2`. */
const CUTS = new Set(['/', '[', '~']);

/** Drops what stands below a finished step: nobody walks there again. */
export function pruneJournal<T>(journal: {
  has(path: string): boolean;
  entries(): Iterable<[string, T]>;
}): [string, T][] {
  return [...journal.entries()].filter(([path]) => {
    for (let at = 1; at < path.length; at += 1) {
      if (CUTS.has(path[at]!) && journal.has(path.slice(0, at))) return false;
    }
    return true;
  });
}
