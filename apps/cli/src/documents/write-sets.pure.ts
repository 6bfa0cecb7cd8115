/** What is written in one request: rules together, since they judge together; everything else one by one. */
import type { LoadedDocument } from './read-documents.js';

/** What the server takes as one set. */
const RULES_MAX = 10_000;
/** Below the 16 MB of the route, with room for the JSON around them. */
const BYTES_MAX = 15 * 1024 * 1024;

/** In the order given; each set is a single document or two and more rules. */
export function inWriteSets(documents: readonly LoadedDocument[], bytesMax = BYTES_MAX): LoadedDocument[][] {
  const sets: LoadedDocument[][] = [];
  let bytes = 0;
  for (const one of documents) {
    const last = sets.at(-1);
    const size = one.kind === 'rule' ? Buffer.byteLength(JSON.stringify(one.document)) + 1 : 0;
    const joins =
      one.kind === 'rule' && last?.[0]!.kind === 'rule' && last.length < RULES_MAX && bytes + size <= bytesMax;
    if (joins) last.push(one);
    else sets.push([one]);
    bytes = joins ? bytes + size : size;
  }
  return sets;
}

/** Which document of a set a mistake is about, by the pointer that the server gave: `/items/3/version`. */
export function blamed(set: readonly LoadedDocument[], pointers: readonly string[]): LoadedDocument {
  for (const pointer of pointers) {
    const found = set[Number(/^\/items\/(\d+)(?:\/|$)/.exec(pointer)?.[1] ?? NaN)];
    if (found !== undefined) return found;
  }
  return set[0]!;
}
