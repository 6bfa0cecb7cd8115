/** Rolling batches and tolerance of a forEach (and of the per-target flow, which is one). */
import { OpsError } from '@opsloop/contracts';

export interface BatchPlanSpec {
  plan?: string[][];
  canary?: number;
  /** A count or a percentage of all items. */
  size?: number | string;
  max?: number;
}

/** A number, or `10%` of the total: rounded down, at least 1. */
export function batchSize(size: number | string, total: number): number {
  if (typeof size === 'number') return Math.max(1, Math.floor(size));
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(size);
  if (percent) return Math.max(1, Math.floor((total * Number(percent[1])) / 100));
  const count = Number(size);
  if (!Number.isInteger(count) || count < 1) {
    throw new OpsError('validation', `batch size "${size}" is neither a count nor a percentage such as 10%`);
  }
  return count;
}

/**
 * Splits item keys into batches. A plan comes first, without keys that are no items any more; what it does not name
 * follows in batches of its own. The canary is the first batch and not counted in what follows; `max` caps every batch.
 */
export function splitBatches(keys: readonly string[], spec: BatchPlanSpec | undefined): string[][] {
  if (keys.length === 0) return [];
  if (spec === undefined) return [[...keys]];
  const max = spec.max ?? Infinity;
  const chunk = (list: readonly string[], size: number): string[][] => {
    const step = Math.max(1, Math.min(size, max));
    const out: string[][] = [];
    for (let at = 0; at < list.length; at += step) out.push(list.slice(at, at + step));
    return out;
  };
  const batches: string[][] = [];
  let rest: readonly string[] = keys;
  if (spec.plan !== undefined && spec.plan.length > 0) {
    const left = new Set(keys);
    for (const group of spec.plan) {
      const known = group.filter((key) => left.delete(key));
      batches.push(...chunk(known, known.length || 1));
    }
    rest = keys.filter((key) => left.has(key));
  } else if (spec.canary !== undefined && spec.canary > 0) {
    batches.push(...chunk(keys.slice(0, spec.canary), spec.canary));
    rest = keys.slice(spec.canary);
  }
  batches.push(...chunk(rest, spec.size === undefined ? rest.length || 1 : batchSize(spec.size, keys.length)));
  return batches;
}

export interface Tolerance {
  failures?: number;
  percent?: number;
}

/** True when more items failed than is tolerated: either bound counts; none at all means that no failure is. */
export function exceeds(tolerate: Tolerance | undefined, failed: number, total: number): boolean {
  if (failed === 0) return false;
  if (tolerate?.failures === undefined && tolerate?.percent === undefined) return true;
  if (tolerate.failures !== undefined && failed > tolerate.failures) return true;
  return tolerate.percent !== undefined && (failed * 100) / total > tolerate.percent;
}
