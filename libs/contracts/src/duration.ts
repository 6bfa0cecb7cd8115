import { OpsError } from './errors.js';

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const WHOLE = /^(\d+(ms|s|m|h|d))+$/;
const PART = /(\d+)(ms|s|m|h|d)/g;

/** Longest duration a document may name: a year. Longer is a typing error, and timers overflow at 24.8 days × 2^n. */
export const DURATION_MAX_MS = 366 * UNIT_MS.d;

/** Rules are judged by the same few durations thousands of times a second. */
const read = new Map<string, number>();
const READ_MAX = 1_000;

/** Parses `90s`, `1h30m`, `250ms` to milliseconds. Throws `validation` on anything else or above a year. */
export function durationMs(text: string): number {
  const known = read.get(text);
  if (known !== undefined) return known;
  if (!WHOLE.test(text)) {
    throw new OpsError('validation', `"${text}" is not a duration; write for example 500ms, 30s, 5m, 1h30m or 2d`);
  }
  let ms = 0;
  for (const [, count, unit] of text.matchAll(PART)) ms += Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
  if (ms > DURATION_MAX_MS) throw new OpsError('validation', `"${text}" is longer than a year`);
  if (read.size < READ_MAX) read.set(text, ms);
  return ms;
}

export function isDuration(text: string): boolean {
  return WHOLE.test(text);
}

/** Prints milliseconds in the largest units that fit: 90_000 → `1m30s`. */
export function printDuration(ms: number): string {
  if (ms === 0) return '0s';
  let rest = Math.round(ms);
  let text = '';
  for (const [unit, size] of Object.entries(UNIT_MS).reverse()) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text;
}
