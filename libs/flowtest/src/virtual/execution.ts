/** One workflow run on the virtual server: its jobs, its commands, and what it waits for. */
import type { Payload, ProtoFailure } from '@temporalio/common';
import { VirtualActivity } from './activity.js';
import type { Alarm } from './clock.js';
import { cancelledFailure, childFailure } from './failures.js';
import { job, msOf } from './protocol.js';
import type { Command, Job, Resolution, ScheduleActivity, StartChild, WorkflowStart } from './protocol.js';
import type { SandboxedWorkflow, Step } from './sandbox.js';
import type { VirtualTemporal } from './temporal.js';

/** How a workflow ended. */
export type Close =
  | { status: 'completed'; result: Payload | undefined }
  | { status: 'failed'; failure: ProtoFailure }
  | { status: 'cancelled' }
  | { status: 'terminated' }
  | { status: 'continued' };

export interface StartRequest {
  workflowId: string;
  workflowType: string;
  args: Payload[];
  parent?: { execution: Execution; seq: number; closePolicy: number } | undefined;
  /** Run of the same workflow before this one. */
  continues?: { runId: string; firstRunId: string; number: number } | undefined;
}

/** Events that a workflow task adds to a history: scheduled, started, completed. */
const TASK_EVENTS = 3;

export class Execution {
  readonly runId: string;
  readonly firstRunId: string;
  /** How often the workflow has gone on in a new run before this one. */
  readonly number: number;
  private workflow: SandboxedWorkflow | undefined;
  private readonly jobs: Job[] = [];
  private readonly timers = new Map<number, Alarm>();
  private readonly activities = new Map<number, VirtualActivity>();
  private readonly children = new Map<
    number,
    { type: number; request: StartChild; execution?: Execution | undefined }
  >();
  readonly updates = new Map<string, (answer: UpdateAnswer) => void>();
  /** Events of the history so far. */
  history = 1;
  close: Close | undefined;
  private readonly steps: Step[] = [];
  private readonly start: WorkflowStart;

  constructor(
    private readonly world: VirtualTemporal,
    readonly request: StartRequest,
    serial: number,
  ) {
    this.runId = `run-${serial}`;
    this.number = request.continues === undefined ? 0 : request.continues.number + 1;
    this.firstRunId = request.continues?.firstRunId ?? this.runId;
    this.start = workflowStart(this, world.clock.now, serial);
    const { workflowType } = request;
    this.push(job('initializeWorkflow', { workflowType, arguments: request.args, headers: {} }));
  }

  get workflowId(): string {
    return this.request.workflowId;
  }

  /** Something has happened that the workflow must hear. */
  push(next: Job): void {
    if (this.close !== undefined) return;
    this.jobs.push(next);
    this.world.wake(this);
  }

  /** One activation: hands over what has happened and carries out what the workflow wants. */
  activate(): void {
    if (this.close !== undefined || this.jobs.length === 0) return;
    const jobs = ordered(this.jobs.splice(0));
    // The result of a local activity comes within the workflow task that started it.
    if (jobs.some((j) => j.variant !== 'resolveActivity' || !j.resolveActivity.isLocal)) this.history += TASK_EVENTS;
    const suggestAt = this.world.options.continueAsNewAt ?? Infinity;
    const moment = {
      now: this.world.clock.now,
      historyLength: this.history,
      continueAsNewSuggested: this.history >= suggestAt,
      isReplaying: false,
    };
    this.workflow ??= this.world.sandbox.open(this.start);
    const { commands, usedInternalFlags: flags } = this.workflow.activate(jobs, moment);
    if (this.world.options.keepSteps === true) this.steps.push({ jobs, moment, commands, flags });
    for (const command of commands) this.carryOut(command);
  }

  query(queryType: string): Payload {
    if (this.workflow === undefined) throw new Error('the workflow has not begun');
    const { now } = this.world.clock;
    const moment = { now, historyLength: this.history, continueAsNewSuggested: false, isReplaying: true };
    const query = job('queryWorkflow', { queryId: 'q', queryType, arguments: [], headers: {} });
    const [answer] = this.workflow.activate([query], moment).commands;
    if (answer?.respondToQuery?.succeeded === undefined)
      throw new Error(`the query ${queryType} failed: ${answer?.respondToQuery?.failed?.message ?? 'no answer'}`);
    return answer.respondToQuery.succeeded.response;
  }

  /**
   * Loses the worker's memory of the run and builds it again from what was recorded, as another worker would do.
   * Throws when the workflow does something else than the first time.
   */
  replay(): void {
    if (this.close !== undefined || this.workflow === undefined) return;
    this.workflow.dispose();
    const workflow = this.world.sandbox.open(this.start);
    const patches = this.steps
      .flatMap((step) => step.commands.flatMap((c) => c.setPatchMarker?.patchId ?? []))
      .map((patchId) => job('notifyHasPatch', { patchId }));
    for (const [at, { jobs, moment, commands, flags }] of this.steps.entries()) {
      const all = at === 0 ? [...patches, ...jobs] : jobs;
      const again = workflow.activate(all, { ...moment, isReplaying: true }, flags).commands;
      const [was, is] = [textOf(commands), textOf(again)];
      if (was !== is)
        throw new Error(`replay of ${this.workflowId} differs at task ${at + 1}:\n was ${was}\n is  ${is}`);
    }
    this.workflow = workflow;
  }

  /** Ends the run; children are treated as their policies say. */
  end(close: Close): void {
    if (this.close !== undefined) return;
    this.close = close;
    for (const timer of this.timers.values()) timer.off = true;
    for (const activity of this.activities.values()) activity.drop();
    for (const answer of this.updates.values()) answer({ rejected: 'the workflow has ended' });
    this.workflow?.dispose();
    if (close.status === 'continued') return;
    for (const { execution } of this.children.values()) {
      const policy = execution?.request.parent?.closePolicy;
      if (execution === undefined || execution.latest().close !== undefined) continue;
      if (policy === 3) execution.latest().cancel();
      else if (policy !== 2) execution.latest().end({ status: 'terminated' });
    }
    const { parent } = this.request;
    if (parent !== undefined) this.world.clock.in(0, () => parent.execution.childEnded(parent.seq, this, close));
    this.world.ended(this);
  }

  /** The run that goes on where this one has continued as new. */
  latest(): Execution {
    return this.world.find(this.workflowId) ?? this;
  }

  cancel(): void {
    this.history += 1;
    this.push(job('cancelWorkflow', { reason: 'cancelled' }));
  }

  private carryOut(command: Command): void {
    if (command.startTimer !== undefined) return this.startTimer(command.startTimer);
    if (command.cancelTimer !== undefined) return this.cancelTimer(command.cancelTimer.seq);
    if (command.scheduleActivity !== undefined) return this.schedule(command.scheduleActivity, false);
    if (command.scheduleLocalActivity !== undefined) return this.schedule(command.scheduleLocalActivity, true);
    const cancelled = command.requestCancelActivity ?? command.requestCancelLocalActivity;
    if (cancelled !== undefined) return this.activities.get(cancelled.seq)?.cancel();
    if (command.startChildWorkflowExecution !== undefined) return this.startChild(command.startChildWorkflowExecution);
    if (command.cancelChildWorkflowExecution !== undefined)
      return this.cancelChild(command.cancelChildWorkflowExecution.childWorkflowSeq);
    if (command.signalExternalWorkflowExecution !== undefined)
      return this.signalOther(command.signalExternalWorkflowExecution);
    if (command.requestCancelExternalWorkflowExecution !== undefined)
      return this.cancelOther(command.requestCancelExternalWorkflowExecution);
    if (command.updateResponse !== undefined) return this.answerUpdate(command.updateResponse);
    if (command.upsertWorkflowSearchAttributes !== undefined || command.setPatchMarker !== undefined) this.history += 1;
    this.carryOutClose(command);
  }

  private carryOutClose(command: Command): void {
    if (command.completeWorkflowExecution !== undefined)
      this.end({ status: 'completed', result: command.completeWorkflowExecution.result ?? undefined });
    else if (command.failWorkflowExecution !== undefined)
      this.end({ status: 'failed', failure: command.failWorkflowExecution.failure });
    else if (command.cancelWorkflowExecution !== undefined) this.end({ status: 'cancelled' });
    else if (command.continueAsNewWorkflowExecution !== undefined) {
      const { workflowType, arguments: args } = command.continueAsNewWorkflowExecution;
      this.end({ status: 'continued' });
      this.world.begin({
        ...this.request,
        workflowType: workflowType || this.request.workflowType,
        args: args ?? [],
        continues: { runId: this.runId, firstRunId: this.firstRunId, number: this.number },
      });
    }
  }

  private startTimer({ seq, startToFireTimeout }: NonNullable<Command['startTimer']>): void {
    this.history += 1;
    const ring = (): void => {
      this.timers.delete(seq);
      this.history += 1;
      this.push(job('fireTimer', { seq }));
    };
    this.timers.set(seq, this.world.clock.in(msOf(startToFireTimeout) ?? 0, ring));
  }

  private cancelTimer(seq: number): void {
    const timer = this.timers.get(seq);
    if (timer === undefined) return;
    timer.off = true;
    this.timers.delete(seq);
    this.history += 1;
  }

  private schedule(task: ScheduleActivity, local: boolean): void {
    const { clock, options } = this.world;
    const { seq } = task;
    if (!local) this.history += 1;
    const activity = new VirtualActivity(
      {
        clock,
        workflowId: this.workflowId,
        answer: options.answer,
        end: (result) => {
          this.activities.delete(seq);
          this.history += local ? 1 : 2;
          this.push(job('resolveActivity', { seq, result, isLocal: local }));
        },
      },
      task,
      local,
    );
    this.activities.set(seq, activity);
    activity.start();
  }

  private startChild(request: StartChild): void {
    const { seq, workflowId, workflowType } = request;
    this.history += 1;
    const known = { type: request.cancellationType ?? 0, request, execution: undefined as Execution | undefined };
    this.children.set(seq, known);
    this.world.clock.in(0, () => {
      if (this.close !== undefined || !this.children.has(seq)) return;
      this.history += 1;
      if (this.world.find(workflowId)?.close === undefined && this.world.find(workflowId) !== undefined) {
        this.children.delete(seq);
        const failed = { workflowId, workflowType, cause: 1 };
        return this.push(job('resolveChildWorkflowExecutionStart', { seq, failed }));
      }
      const parent = { execution: this as Execution, seq, closePolicy: request.parentClosePolicy ?? 1 };
      known.execution = this.world.begin({ workflowId, workflowType, args: request.input ?? [], parent });
      this.push(job('resolveChildWorkflowExecutionStart', { seq, succeeded: { runId: known.execution.runId } }));
    });
  }

  private cancelChild(seq: number): void {
    const child = this.children.get(seq);
    if (child === undefined) return;
    const failure = childFailure({ ...child.request, runId: '' }, cancelledFailure());
    if (child.execution === undefined) {
      // Cancelled in the task that would have started it: it never starts.
      this.children.delete(seq);
      return this.push(job('resolveChildWorkflowExecutionStart', { seq, cancelled: { failure } }));
    }
    const { execution, type } = child;
    if (type !== 0) execution.latest().cancel();
    if (type === 2) return;
    this.children.delete(seq);
    this.push(job('resolveChildWorkflowExecution', { seq, result: { cancelled: { failure } } }));
  }

  private childEnded(seq: number, child: Execution, close: Close): void {
    if (this.close !== undefined || !this.children.delete(seq)) return;
    this.history += 1;
    const { workflowId, workflowType } = child.request;
    const of = { workflowId, workflowType, runId: child.runId };
    this.push(job('resolveChildWorkflowExecution', { seq, result: resolutionOf(close, of) }));
  }

  private signalOther(request: NonNullable<Command['signalExternalWorkflowExecution']>): void {
    this.history += 2;
    const { seq, signalName, args } = request;
    const id = request.childWorkflowId || request.workflowExecution?.workflowId || '';
    this.world.clock.in(0, () => {
      const found = this.world.signalPayloads(id, signalName, args ?? []);
      this.push(job('resolveSignalExternalWorkflow', found ? { seq } : { seq, failure: notFound(id) }));
    });
  }

  private cancelOther(request: NonNullable<Command['requestCancelExternalWorkflowExecution']>): void {
    this.history += 2;
    const id = request.workflowExecution?.workflowId ?? '';
    this.world.clock.in(0, () => {
      const found = this.world.cancel(id);
      const { seq } = request;
      this.push(job('resolveRequestCancelExternalWorkflow', found ? { seq } : { seq, failure: notFound(id) }));
    });
  }

  private answerUpdate(response: NonNullable<Command['updateResponse']>): void {
    const { protocolInstanceId: id, rejected, completed } = response;
    this.history += rejected === undefined ? 1 : 0;
    const answer = this.updates.get(id);
    if (answer === undefined || (rejected === undefined && completed === undefined)) return;
    this.updates.delete(id);
    if (rejected !== undefined) answer({ rejected: rejected.message ?? 'rejected', failure: rejected });
    else answer({ completed });
  }
}

export interface UpdateAnswer {
  completed?: Payload | undefined;
  rejected?: string;
  failure?: ProtoFailure;
}

/** Patches first, then signals and updates, then the rest, as Core sorts them. */
function ordered(jobs: Job[]): Job[] {
  const rank = (j: Job): number =>
    j.variant === 'initializeWorkflow' ? 0 : j.variant === 'signalWorkflow' || j.variant === 'doUpdate' ? 1 : 2;
  return jobs.sort((a, b) => rank(a) - rank(b));
}

function resolutionOf(close: Close, of: { workflowId: string; workflowType: string; runId: string }): Resolution {
  if (close.status === 'completed')
    return { completed: close.result === undefined ? ({} as never) : { result: close.result } };
  if (close.status === 'failed') return { failed: { failure: childFailure(of, close.failure) } };
  if (close.status === 'cancelled') return { cancelled: { failure: childFailure(of, cancelledFailure()) } };
  return {
    failed: { failure: childFailure(of, { message: 'terminated', terminatedFailureInfo: {} } as ProtoFailure) },
  };
}

function notFound(id: string): ProtoFailure {
  return { message: `no workflow ${id}`, applicationFailureInfo: { type: 'NotFound' } } as ProtoFailure;
}

/** Commands as text, to compare a replay with what was; payloads and 64-bit numbers included. */
function textOf(commands: readonly Command[]): string {
  return JSON.stringify(commands, (_key, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value instanceof Uint8Array ? Buffer.from(value).toString() : value,
  );
}

function workflowStart(execution: Execution, now: number, number: number): WorkflowStart {
  const { request, runId, firstRunId } = execution;
  const parent = request.parent?.execution;
  const started = new Date(now);
  return {
    info: {
      workflowId: request.workflowId,
      runId,
      workflowType: request.workflowType,
      searchAttributes: {},
      typedSearchAttributes: {},
      ...(parent === undefined
        ? {}
        : { parent: { workflowId: parent.workflowId, runId: parent.runId, namespace: 'default' } }),
      taskQueue: 'virtual',
      namespace: 'default',
      firstExecutionRunId: firstRunId,
      originalExecutionRunId: runId,
      continuedFromExecutionRunId: request.continues?.runId,
      startTime: started,
      runStartTime: started,
      taskTimeoutMs: 10_000,
      attempt: 1,
      historyLength: 0,
      historySize: 0,
      continueAsNewSuggested: false,
      suggestedContinueAsNewReasons: undefined,
      currentBuildId: '',
      unsafe: { isReplaying: false, isReplayingHistoryEvents: false },
    },
    randomnessSeed: Uint8Array.from([number & 255, (number >> 8) & 255, (number >> 16) & 255, 7]),
    now,
    showStackTraceSources: false,
    getTimeOfDay: () => 0n,
    // One function answers for all of them.
    registeredActivityNames: new Set(['default']),
    stackTracesEnabled: false,
    failureExceptionTypeNames: [],
  };
}
