import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { Condition, Json, JsonObject, Problem, RunEnd, Step, StepRecord, Template } from '@opsloop/contracts';
import { evaluateCondition, renderTemplate } from '@opsloop/rules';
import { defineSearchAttributeKey } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  isCancellation,
  setCurrentDetails,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { ContinueLater, StepFailure } from './errors.js';
import type { Where } from './failures.js';
import { joinPath } from './paths.pure.js';
import { problemOf } from './problems.pure.js';
import { RECORDS_MAX, progressMarkdown } from './records.pure.js';
import { withNames } from './scope.js';
import type { Frame, JournalRecord, RunFacts, StepView, Walker } from './types.js';
import { UndoStack } from './undo.js';

/** Under a halt a refused step asks again after this, doubling up to the second; the signal usually comes first. */
const HALT_RETRY_MS = 5_000;
const HALT_RETRY_MAX_MS = 30_000;
/** A refusal takes milliseconds; whatever runs longer was let through. */
const HALT_THROUGH_MS = 3_000;
/** A shorter wait does not change the phase that people see: each change is an event in the history. */
const WAITING_FROM_MS = 30_000;
/** Local steps share one workflow task, in which no signal or cancel is seen: cut it after so many or so long. */
const LOCAL_STEPS_PER_TASK = 20;
const LOCAL_MS_PER_TASK = 1_000;

const PHASE_KEY = defineSearchAttributeKey('OpsPhase', 'KEYWORD');

/** Position inside a step that repeats. */
export interface Cursor {
  turn: number;
  startedAt: number;
}

export type RunPhase = 'running' | 'waiting' | 'paused';

/** State of one workflow run and the few primitives every verb is made of. */
export class Engine {
  readonly records = new Map<string, StepRecord>();
  readonly journal = new Map<string, JournalRecord>();
  /** Ends per item of the per-target flow. */
  readonly itemEnds: Map<string, RunEnd> | undefined;
  readonly notes = new Map<string, string>();
  /** Signals the sub-flows that run now, so that a lifted halt reaches them at once. */
  readonly children = new Set<{ signal(name: string, payload: unknown): Promise<void> }>();
  walker!: Walker;
  /** Problems of clean-up whose first error is a cancellation, which carries none itself. */
  readonly suppressed: Problem[] = [];
  /** Start of the run, not of this Temporal run. */
  startedMs = Date.now();

  // What a continue-as-new carries; only scopes outside concurrent regions are ever live at a safe point.
  root: { vars: Record<string, unknown> } | undefined;
  carriedVars: JsonObject | undefined;
  readonly cursors = new Map<string, Cursor>();
  readonly remembered = new Map<string, Json>();
  readonly liveScopes = new Map<string, Record<string, StepView>>();
  readonly carriedScopes = new Map<string, Record<string, StepView>>();
  readonly liveUndo = new Map<string, UndoStack>();
  readonly carriedUndo = new Map<string, UndoStack>();

  private haltSignals = 0;
  private paused = 0;
  private pausedSince = 0;
  private pausedTotal = 0;
  private waiting = 0;
  private active = 0;
  private phase: RunPhase = 'running';
  private readonly showsPhase: boolean;
  private task = { length: -1, steps: 0, since: 0 };

  constructor(readonly facts: RunFacts) {
    // The starter sets our attributes when the namespace has them; an upsert of an unknown one would stop the run.
    const set = workflowInfo().typedSearchAttributes;
    this.showsPhase = set.getAll().some((pair) => pair.key.name.startsWith('Ops'));
    this.itemEnds = facts.context.flow === TEMPORAL_NAMES.perTargetFlow ? new Map() : undefined;
  }

  // ---------------------------------------------------------------- paths and expressions

  /** Instance path from the root run: what step keys, records and problems carry. */
  fullPath(path: string): string {
    return joinPath(this.facts.context.parentPath ?? '', path);
  }

  where(path: string, step: string): Where {
    return { instance: this.fullPath(path), step };
  }

  render(template: Template, frame: Frame, more?: Record<string, unknown>): Json {
    return renderTemplate(template, more === undefined ? frame.names : withNames(frame.names, more));
  }

  test(logic: Condition, frame: Frame, more?: Record<string, unknown>): boolean {
    return evaluateCondition(logic, more === undefined ? frame.names : withNames(frame.names, more));
  }

  // ---------------------------------------------------------------- what survives a continue-as-new

  /** Turn or attempt at which the step at `path` stands. */
  cursor(path: string): Cursor {
    let cursor = this.cursors.get(path);
    if (cursor === undefined) this.cursors.set(path, (cursor = { turn: 1, startedAt: Date.now() }));
    return cursor;
  }

  /** A value that must not be evaluated again while the step at `path` is unfinished: `vars` may have changed since. */
  remember<T extends Json>(path: string, evaluate: () => T): T {
    const known = this.remembered.get(path);
    if (known !== undefined) return known as T;
    const value = evaluate();
    this.remembered.set(path, value);
    return value;
  }

  /** The step at `path` has ended: nobody resumes inside it. */
  forget(path: string): void {
    this.cursors.delete(path);
    this.remembered.delete(path);
    this.cursors.delete(`${path}~`);
  }

  /** Makes the scope of `frame` known for the time of `work`. */
  inScope<T>(frame: Frame, work: () => Promise<T>): Promise<T> {
    return frame.concurrent ? work() : this.inLiveScope(frame, work);
  }

  private async inLiveScope<T>(frame: Frame, work: () => Promise<T>): Promise<T> {
    const carried = this.carriedScopes.get(frame.path);
    if (carried !== undefined) Object.assign(frame.steps, carried);
    this.liveScopes.set(frame.path, frame.steps);
    let leaving = false;
    try {
      return await work();
    } catch (err) {
      leaving = err instanceof ContinueLater;
      throw err;
    } finally {
      if (!leaving) this.liveScopes.delete(frame.path);
    }
  }

  /** A stack of compensations of its own for the block at `path`. */
  withUndo<T>(frame: Frame, path: string, work: (undo: UndoStack) => Promise<T>): Promise<T> {
    return frame.concurrent ? work(new UndoStack()) : this.withLiveUndo(path, work);
  }

  private async withLiveUndo<T>(path: string, work: (undo: UndoStack) => Promise<T>): Promise<T> {
    const undo = this.carriedUndo.get(path) ?? new UndoStack();
    this.carriedUndo.delete(path);
    this.liveUndo.set(path, undo);
    let leaving = false;
    try {
      return await work(undo);
    } catch (err) {
      leaving = err instanceof ContinueLater;
      throw err;
    } finally {
      if (!leaving) this.liveUndo.delete(path);
    }
  }

  private suggestion = { at: -1, yes: false };

  /** `workflowInfo()` copies its answer; once per moment of workflow time is often enough. */
  shouldContinueAsNew(): boolean {
    const at = Date.now();
    if (at !== this.suggestion.at) this.suggestion = { at, yes: workflowInfo().continueAsNewSuggested };
    return this.suggestion.yes;
  }

  // ---------------------------------------------------------------- records

  open(step: Step, verb: string, path: string, title: string | undefined): StepRecord {
    const full = this.fullPath(path);
    const record: StepRecord = {
      path: full,
      id: step.id,
      verb,
      ...(title === undefined ? {} : { title }),
      status: 'running',
      attempts: 1,
      startedAt: this.now(),
    };
    this.records.delete(full);
    this.records.set(full, record);
    // Amortised: the map never holds more than twice of what is ever shown.
    if (this.records.size > 2 * RECORDS_MAX) {
      let drop = RECORDS_MAX;
      for (const [key, old] of this.records) {
        if (drop-- <= 0) break;
        if (old.endedAt !== undefined) this.records.delete(key);
      }
    }
    return record;
  }

  now(): string {
    return new Date(Date.now()).toISOString();
  }

  // ---------------------------------------------------------------- phase

  /** Counts work in flight (+1, −1), so that a run which only waits can be told from one that acts. */
  busy(change: 1 | -1): void {
    this.active += change;
    if (this.waiting > 0) this.showPhase();
  }

  /** A durable wait; long ones show the run as waiting. */
  async wait(ms: number, summary: string | undefined, record?: StepRecord): Promise<void> {
    const shown = ms >= WAITING_FROM_MS;
    if (shown) {
      this.waiting += 1;
      if (record !== undefined) record.status = 'waiting';
      this.showPhase();
    }
    try {
      // 100 characters are at most 300 bytes; above 400 the server refuses the whole workflow task.
      await sleep(Math.max(1, ms), summary === undefined ? {} : { summary: summary.slice(0, 100) });
    } finally {
      if (shown) {
        this.waiting -= 1;
        if (record?.status === 'waiting') record.status = 'running';
        this.showPhase();
      }
    }
  }

  private showPhase(): void {
    const next: RunPhase = this.paused > 0 ? 'paused' : this.waiting > 0 && this.active === 0 ? 'waiting' : 'running';
    if (next === this.phase) return;
    this.phase = next;
    if (this.showsPhase) upsertSearchAttributes([{ key: PHASE_KEY, value: next }]);
    this.showProgress();
  }

  /** One line about a long step, for the page of the run in Temporal's Web UI. */
  note(path: string, text: string | undefined): void {
    if (text === undefined) this.notes.delete(path);
    else this.notes.set(path, text);
    this.showProgress();
  }

  private showProgress(): void {
    setCurrentDetails(
      progressMarkdown({ flow: this.facts.context.flow, phase: this.phase, notes: this.notes }).slice(0, 10_000),
    );
  }

  // ---------------------------------------------------------------- halt

  onHaltSignal(payload: unknown): void {
    this.haltSignals += 1;
    // Best effort: a child that has just ended fails the signal, and its timer is the fallback anyway.
    for (const child of this.children) void child.signal(TEMPORAL_NAMES.haltSignal, payload).catch(() => undefined);
  }

  /** Count of signals so far: taken before a try, so that a signal during the try is not lost. */
  get haltMark(): number {
    return this.haltSignals;
  }

  /**
   * After a halt has refused a step: waits for the signal or a moment and tries again, as often as it takes. A refused
   * try never touched its target, so it is no attempt and the next one has the same key.
   */
  async afterHalt<T>(
    record: StepRecord,
    mark: number,
    work: () => Promise<T>,
    isRefusal: (err: unknown) => boolean,
  ): Promise<T> {
    let held = true;
    this.hold(record);
    const release = (): void => {
      if (!held) return;
      held = false;
      this.unhold(record);
    };
    try {
      for (let delay = HALT_RETRY_MS, seen = mark; ; delay = Math.min(HALT_RETRY_MAX_MS, delay * 2)) {
        const since = seen;
        await condition(() => this.haltSignals !== since, delay, { summary: 'halted' });
        seen = this.haltSignals;
        try {
          return held ? await this.againAfterHalt(work, release) : await work();
        } catch (err) {
          if (!isRefusal(err)) throw err;
        }
        if (!held) {
          held = true;
          this.hold(record);
        }
      }
    } finally {
      release();
    }
  }

  /** A refusal comes at once; a try that is still under way after a moment has got through. */
  private async againAfterHalt<T>(work: () => Promise<T>, through: () => void): Promise<T> {
    const timer = new CancellationScope({ cancellable: true });
    // Caught from the start: a cancel of the run ends the timer while `work` still takes its time to stop.
    const watch = timer
      .run(async () => {
        await sleep(HALT_THROUGH_MS);
        through();
      })
      .catch((err: unknown) => {
        if (!isCancellation(err)) throw err;
      });
    try {
      return await work();
    } finally {
      timer.cancel();
      await watch;
    }
  }

  private hold(record: StepRecord): void {
    record.status = 'paused';
    if (this.paused++ === 0) this.pausedSince = Date.now();
    this.showPhase();
  }

  private unhold(record: StepRecord): void {
    if (record.status === 'paused') record.status = 'running';
    if (--this.paused === 0) this.pausedTotal += Date.now() - this.pausedSince;
    this.showPhase();
  }

  private pausedMs(): number {
    return this.pausedTotal + (this.paused > 0 ? Date.now() - this.pausedSince : 0);
  }

  // ---------------------------------------------------------------- time

  /** Runs `work` with a bound that does not count the time under a halt; crossing it cancels `work`. */
  async withDeadline<T>(ms: number, late: () => Problem, work: () => Promise<T>): Promise<T> {
    const scope = new CancellationScope({ cancellable: true });
    const timer = new CancellationScope({ cancellable: true });
    let timedOut = false;
    const watch = timer
      .run(async () => {
        for (let left = ms; left > 0;) {
          const before = this.pausedMs();
          await sleep(left);
          left = this.pausedMs() - before;
        }
        timedOut = true;
        scope.cancel();
      })
      .catch((err: unknown) => {
        if (!isCancellation(err)) throw err;
      });
    try {
      return await scope.run(work);
    } catch (err) {
      if (timedOut && isCancellation(err)) throw new StepFailure(late());
      throw err;
    } finally {
      timer.cancel();
      await watch;
    }
  }

  /** Gives signals and cancels a chance between local steps, which would else share one workflow task. */
  localBoundary(): Promise<void> | undefined {
    const length = workflowInfo().historyLength;
    if (length !== this.task.length) this.task = { length, steps: 0, since: Date.now() };
    if (this.task.steps >= LOCAL_STEPS_PER_TASK || Date.now() - this.task.since >= LOCAL_MS_PER_TASK) {
      return sleep(1).then(() => {
        this.task = { length: workflowInfo().historyLength, steps: 1, since: Date.now() };
      });
    }
    this.task.steps += 1;
    return undefined;
  }
}

export function timeoutProblem(detail: string, where: Where): Problem {
  return problemOf('timeout', detail, { ...where, retryable: true });
}
