/** The reference interpreter's steps whose inner steps run side by side, and stop each other. */
import type { Json, Step } from '@opsloop/contracts';
import { Leaves } from './reference-leaves.js';
import { type End, type Env, type Log, NEAR_MS, NEVER, type Undo, ms } from './reference-terms.js';

export abstract class Branches extends Leaves {
  protected abstract list(steps: readonly Step[], env: Env, path: string, t: number, cancelAt: number, log: Log): End;
  protected abstract step(step: Step, env: Env, parent: string, t: number, cancelAt: number, log: Log): End;
  protected abstract compensate(env: Env, undo: readonly Undo[], t: number, log: Log): number;

  protected parallel(
    step: Extract<Step, { parallel: unknown }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const { join: wants = 'all', onError = 'cancel', limit } = step.parallel;
    const wanted = wants === 'all' ? step.do.length : wants === 'any' ? 1 : wants.count;
    const once = (stopAt: number): { ends: Map<string, End>; log: Log; undo: Undo[][] } =>
      this.branches(step.do, limit ?? step.do.length, env, path, t, Math.min(stopAt, cancelAt));
    const first = once(NEVER);
    const stop = this.stopOf([...first.ends.values()], (ok, failed) =>
      wants !== 'all' && ok >= wanted ? true : onError === 'cancel' && failed > 0 && step.do.length - failed < wanted,
    );
    this.near(stop, cancelAt);
    // What decided has happened; the cancel follows it.
    const final = stop < cancelAt ? once(stop + 0.5) : first;
    if (stop - t < NEAR_MS && step.do.length > 1) this.ambiguous = true;
    log.records.push(...final.log.records);
    log.undone.push(...final.log.undone);
    log.emitted.push(...final.log.emitted);
    if (env.forward) env.undo.push({ branches: final.undo });
    const ends = [...final.ends.values()].sort((a, b) => a.at - b.at);
    const at = Math.max(t, ...ends.map((end) => end.at));
    // A cancel from outside counts only when nothing inside had decided before; what a branch came to first goes outward.
    const deciding = ends.filter((end) => end.kind === 'return' || (stop >= cancelAt && end.kind === 'cancelled'));
    const outward = deciding[0];
    if (outward !== undefined) return { ...outward, at };
    const done = ends.filter((end) => end.kind === 'ok').length;
    if (done >= wanted) return { at, kind: 'ok', output: null };
    const failures = ends.filter((end) => end.kind === 'failed');
    // The first one counts, whichever that is when things take longer.
    if (this.timeless && failures.length > 1) this.ambiguous = true;
    const [failure] = failures;
    return failure === undefined ? { at, kind: 'failed', code: 'runtime', retryable: true } : { ...failure, at };
  }

  /** All branches, each started when its needs and a slot allow it, none at or after `stopAt`. */
  private branches(
    steps: readonly Step[],
    limit: number,
    env: Env,
    path: string,
    t: number,
    stopAt: number,
  ): { ends: Map<string, End>; log: Log; undo: Undo[][] } {
    const log: Log = { records: [], undone: [], emitted: [] };
    const undo: Undo[][] = [];
    const ends = new Map<string, End>();
    const slots = Array.from({ length: limit }, () => t);
    const open = [...steps];
    while (open.length > 0) {
      const ready = open
        .filter((step) => (step.needs ?? []).every((id) => ends.has(id)))
        .map((step) => ({ step, at: Math.max(t, ...(step.needs ?? []).map((id) => ends.get(id)!.at)) }))
        .sort((a, b) => a.at - b.at);
      const { step, at } = ready[0]!;
      // Who asks for a slot first, of those that are ready at the same moment?
      for (const other of ready.slice(1))
        if (limit < steps.length && (step.needs ?? other.step.needs) !== undefined) this.near(other.at, at);
      open.splice(open.indexOf(step), 1);
      if ((step.needs ?? []).some((id) => ends.get(id)!.kind !== 'ok')) {
        ends.set(step.id, { at, kind: 'unmet' });
        continue;
      }
      slots.sort((a, b) => a - b);
      const start = Math.max(at, slots[0]!);
      if (start >= stopAt || (start > t && start >= stopAt - 0.5)) {
        ends.set(step.id, { at: stopAt, kind: 'cancelled' });
        continue;
      }
      const own: Undo[] = [];
      const end = this.step(step, { ...env, undo: own, seen: { ...env.seen } }, path, start, stopAt, log);
      ends.set(step.id, end);
      undo.push(own);
      slots[0] = end.at;
    }
    return { ends, log, undo };
  }

  /** When a region stops itself: the first end at which `decides` says so, or a `return`. */
  private stopOf(ends: readonly End[], decides: (ok: number, failed: number) => boolean): number {
    const sorted = ends.filter((end) => end.kind !== 'cancelled' && end.kind !== 'unmet').sort((a, b) => a.at - b.at);
    let ok = 0;
    let failed = 0;
    for (const end of sorted) {
      if (end.kind === 'ok') ok += 1;
      if (end.kind === 'failed') failed += 1;
      if (end.kind === 'return' || decides(ok, failed)) {
        for (const other of sorted) if (other !== end) this.near(other.at, end.at);
        return end.at;
      }
    }
    return NEVER;
  }

  protected each(
    step: Extract<Step, { forEach: unknown }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const { batch, tolerate, onItemError, collect } = step.forEach;
    const items = step.forEach.in as string[];
    const collected: Json[] = [];
    let failed = 0;
    let at = t;
    const tooMany = (count: number): boolean =>
      count > 0 && (onItemError === 'stop' || tolerate?.failures === undefined || count > tolerate.failures);
    for (const [i, keys] of batchesOf(items, batch).entries()) {
      if (i > 0 && batch?.pause !== undefined) {
        const pause = this.wait(at, ms(batch.pause), cancelAt);
        if (pause.kind === 'cancelled') return pause;
        at = pause.at;
      }
      const before = failed;
      const run = (stopAt: number): ItemsEnd =>
        this.items(step, keys, env, path, at, stopAt, (count) => tooMany(before + count));
      let result = run(cancelAt);
      if (result.returnedAt < cancelAt) {
        for (const end of result.ends) if (end.kind !== 'return') this.near(end.at, result.returnedAt);
        result = run(result.returnedAt + 0.5);
      }
      log.records.push(...result.log.records);
      log.undone.push(...result.log.undone);
      log.emitted.push(...result.log.emitted);
      at = Math.max(at, ...result.ends.map((end) => end.at));
      const inOrder = [...result.ends].sort((a, b) => a.at - b.at);
      // Items that a `return` has cancelled end after it.
      const outward = inOrder.find((end) => end.kind === 'return' || end.kind === 'cancelled');
      if (outward !== undefined) return { ...outward, at };
      if (result.cancelled) return { at, kind: 'cancelled' };
      failed += result.ends.filter((end) => end.kind === 'failed').length;
      if (collect !== undefined) collected.push(...result.done);
      if (tooMany(failed)) return { at, kind: 'failed', code: 'batch-threshold', retryable: false };
    }
    const order = (item: Json): number => items.indexOf(item as string);
    return { at, kind: 'ok', output: collect === undefined ? null : collected.sort((a, b) => order(a) - order(b)) };
  }

  /** One batch: a pool of workers that take items in order, until too many have failed. */
  private items(
    step: Extract<Step, { forEach: unknown }>,
    keys: readonly string[],
    env: Env,
    path: string,
    t: number,
    stopAt: number,
    tooMany: (failed: number) => boolean,
  ): ItemsEnd {
    const log: Log = { records: [], undone: [], emitted: [] };
    const ends: End[] = [];
    const done: Json[] = [];
    const workers = Array.from({ length: Number(step.forEach.concurrency ?? 1) }, (): { free: number; last?: End } => ({
      free: t,
    }));
    let cancelled = false;
    for (const key of keys) {
      workers.sort((a, b) => a.free - b.free);
      const worker = workers[0]!;
      const start = worker.free;
      for (const end of ends) if (end !== worker.last && end.kind !== 'ok') this.near(end.at, start);
      if (worker.last !== undefined && worker.last.kind !== 'ok')
        for (const other of workers.slice(1)) this.near(other.free, start);
      const failures = ends.filter((end) => end.kind === 'failed' && end.at <= start).length;
      if (tooMany(failures)) break;
      if (ends.some((end) => end.kind === 'return' && end.at <= start)) break;
      if (start >= stopAt) {
        cancelled = true;
        break;
      }
      const end = this.item(step, key, env, path, start, stopAt, log);
      ends.push(end);
      if (end.kind === 'ok') done.push(key);
      worker.free = end.kind === 'cancelled' ? NEVER : end.at;
      worker.last = end;
    }
    const returnedAt = Math.min(NEVER, ...ends.filter((end) => end.kind === 'return').map((end) => end.at));
    return { ends, log, done, returnedAt, cancelled };
  }

  private item(
    step: Extract<Step, { forEach: unknown }>,
    key: string,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const own: Undo[] = [];
    const inner: Env = { ...env, undo: own, seen: { ...env.seen }, names: { ...env.names, item: key } };
    const end = this.list(step.do, inner, `${path}[${key}]`, t, cancelAt, log);
    const undoes = end.kind === 'cancelled' || (end.kind === 'failed' && step.forEach.onItemError === 'compensate');
    return undoes ? { ...end, at: this.compensate(env, own, end.at, log) } : end;
  }
}

interface ItemsEnd {
  ends: End[];
  log: Log;
  done: Json[];
  returnedAt: number;
  cancelled: boolean;
}

function batchesOf(
  items: readonly string[],
  batch: { canary?: number; size?: number | string } | undefined,
): string[][] {
  if (items.length === 0) return [];
  if (batch === undefined) return [[...items]];
  const first = batch.canary ?? 0;
  const batches = first > 0 ? [items.slice(0, first)] : [];
  const size = Number(batch.size ?? items.length);
  for (let at = first; at < items.length; at += size) batches.push(items.slice(at, at + size));
  return batches;
}
