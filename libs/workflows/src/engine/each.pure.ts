/** How far a forEach has come, small enough to travel: 10,000 items are one line of ranges, not 10,000 records. */
import type { Json, Problem } from '@opsloop/contracts';

/** Problems kept whole; a problem may have 2 KB, so more of them would not fit what a run carries. */
const WHOLE_PROBLEMS_MAX = 100;
const BRIEF_CHARS_MAX = 100;

export interface CarriedEach {
  /** Indexes of the items that are final: `0-99,104`. */
  done: string;
  failed: [key: string, problem: Problem][];
  /** What `collect` gave, by index. */
  at: number[];
  collected: Json[];
  /** Of a retry: items, by their segment in a path, that run again, and the only ones that run at all. */
  again?: string[];
  only?: string[];
}

export class EachProgress {
  readonly failed = new Map<string, Problem>();
  readonly collected = new Map<number, Json>();
  /** Of a retry of some items: the others are left as they are, and count for nothing. */
  only: ReadonlySet<string> | undefined;
  private again = new Set<string>();
  private readonly final = new Set<number>();

  isDone(index: number): boolean {
    return this.final.has(index);
  }

  succeeded(index: number, output: Json | undefined): void {
    this.final.add(index);
    if (output !== undefined) this.collected.set(index, output);
  }

  fail(index: number, key: string, problem: Problem): void {
    this.final.add(index);
    this.failed.set(key, this.failed.size < WHOLE_PROBLEMS_MAX ? problem : briefly(problem));
  }

  /** Of a retry: the item is done no more when it is one of those that run again. */
  reopen(index: number, key: string, segment: string): void {
    if (!this.again.delete(segment)) return;
    this.final.delete(index);
    this.collected.delete(index);
    this.failed.delete(key);
  }

  /** Whether the item is left out of this retry. */
  isLeftOut(segment: string): boolean {
    return this.only !== undefined && !this.only.has(segment);
  }

  /** In item order, not in the order in which they ended. */
  inOrder(): Json[] {
    return [...this.collected].sort(([a], [b]) => a - b).map(([, value]) => value);
  }

  toJson(): CarriedEach {
    const collected = [...this.collected].sort(([a], [b]) => a - b);
    return {
      done: rangesOf(this.final),
      failed: [...this.failed],
      at: collected.map(([index]) => index),
      collected: collected.map(([, value]) => value),
      ...(this.again.size === 0 ? {} : { again: [...this.again] }),
      ...(this.only === undefined ? {} : { only: [...this.only] }),
    };
  }

  static fromJson(json: CarriedEach): EachProgress {
    const each = new EachProgress();
    for (const index of indexesOf(json.done)) each.final.add(index);
    for (const [key, problem] of json.failed) each.failed.set(key, problem);
    json.at.forEach((index, n) => each.collected.set(index, json.collected[n]!));
    each.again = new Set(json.again);
    if (json.only !== undefined) each.only = new Set(json.only);
    return each;
  }
}

function briefly({ type, title, status, code, detail, instance }: Problem): Problem {
  return {
    type,
    title: title.slice(0, BRIEF_CHARS_MAX),
    status,
    code,
    ...(detail === undefined ? {} : { detail: detail.slice(0, BRIEF_CHARS_MAX) }),
    ...(instance === undefined ? {} : { instance }),
  };
}

/** `0-3,7` of {0, 1, 2, 3, 7}. */
export function rangesOf(indexes: Iterable<number>): string {
  const sorted = [...indexes].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length;) {
    let end = at;
    while (sorted[end + 1] === sorted[end]! + 1) end += 1;
    parts.push(end === at ? `${sorted[at]}` : `${sorted[at]}-${sorted[end]}`);
    at = end + 1;
  }
  return parts.join(',');
}

export function indexesOf(ranges: string): number[] {
  if (ranges === '') return [];
  return ranges.split(',').flatMap((part) => {
    const [from, to = from] = part.split('-').map(Number);
    return Array.from({ length: to! - from! + 1 }, (_, n) => from! + n);
  });
}
