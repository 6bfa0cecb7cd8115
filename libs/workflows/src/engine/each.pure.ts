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
}

export class EachProgress {
  readonly failed = new Map<string, Problem>();
  readonly collected = new Map<number, Json>();
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

  /** The item runs again. */
  reopen(index: number, key: string): void {
    this.final.delete(index);
    this.collected.delete(index);
    this.failed.delete(key);
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
    };
  }

  static fromJson(json: CarriedEach): EachProgress {
    const each = new EachProgress();
    for (const index of indexesOf(json.done)) each.final.add(index);
    for (const [key, problem] of json.failed) each.failed.set(key, problem);
    json.at.forEach((index, n) => each.collected.set(index, json.collected[n]!));
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
