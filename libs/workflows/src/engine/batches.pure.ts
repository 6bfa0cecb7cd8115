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

/** How batches follow the outcome of the one before. */
export interface RampSpec {
  /** Default 2. */
  grow?: number;
  /** Default 2. */
  shrink?: number;
}

/**
 * The planned batches, one after the other. With a ramp each planned batch is the largest it may become: after one with
 * failures the next is half as large as that was, after one without it is twice as large, until the plan is reached
 * again. A part of a planned batch keeps what the plan promises of it. The same failures give the same batches, so a run
 * that goes on in another Temporal run finds its place again.
 */
export class RollingBatches {
  private readonly left: string[][];
  private limit = Number.POSITIVE_INFINITY;
  private size = 0;
  private begun = 0;

  constructor(
    plan: readonly (readonly string[])[],
    private readonly ramp: RampSpec | undefined,
  ) {
    this.left = plan.map((keys) => [...keys]);
  }

  /** Begun and planned. */
  get count(): number {
    return this.begun + this.left.length;
  }

  next(): string[] | undefined {
    const planned = this.left.shift();
    if (planned === undefined) return undefined;
    const keys = planned.slice(0, this.limit);
    if (keys.length < planned.length) this.left.unshift(planned.slice(keys.length));
    this.begun += 1;
    this.size = keys.length;
    return keys;
  }

  /** Of the last batch. */
  ended(failed: number): void {
    if (this.ramp === undefined) return;
    const { grow = 2, shrink = 2 } = this.ramp;
    this.limit = failed > 0 ? Math.max(1, Math.floor(this.size / shrink)) : grown(this.limit, grow);
  }
}

/** By one at least: a batch of one would stay one for ever under a factor of 1.5. */
function grown(limit: number, grow: number): number {
  return grow > 1 ? Math.max(limit + 1, Math.floor(limit * grow)) : limit;
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
