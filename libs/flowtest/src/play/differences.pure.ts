/** Expected against actual, in words that show where to look. */
import type { Json } from '@opsloop/contracts';

/** A difference of a value says so much of each side. */
const SHOWN_CHARS = 200;
/** A list that differs everywhere is not worth more lines. */
const LINES_MAX = 60;
/** Above this the lists are compared entry by entry: the table of a diff of two times 10,000 would take 400 MB. */
const CELLS_MAX = 4_000_000;

/** Places at which two values differ, as JSON pointers below `at`. */
export function valueDifferences(expected: Json | undefined, actual: Json | undefined, at = ''): string[] {
  if (isObject(expected) && isObject(actual)) {
    const keys = [...new Set([...Object.keys(expected), ...Object.keys(actual)])];
    return keys.flatMap((key) => valueDifferences(expected[key], actual[key], `${at}/${key}`)).slice(0, LINES_MAX);
  }
  if (Array.isArray(expected) && Array.isArray(actual)) {
    const length = Math.max(expected.length, actual.length);
    return Array.from({ length }, (_, i) => valueDifferences(expected[i], actual[i], `${at}/${i}`))
      .flat()
      .slice(0, LINES_MAX);
  }
  if (Object.is(expected, actual)) return [];
  return [`${at === '' ? '(value)' : at}: expected ${shown(expected)}, got ${shown(actual)}`];
}

/** Members that must be there; what is not named may be anything. */
export function memberDifferences(expected: Json, actual: Json | undefined, at = ''): string[] {
  if (!isObject(expected) || !isObject(actual)) return valueDifferences(expected, actual, at);
  return Object.entries(expected).flatMap(([key, value]) => memberDifferences(value, actual[key], `${at}/${key}`));
}

export interface Entry<T> {
  text: string;
  value: T;
}

/**
 * Two lists as a diff (`-` missing, `+` too much), or nothing when they agree. `fits` compares an expected entry with
 * an actual one; `any` is an expected entry that stands for any number of actual ones.
 */
export function listDifferences<E, A>(
  expected: readonly Entry<E>[],
  actual: readonly Entry<A>[],
  fits: (expected: E, actual: A) => boolean,
  any: (expected: E) => boolean,
): string[] {
  const [rows, columns] = [expected.length, actual.length];
  if (rows * columns > CELLS_MAX) {
    const at = expected.findIndex((entry, i) => i >= columns || !fits(entry.value, actual[i]!.value));
    if (at < 0 && rows === columns) return [];
    const from = at < 0 ? rows : at;
    return [`- ${expected[from]?.text ?? '(end)'}`, `+ ${actual[from]?.text ?? '(end)'}`, `at entry ${from + 1}`];
  }
  // cost[i][j]: fewest lines of difference between expected from i and actual from j.
  const cost = Array.from({ length: rows + 1 }, () => new Uint32Array(columns + 1));
  const wild = expected.map((entry) => any(entry.value));
  for (let i = rows; i >= 0; i -= 1) {
    for (let j = columns; j >= 0; j -= 1) {
      if (i === rows) cost[i]![j] = columns - j;
      else if (wild[i] === true) cost[i]![j] = Math.min(cost[i + 1]![j]!, j < columns ? cost[i]![j + 1]! : Infinity);
      else if (j === columns) cost[i]![j] = 1 + cost[i + 1]![j]!;
      else if (fits(expected[i]!.value, actual[j]!.value)) cost[i]![j] = cost[i + 1]![j + 1]!;
      else cost[i]![j] = 1 + Math.min(cost[i + 1]![j]!, cost[i]![j + 1]!);
    }
  }
  if (cost[0]![0] === 0) return [];
  return trimmed(walk(expected, actual, cost, wild, fits));
}

function walk<E, A>(
  expected: readonly Entry<E>[],
  actual: readonly Entry<A>[],
  cost: readonly Uint32Array[],
  wild: readonly boolean[],
  fits: (expected: E, actual: A) => boolean,
): string[] {
  const lines: string[] = [];
  let [i, j] = [0, 0];
  while (i < expected.length || j < actual.length) {
    const here = cost[i]![j]!;
    if (i < expected.length && wild[i] === true) {
      if (cost[i + 1]![j] === here) i += 1;
      else j += 1;
    } else if (
      i < expected.length &&
      j < actual.length &&
      cost[i + 1]![j + 1] === here &&
      fits(expected[i]!.value, actual[j]!.value)
    ) {
      lines.push(`  ${actual[j]!.text}`);
      [i, j] = [i + 1, j + 1];
    } else if (i < expected.length && cost[i + 1]![j] === here - 1) {
      lines.push(`- ${expected[i]!.text}`);
      i += 1;
    } else {
      lines.push(`+ ${actual[j]!.text}`);
      j += 1;
    }
  }
  return lines;
}

/** Only the surroundings of what differs. */
function trimmed(lines: string[]): string[] {
  const near = (at: number): boolean => lines.slice(Math.max(0, at - 2), at + 3).some((line) => !line.startsWith('  '));
  const kept = lines.flatMap((line, at) => (near(at) ? [line] : near(at - 1) || at === 0 ? ['  …'] : []));
  return kept.length > LINES_MAX ? [...kept.slice(0, LINES_MAX), `… ${kept.length - LINES_MAX} more lines`] : kept;
}

function isObject(value: Json | undefined): value is { [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function shown(value: Json | undefined): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text;
}
