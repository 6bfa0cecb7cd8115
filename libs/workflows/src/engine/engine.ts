import { OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import type {
  CompiledFlow,
  Condition,
  Json,
  JsonObject,
  Problem,
  RunEnd,
  SteerAnswer,
  SteerRequest,
  StepRecord,
  Template,
} from '@opsloop/contracts';
import { evaluateCondition, renderTemplate } from '@opsloop/rules';
import { defineSearchAttributeKey } from '@temporalio/common';
import {
  ApplicationFailure,
  CancellationScope,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  patched,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { OpenApprovals } from './approvals.js';
import { ContinueLater, StepFailure } from './errors.js';
import type { Where } from './failures.js';
import { Inbox } from './inbox.js';
import { Leaving } from './leaving.js';
import { LocalTurns } from './local-turns.js';
import { problemOf } from './problems.pure.js';
import { withNames } from './scope.js';
import { showRun } from './show-run.js';
import { RunState } from './state.js';
import { Steering } from './steering.js';
import type { Frame, RunFacts, Walker } from './types.js';

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
/** Steps that wait for nothing take 0.1–0.5 ms each; the SDK gives up on a workflow task whose code runs for 5 s. */
const STEPS_PER_TASK = 1_000;

const PHASE_KEY = defineSearchAttributeKey('OpsPhase', 'KEYWORD');

/** A sub-flow that runs. */
export interface ChildHandle {
  signal(name: string, payload: unknown): Promise<void>;
}

export type RunPhase = 'running' | 'waiting' | 'paused';

/** One workflow run: its state, and the few primitives every verb is made of. */
export class Engine extends RunState {
  /** Ends per item of the per-target flow. */
  readonly itemEnds: Map<string, RunEnd> | undefined;
  readonly notes = new Map<string, string>();
  /** Signals the sub-flows that run now, so that a lifted halt reaches them at once. */
  readonly children = new Set<ChildHandle>();
  /** Full paths of the steps that those sub-flows stand for. */
  readonly childPaths = new Set<string>();
  readonly leaving: Leaving;
  readonly steering: Steering;
  readonly inbox: Inbox;
  readonly approvals: OpenApprovals;
  readonly locals = new LocalTurns();
  walker!: Walker;
  private haltSignals = 0;
  private paused = 0;
  private readonly heldChildren = new Set<string>();
  private pausedSince = 0;
  private pausedTotal = 0;
  private waiting = 0;
  private active = 0;
  private phase: RunPhase = 'running';
  private readonly showsPhase: boolean;
  private task = { length: -1, steps: 0, since: 0 };
  private walked = { at: 0, steps: 0 };

  constructor(facts: RunFacts) {
    super(facts);
    // The starter sets our attributes when the namespace has them; an upsert of an unknown one would stop the run.
    const set = workflowInfo().typedSearchAttributes;
    this.showsPhase = set.getAll().some((pair) => pair.key.name.startsWith('Ops'));
    this.itemEnds = facts.context.flow === TEMPORAL_NAMES.perTargetFlow ? new Map() : undefined;
    this.leaving = new Leaving(stayingReasons(this), facts.continueAfter);
    this.steering = new Steering(this);
    this.approvals = new OpenApprovals(facts.context.initiator);
    this.inbox = new Inbox(facts, (count) =>
      this.note('', `${count} events were let go: too many came that no step has waited for yet`),
    );
    showRun(this, () => this.phase);
  }

  // ---------------------------------------------------------------- paths and expressions

  render(template: Template, frame: Frame, more?: Record<string, unknown>): Json {
    return renderTemplate(template, more === undefined ? frame.names : withNames(frame.names, more));
  }

  test(logic: Condition, frame: Frame, more?: Record<string, unknown>): boolean {
    return evaluateCondition(logic, more === undefined ? frame.names : withNames(frame.names, more));
  }

  // ---------------------------------------------------------------- phase

  /** Counts work in flight (+1, −1), so that a run which only waits can be told from one that acts. */
  busy(change: 1 | -1): void {
    this.active += change;
    if (this.waiting > 0) this.showPhase();
  }

  /**
   * A durable wait; long ones show the run as waiting. `slot` names it in what a continue-as-new takes along: a wait
   * that leaving cuts short goes on in the new run for what is left of it.
   */
  wait(ms: number, summary: string | undefined, record: StepRecord | undefined, slot: string): Promise<void> {
    // 100 characters are at most 300 bytes; above 400 the server refuses the whole workflow task.
    return this.waitFor(ms, summary, record, slot, undefined);
  }

  /** The same, ended earlier by `until`. */
  async waitFor(
    ms: number,
    summary: string | undefined,
    record: StepRecord | undefined,
    slot: string,
    until: (() => boolean) | undefined,
  ): Promise<void> {
    const due = this.remember(`${slot}@due`, () => Date.now() + ms);
    const left = Math.max(1, due - Date.now());
    const shown = ms >= WAITING_FROM_MS;
    if (shown) {
      this.waiting += 1;
      if (record !== undefined) record.status = 'waiting';
      this.showPhase();
    }
    try {
      const options = summary === undefined ? {} : { summary: summary.slice(0, 100) };
      await this.steering.cuttable(slot, () =>
        this.leaving.park<unknown>(() =>
          until === undefined ? sleep(left, options) : condition(until, left, options),
        ),
      );
      this.remembered.delete(`${slot}@due`);
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
  }

  /** One line about a long step, for who looks at the run in Temporal's Web UI. */
  note(path: string, text: string | undefined): void {
    if (text === undefined) this.notes.delete(path);
    else this.notes.set(path, text);
  }

  // ---------------------------------------------------------------- steering

  /** The flow is known: from here on the run can be left, and what operators name can be checked. */
  begin(ir: CompiledFlow): void {
    this.steering.ir = ir;
    this.leaving.watch();
  }

  mayBeSteered(request: SteerRequest): void {
    try {
      this.steering.validate(request);
    } catch (err) {
      if (!(err instanceof OpsError)) throw err;
      throw ApplicationFailure.create({
        type: err.code,
        message: err.detail,
        nonRetryable: true,
        details: [err.toProblem()],
      });
    }
  }

  /** An operator's act, and its way on to the sub-flows. */
  steer(request: SteerRequest): SteerAnswer {
    const answer = this.steering.apply(request);
    for (const child of this.children) void child.signal(TEMPORAL_NAMES.steerSignal, request).catch(() => undefined);
    return answer;
  }

  /** What a sub-flow starts with of what operators said, and `mark` for what they say meanwhile. */
  forChild(): { steering: { steering?: JsonObject }; mark: number } {
    const carried = this.steering.carry();
    return {
      steering: carried === undefined ? {} : { steering: carried as unknown as JsonObject },
      mark: this.steering.mark,
    };
  }

  /** The sub-flow runs: signals reach it from here on, and those that it missed follow. */
  childBegan(child: ChildHandle, mark: number, paths: readonly string[]): void {
    this.children.add(child);
    for (const path of paths) this.childPaths.add(path);
    for (const request of this.steering.since(mark))
      void child.signal(TEMPORAL_NAMES.steerSignal, request).catch(() => undefined);
  }

  childEnded(child: ChildHandle, workflowId: string, paths: readonly string[]): void {
    this.children.delete(child);
    for (const path of paths) this.childPaths.delete(path);
    this.onChildHeld(workflowId, false);
  }

  /** The same in a sub-flow, where nobody hears a refusal: what cannot be done is left undone. */
  steered(request: SteerRequest): void {
    try {
      this.steering.validate(request);
    } catch (err) {
      if (err instanceof OpsError) return;
      throw err;
    }
    this.steer(request);
  }

  /** The state fits no payload: the run stays in this Temporal run and walks once more, to clean up. */
  stay(): void {
    this.leaving.stay();
    for (const [path, steps] of this.liveScopes) this.carriedScopes.set(path, { ...steps });
    for (const [path, undo] of this.liveUndo) this.carriedUndo.set(path, undo);
    for (const path of this.live) this.resumed.add(path);
    this.carriedVars = { ...(this.root?.vars as JsonObject) };
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
        await this.leaving.park(() => condition(() => this.haltSignals !== since, delay, { summary: 'halted' }));
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

  /** The step stands still for the time of `work`; no deadline around it runs meanwhile. */
  async standStill<T>(record: StepRecord, work: () => Promise<T>): Promise<T> {
    this.hold(record);
    try {
      return await work();
    } finally {
      this.unhold(record);
    }
  }

  private hold(record: StepRecord): void {
    record.status = 'paused';
    this.stop(1);
  }

  private unhold(record: StepRecord): void {
    if (record.status === 'paused') record.status = 'running';
    this.stop(-1);
  }

  /** Counts what is held here and in sub-flows; from the first to the last the clocks of deadlines stand still. */
  private stop(change: 1 | -1): void {
    const before = this.paused;
    this.paused += change;
    if (before === 0) this.pausedSince = Date.now();
    if (this.paused === 0) this.pausedTotal += Date.now() - this.pausedSince;
    if ((before === 0) !== (this.paused === 0)) this.tellParent(this.paused > 0);
    this.showPhase();
  }

  /** A sub-flow is held or goes on: the deadlines of whoever waits for it must know. */
  onChildHeld(child: string, held: boolean): void {
    if (held === this.heldChildren.has(child)) return;
    if (held) this.heldChildren.add(child);
    else this.heldChildren.delete(child);
    this.stop(held ? 1 : -1);
  }

  private tellParent(held: boolean): void {
    const { parent, workflowId } = workflowInfo();
    // Sub-flows that were under way before this existed say nothing, as then.
    if (parent === undefined || !patched('tell-parent-held')) return;
    void CancellationScope.nonCancellable(() =>
      getExternalWorkflowHandle(parent.workflowId).signal(TEMPORAL_NAMES.heldSignal, { workflowId, held }),
    ).catch(() => undefined);
  }

  /** How long anything stood still so far: what a continue-as-new takes along. */
  get stoodStillMs(): number {
    return this.pausedMs();
  }

  set stoodStillMs(ms: number) {
    this.pausedTotal = ms;
  }

  private pausedMs(): number {
    return this.pausedTotal + (this.paused > 0 ? Date.now() - this.pausedSince : 0);
  }

  // ---------------------------------------------------------------- time

  /**
   * Runs `work` with a bound that does not count the time under a halt; crossing it cancels `work`. With a `slot` the
   * time that is left travels with a continue-as-new.
   */
  async withDeadline<T>(ms: number, late: () => Problem, work: () => Promise<T>, slot?: string): Promise<T> {
    const scope = new CancellationScope({ cancellable: true });
    const timer = new CancellationScope({ cancellable: true });
    const carried = slot === undefined ? undefined : (this.remembered.get(`${slot}@end`) as number | undefined);
    let timedOut = false;
    let end = 0;
    let before = 0;
    const watch = timer
      .run(async () => {
        for (let left = carried === undefined ? ms : carried - Date.now(); left > 0;) {
          before = this.pausedMs();
          end = Date.now() + left;
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
      if (slot !== undefined && err instanceof ContinueLater) {
        this.remembered.set(`${slot}@end`, timedOut ? 0 : end + (this.pausedMs() - before));
      }
      throw err;
    } finally {
      timer.cancel();
      await watch;
    }
  }

  /** Ends the workflow task after so many steps at one moment of workflow time; a thousand turns of `set` have no other end. */
  stepBoundary(): Promise<void> | undefined {
    const at = Date.now();
    if (at !== this.walked.at) this.walked = { at, steps: 0 };
    this.walked.steps += 1;
    // Runs that began without it have no timer here.
    if (this.walked.steps < STEPS_PER_TASK || !patched('step-boundary')) return undefined;
    this.walked.steps = 0;
    return sleep(1);
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

/** Sub-flows do not travel, nor do more events than fit: a run that has either goes on for as long as it can. */
function stayingReasons(engine: Engine): { readonly size: number } {
  return {
    get size() {
      return engine.children.size + (engine.inbox.isHeavy ? 1 : 0);
    },
  };
}

export function timeoutProblem(detail: string, where: Where): Problem {
  return problemOf('timeout', detail, { ...where, retryable: true });
}
