/** What people on call tell the run while it runs: pause, resume, skip, retry, concurrency, abort. */
import { durationMs } from '@opsloop/contracts';
import type { Json, OperatorAct, Problem, SteerAnswer, SteerRequest, StepRecord } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { CancellationScope, condition } from '@temporalio/workflow';
import type { Engine } from './engine.js';
import { ContinueLater } from './errors.js';
import type { Frame } from './types.js';
import { findStep } from './find-step.pure.js';
import { itemPath } from './paths.pure.js';
import type { CompiledFlow } from '@opsloop/contracts';

/** Acts kept for people; a run that is steered more often than this says so in its story in control. */
const ACTS_MAX = 200;
/** Ids of acts that arrive twice: an update and the signals that pass it on are at most minutes apart. */
const IDS_MAX = 500;
/** A step that only a person can judge waits this long before it fails with what it has. */
export const JUDGE_MS = durationMs('24h');

interface Pause {
  scope: 'flow' | 'step' | 'afterBatch';
  /** Full path; absent: the whole flow, any batch. */
  path?: string;
}

/** What a continue-as-new takes along. */
export interface CarriedSteering {
  pauses?: Pause[];
  skips?: [path: string, output: Json][];
  aborted?: [path: string, why: string][];
  concurrency?: [path: string, count: number][];
  epochs?: [path: string, epoch: number][];
  acts?: OperatorAct[];
  ids?: string[];
}

export class Steering {
  readonly acts: OperatorAct[] = [];
  private pauses: Pause[] = [];
  private readonly skips = new Map<string, Json>();
  /** Items and their reasons, by full path. */
  private readonly aborted = new Map<string, string>();
  private readonly concurrency = new Map<string, number>();
  private readonly epochs = new Map<string, number>();
  private readonly ids = new Set<string>();
  /** Of this Temporal run, so that a sub-flow which is just being started hears of them too. */
  private readonly requests: SteerRequest[] = [];
  /** Scopes of what runs or waits now, by full path: what an act can cut short. */
  private readonly scopes = new Map<string, CancellationScope>();
  /** Scopes that nothing runs in, by the scope around them. */
  private readonly idle = new WeakMap<CancellationScope, CancellationScope[]>();
  /** Steps that wait for a person's verdict, by full path. */
  private readonly judged = new Map<string, { verdict?: 'retry' }>();
  private readonly listeners = new Set<() => void>();
  /** Known after the flow was loaded. */
  ir: CompiledFlow | undefined;

  constructor(private readonly engine: Engine) {}

  // ---------------------------------------------------------------- acts

  /** Refuses what cannot be done; nothing of a refused act is ever recorded. */
  validate(request: SteerRequest): void {
    if (this.ids.has(request.id)) return;
    const path = 'path' in request ? request.path : undefined;
    if (path !== undefined && request.act !== 'resume') this.known(path);
    if (request.act === 'pause' && request.scope === 'step' && path === undefined)
      throw refuse('A pause of scope "step" names the step', '/path');
    if (request.act === 'skip') this.skippable(request.path, request.output ?? null);
    if (request.act === 'retry' && !this.isElsewhere(request.path) && !this.judged.has(request.path))
      throw conflict(`The step ${request.path} does not wait for an operator`);
    if (request.act === 'setConcurrency' || request.act === 'abortItem') this.iterates(request.path);
    if (request.act === 'abortItem') this.abortable(itemPath(request.path, request.item));
  }

  /** Idempotent: an act that says what is so already changes nothing. */
  apply(request: SteerRequest): SteerAnswer {
    if (this.ids.has(request.id)) return { applied: false, paused: this.isPaused };
    const applied = this.change(request);
    this.remember(request, applied);
    if (applied) for (const listener of [...this.listeners]) listener();
    return { applied, paused: this.isPaused };
  }

  private change(request: SteerRequest): boolean {
    switch (request.act) {
      case 'pause': {
        const pause: Pause = { scope: request.scope, ...(request.path === undefined ? {} : { path: request.path }) };
        if (this.pauses.some((p) => p.scope === pause.scope && p.path === pause.path)) return false;
        this.pauses.push(pause);
        return true;
      }
      case 'resume': {
        const left = request.path === undefined ? [] : this.pauses.filter((p) => p.path !== request.path);
        const changed = left.length !== this.pauses.length;
        this.pauses = left;
        return changed;
      }
      case 'skip': {
        if (this.skips.has(request.path) || this.recordOf(request.path)?.status === 'skipped') return false;
        this.skips.set(request.path, request.output ?? null);
        this.cut(request.path);
        return true;
      }
      case 'retry': {
        const judged = this.judged.get(request.path);
        if (judged === undefined || judged.verdict !== undefined) return false;
        judged.verdict = 'retry';
        this.epochs.set(request.path, (this.epochs.get(request.path) ?? 0) + 1);
        return true;
      }
      case 'setConcurrency': {
        if (this.concurrency.get(request.path) === request.concurrency) return false;
        this.concurrency.set(request.path, request.concurrency);
        return true;
      }
      case 'abortItem': {
        const path = itemPath(request.path, request.item);
        if (this.aborted.has(path)) return false;
        this.aborted.set(path, `aborted by ${request.by}: ${request.reason}`);
        this.cut(path);
        return true;
      }
    }
  }

  private remember(request: SteerRequest, applied: boolean): void {
    this.ids.add(request.id);
    for (const id of this.ids) {
      if (this.ids.size <= IDS_MAX) break;
      this.ids.delete(id);
    }
    if (!applied) return;
    this.requests.push(request);
    const { at, act, by, reason } = request;
    const detail =
      request.act === 'pause'
        ? request.scope
        : request.act === 'setConcurrency'
          ? String(request.concurrency)
          : request.act === 'abortItem'
            ? request.item
            : undefined;
    this.acts.push({
      at,
      act,
      by,
      reason,
      ...('path' in request && request.path !== undefined ? { path: request.path } : {}),
      ...(detail === undefined ? {} : { detail }),
    });
    if (this.acts.length > ACTS_MAX) this.acts.shift();
  }

  /** Ends what runs at or below the path; what never began notices at its start. */
  private cut(path: string): void {
    for (const [at, scope] of [...this.scopes]) if (isAtOrBelow(at, path)) scope.cancel();
  }

  // ---------------------------------------------------------------- what is asked on the way

  get isPaused(): boolean {
    return this.pauses.length > 0;
  }

  /** Whether the step at `path` (inside this workflow) must not begin yet. */
  holds(path: string): boolean {
    if (this.pauses.length === 0) return false;
    const full = this.engine.fullPath(path);
    if (this.skips.has(full)) return false;
    return this.pauses.some(
      (p) => p.scope === 'flow' || (p.scope === 'step' && p.path !== undefined && isAtOrBelow(full, p.path)),
    );
  }

  holdsBatch(path: string): boolean {
    if (this.pauses.length === 0) return false;
    const full = this.engine.fullPath(path);
    return this.pauses.some(
      (p) => p.scope === 'flow' || (p.scope === 'afterBatch' && (p.path === undefined || p.path === full)),
    );
  }

  /** Stands still until `held` no longer says so. */
  async hold(record: StepRecord, held: () => boolean): Promise<void> {
    await this.engine.standStill(record, () => this.engine.leaving.park(() => condition(() => !held())));
  }

  /** Output that an operator gave instead of executing the step. */
  skipped(path: string): Json | undefined {
    return this.skips.size === 0 ? undefined : this.skips.get(this.engine.fullPath(path));
  }

  /** Whether nothing new begins at this path: its item was aborted, or a block around it is being skipped. */
  stops(path: string, phase: Frame['phase']): boolean {
    if (phase !== 'forward' || (this.aborted.size === 0 && this.skips.size === 0)) return false;
    if (this.abortedBy(path) !== undefined) return true;
    const full = this.engine.fullPath(path);
    for (const at of this.skips.keys()) if (at !== full && isAtOrBelow(full, at)) return true;
    return false;
  }

  /** Why nothing at this path runs any more: an operator has aborted the item it belongs to. */
  abortedBy(path: string): string | undefined {
    if (this.aborted.size === 0) return undefined;
    const full = this.engine.fullPath(path);
    for (const [at, why] of this.aborted) if (isAtOrBelow(full, at)) return why;
    return undefined;
  }

  concurrencyOf(path: string): number | undefined {
    return this.concurrency.size === 0 ? undefined : this.concurrency.get(this.engine.fullPath(path));
  }

  /** Rises with each operator's retry; part of the step key. */
  epochOf(path: string): number {
    const base = this.engine.facts.context.epoch ?? 0;
    return this.epochs.size === 0 ? base : base + (this.epochs.get(this.engine.fullPath(path)) ?? 0);
  }

  /** Told of every act; gives the function that ends it. */
  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /**
   * Runs what an act can cut short without touching anything else. A scope costs five promises, each with a stack trace,
   * so one that was not cancelled serves the next step below the same scope.
   */
  async cuttable<T>(path: string, work: () => Promise<T>): Promise<T> {
    const full = this.engine.fullPath(path);
    const around = CancellationScope.current();
    const idle = this.idle.get(around) ?? [];
    const scope = idle.pop() ?? new CancellationScope({ cancellable: true });
    this.scopes.set(full, scope);
    try {
      return await scope.run(work);
    } finally {
      this.scopes.delete(full);
      if (!scope.consideredCancelled && idle.push(scope) === 1) this.idle.set(around, idle);
    }
  }

  /**
   * The step failed in a way that only a person can judge: true = again, with a key of its own; false = it failed. The
   * doubt travels with the run: without it a new Temporal run would execute the step once more, unasked.
   */
  async judge(path: string, record: StepRecord, problem: Problem): Promise<boolean> {
    const full = this.engine.fullPath(path);
    const judged = this.judged.get(full) ?? {};
    this.judged.set(full, judged);
    this.engine.remembered.set(`${path}@judge`, problem as unknown as Json);
    record.problem = problem;
    let leaving = false;
    try {
      const said = (): boolean => judged.verdict !== undefined || this.skips.has(full);
      await this.engine.waitFor(JUDGE_MS, `${path} waits for an operator`, record, path, said);
      return judged.verdict === 'retry';
    } catch (err) {
      leaving = err instanceof ContinueLater;
      throw err;
    } finally {
      if (!leaving) {
        this.judged.delete(full);
        this.engine.remembered.delete(`${path}@judge`);
      }
      if (judged.verdict === 'retry') delete record.problem;
    }
  }

  /** What is in doubt about the step at `path` since an earlier Temporal run. */
  doubtOf(path: string): Problem | undefined {
    return this.engine.remembered.get(`${path}@judge`) as unknown as Problem | undefined;
  }

  /** Steps in doubt can be judged before the walk has come to them again. */
  restoreDoubts(): void {
    for (const slot of this.engine.remembered.keys())
      if (slot.endsWith('@judge')) this.judged.set(this.engine.fullPath(slot.slice(0, -'@judge'.length)), {});
  }

  // ---------------------------------------------------------------- what an act may name

  private recordOf(path: string): StepRecord | undefined {
    return this.engine.records.get(path);
  }

  private known(path: string): void {
    if (this.ir === undefined) return;
    const root = this.engine.facts.context.parentPath;
    const local = root === undefined ? path : path.startsWith(`${root}/`) ? path.slice(root.length + 1) : undefined;
    if (local !== undefined && findStep(this.ir, local) === undefined)
      throw refuse(`The flow has no step at "${path.slice(0, 200)}"`, '/path');
  }

  /** The path leads into a sub-flow or an isolated batch, whose workflow alone knows its state. */
  private isElsewhere(path: string): boolean {
    for (const at of this.engine.childPaths) if (path !== at && isAtOrBelow(path, at)) return true;
    return false;
  }

  private skippable(path: string, output: Json): void {
    const record = this.recordOf(path);
    const given = this.skips.get(path);
    if (given !== undefined && JSON.stringify(given) !== JSON.stringify(output))
      throw conflict(`The step ${path} is being skipped with another output`);
    if (record === undefined || record.endedAt === undefined) return;
    if (record.status === 'skipped' && JSON.stringify(record.output ?? null) === JSON.stringify(output)) return;
    throw conflict(`The step ${path} has already ended: ${record.status}`);
  }

  private iterates(path: string): void {
    if (this.ir === undefined || this.engine.facts.context.parentPath !== undefined) return;
    const step = findStep(this.ir, path);
    if (step !== undefined && !('forEach' in step)) throw refuse(`The step at "${path}" is no forEach`, '/path');
  }

  private abortable(path: string): void {
    const done = this.engine.itemEnded(path);
    if (done) throw conflict(`The item ${path} has already ended`);
  }

  /** A sub-flow is about to start with what `carry` gives now; `since` gives what came while it did. */
  get mark(): number {
    return this.requests.length;
  }

  since(mark: number): readonly SteerRequest[] {
    return this.requests.slice(mark);
  }

  // ---------------------------------------------------------------- continue as new

  carry(): CarriedSteering | undefined {
    if (this.ids.size === 0 && this.acts.length === 0) return undefined;
    return {
      pauses: this.pauses,
      skips: [...this.skips],
      aborted: [...this.aborted],
      concurrency: [...this.concurrency],
      epochs: [...this.epochs],
      acts: this.acts,
      ids: [...this.ids],
    };
  }

  restore(carried: CarriedSteering | undefined): void {
    if (carried === undefined) return;
    this.pauses = carried.pauses ?? [];
    for (const [path, output] of carried.skips ?? []) this.skips.set(path, output);
    for (const [path, why] of carried.aborted ?? []) this.aborted.set(path, why);
    for (const [path, count] of carried.concurrency ?? []) this.concurrency.set(path, count);
    for (const [path, epoch] of carried.epochs ?? []) this.epochs.set(path, epoch);
    this.acts.push(...(carried.acts ?? []));
    for (const id of carried.ids ?? []) this.ids.add(id);
  }
}

/** `a/b[k]` is at or below `a` and `a/b`, not below `a/b[l]`. */
export function isAtOrBelow(path: string, ancestor: string): boolean {
  return path.startsWith(ancestor) && (path.length === ancestor.length || '/[~'.includes(path[ancestor.length]!));
}

const conflict = (detail: string): OpsError => new OpsError('conflict', detail);
const refuse = (detail: string, pointer: string): OpsError =>
  new OpsError('validation', detail, { errors: [{ pointer, message: detail }] });
