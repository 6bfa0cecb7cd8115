/** What a run knows: what is done, what is live, and what it remembers on the way. */
import type { Json, JsonObject, Problem, Step, StepRecord } from '@opsloop/contracts';
import { EachProgress } from './each.pure.js';
import type { Where } from './failures.js';
import { Journal } from './journal.js';
import { joinPath } from './paths.pure.js';
import { RECORDS_MAX } from './records.pure.js';
import type { Frame, RunFacts, StepView } from './types.js';
import { UndoStack } from './undo.js';

/** What is remembered of a step beside its value: until when it waits, its chosen catch, how it ended, its fence, its time, what nobody knows of it. */
const SLOTS = ['', '@due', '@judge', '@catch', '!', '@fence', '@end', '@compensation@end', '@finally@end'] as const;

/** Position inside a step that repeats. */
export interface Cursor {
  turn: number;
  startedAt: number;
  /** The turn has ended: only what stands between two turns is left of it. */
  done?: boolean;
  /** Of a reconcile: since when its goal holds. */
  metSince?: number;
}

/** State of one workflow run. */
export class RunState {
  readonly records = new Map<string, StepRecord>();
  readonly journal = new Journal((path) => this.forget(path));
  /** How far each forEach has come. */
  readonly each = new Map<string, EachProgress>();
  /** Problems of clean-up whose first error is a cancellation, which carries none itself. */
  readonly suppressed: Problem[] = [];
  /** The run was asked to end in an earlier Temporal run of it. */
  cancelled = false;
  /** Start of the run, not of this Temporal run. */
  startedMs = Date.now();

  // What a continue-as-new carries. Scopes and stacks of what failed stay, so that a retry can go on from there.
  root: { vars: Record<string, unknown> } | undefined;
  carriedVars: JsonObject | undefined;
  readonly cursors = new Map<string, Cursor>();
  readonly remembered = new Map<string, Json>();
  readonly liveScopes = new Map<string, Record<string, StepView>>();
  readonly carriedScopes = new Map<string, Record<string, StepView>>();
  readonly liveUndo = new Map<string, UndoStack>();
  readonly carriedUndo = new Map<string, UndoStack>();
  /** Blocks, turns and items that have begun and not ended; `resumed` are those of the Temporal run before. */
  readonly live = new Set<string>();
  readonly resumed = new Set<string>();
  /** Sub-flows of the run of which this is a retry: what each starts with. */
  readonly carriedFlows = new Map<string, JsonObject>();

  constructor(readonly facts: RunFacts) {}

  // ---------------------------------------------------------------- paths

  /** Instance path from the root run: what step keys, records and problems carry. */
  fullPath(path: string): string {
    return joinPath(this.facts.context.parentPath ?? '', path);
  }

  where(path: string, step: string): Where {
    return { instance: this.fullPath(path), step };
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
    this.cursors.delete(`${path}~`);
    for (const slot of SLOTS) this.remembered.delete(path + slot);
    this.live.delete(path);
    this.resumed.delete(path);
    this.each.delete(path);
    this.liveScopes.delete(path);
    this.liveUndo.delete(path);
  }

  /** What the step did was undone, or its compensation failed: a retry of the run does it again. */
  undone(undoPath: string): void {
    const record = this.journal.covering(undoPath.slice(0, undoPath.lastIndexOf('~')));
    if (record !== undefined) record.undone = true;
  }

  /** Everything below `path` is over and will not be walked again. */
  prune(path: string): void {
    this.journal.prune(path);
  }

  /** Whether the block, turn or item at `path` was under way in the Temporal run before. */
  resumes(path: string): boolean {
    return this.resumed.size > 0 && this.resumed.has(path);
  }

  progressOf(path: string): EachProgress {
    let progress = this.each.get(path);
    if (progress === undefined) this.each.set(path, (progress = new EachProgress()));
    return progress;
  }

  /** Whether the item at this full path has run and is over. */
  itemEnded(full: string): boolean {
    const path = this.localPath(full);
    if (path === undefined || this.live.has(path)) return false;
    for (const at of this.records.keys()) if (at.startsWith(`${full}/`)) return true;
    return false;
  }

  /** The path inside this workflow, or undefined when it lies outside. */
  localPath(full: string): string | undefined {
    const root = this.facts.context.parentPath;
    if (root === undefined) return full;
    return full.startsWith(`${root}/`) ? full.slice(root.length + 1) : undefined;
  }

  /** Makes the scope of `frame` known from `work` on; it is forgotten when the work has ended well. */
  async inScope<T>(frame: Frame, work: () => Promise<T>): Promise<T> {
    const carried = this.carriedScopes.get(frame.path);
    if (carried !== undefined) {
      Object.assign(frame.steps, carried);
      this.carriedScopes.delete(frame.path);
    }
    this.liveScopes.set(frame.path, frame.steps);
    const result = await work();
    this.liveScopes.delete(frame.path);
    return result;
  }

  /** A stack of compensations of its own for the block at `path`. */
  async withUndo<T>(path: string, work: (undo: UndoStack) => Promise<T>): Promise<T> {
    const undo = this.carriedUndo.get(path) ?? new UndoStack();
    this.carriedUndo.delete(path);
    this.liveUndo.set(path, undo);
    const result = await work(undo);
    this.liveUndo.delete(path);
    return result;
  }

  // ---------------------------------------------------------------- records

  open(step: Pick<Step, 'id'>, verb: string, path: string, title: string | undefined): StepRecord {
    const full = this.fullPath(path);
    const before = this.records.get(full);
    const record: StepRecord = {
      path: full,
      id: step.id,
      verb,
      ...(title === undefined ? {} : { title }),
      status: 'running',
      attempts: 1,
      // One that has not ended goes on, in a new Temporal run or after a person's verdict.
      startedAt: before !== undefined && before.endedAt === undefined ? before.startedAt : this.now(),
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
}
