/**
 * The part of the protocol between Core and the SDK that a workflow speaks: jobs in, commands out. Both are plain
 * objects in the form of protobuf messages; times are `{ seconds, nanos }`.
 */
import type { Payload, ProtoFailure } from '@temporalio/common';

export interface ProtoTime {
  seconds?: { toNumber(): number } | number | null;
  nanos?: number | null;
}

export interface ProtoRetry {
  initialInterval?: ProtoTime | null;
  backoffCoefficient?: number | null;
  maximumInterval?: ProtoTime | null;
  maximumAttempts?: number | null;
  nonRetryableErrorTypes?: string[] | null;
}

/** The result of an activity or a child, one of three. */
export interface Resolution {
  completed?: { result: Payload };
  failed?: { failure: ProtoFailure };
  cancelled?: { failure: ProtoFailure };
}

interface JobBodies {
  initializeWorkflow: { workflowType: string; arguments: Payload[]; headers: object };
  fireTimer: { seq: number };
  resolveActivity: { seq: number; result: Resolution; isLocal: boolean };
  cancelWorkflow: { reason: string };
  signalWorkflow: { signalName: string; input: Payload[]; headers: object };
  doUpdate: {
    id: string;
    protocolInstanceId: string;
    name: string;
    input: Payload[];
    headers: object;
    runValidator: boolean;
  };
  queryWorkflow: { queryId: string; queryType: string; arguments: Payload[]; headers: object };
  notifyHasPatch: { patchId: string };
  resolveChildWorkflowExecutionStart: {
    seq: number;
    succeeded?: { runId: string };
    failed?: { workflowId: string; workflowType: string; cause: number };
    cancelled?: { failure: ProtoFailure };
  };
  resolveChildWorkflowExecution: { seq: number; result: Resolution };
  resolveSignalExternalWorkflow: { seq: number; failure?: ProtoFailure };
  resolveRequestCancelExternalWorkflow: { seq: number; failure?: ProtoFailure };
}

export type JobVariant = keyof JobBodies;
export type Job = { [K in JobVariant]: { variant: K } & { [P in K]: JobBodies[K] } }[JobVariant];

export function job<K extends JobVariant>(variant: K, body: JobBodies[K]): Job {
  return { variant, [variant]: body } as unknown as Job;
}

interface ActivityFields {
  seq: number;
  activityId: string;
  activityType: string;
  arguments?: Payload[] | null;
  scheduleToCloseTimeout?: ProtoTime | null;
  scheduleToStartTimeout?: ProtoTime | null;
  startToCloseTimeout?: ProtoTime | null;
  retryPolicy?: ProtoRetry | null;
  /** 0 try, 1 wait until it has ended, 2 abandon. */
  cancellationType?: number | null;
}

export interface ScheduleActivity extends ActivityFields {
  taskQueue?: string | null;
  heartbeatTimeout?: ProtoTime | null;
}

export interface StartChild {
  seq: number;
  workflowId: string;
  workflowType: string;
  input?: Payload[] | null;
  /** 1 terminate, 2 abandon, 3 request cancel. */
  parentClosePolicy?: number | null;
  /** 0 abandon, 1 try, 2 wait until it has ended, 3 wait until it was asked. */
  cancellationType?: number | null;
}

export interface Command {
  startTimer?: { seq: number; startToFireTimeout?: ProtoTime | null };
  cancelTimer?: { seq: number };
  scheduleActivity?: ScheduleActivity;
  requestCancelActivity?: { seq: number };
  scheduleLocalActivity?: ActivityFields;
  requestCancelLocalActivity?: { seq: number };
  startChildWorkflowExecution?: StartChild;
  cancelChildWorkflowExecution?: { childWorkflowSeq: number };
  signalExternalWorkflowExecution?: {
    seq: number;
    childWorkflowId?: string | null;
    workflowExecution?: { workflowId?: string | null } | null;
    signalName: string;
    args?: Payload[] | null;
  };
  cancelSignalWorkflow?: { seq: number };
  requestCancelExternalWorkflowExecution?: { seq: number; workflowExecution?: { workflowId?: string | null } | null };
  completeWorkflowExecution?: { result?: Payload | null };
  failWorkflowExecution?: { failure: ProtoFailure };
  cancelWorkflowExecution?: object;
  continueAsNewWorkflowExecution?: { workflowType?: string | null; arguments?: Payload[] | null };
  respondToQuery?: { queryId: string; succeeded?: { response: Payload }; failed?: ProtoFailure };
  updateResponse?: {
    protocolInstanceId: string;
    accepted?: object;
    rejected?: ProtoFailure;
    completed?: Payload;
  };
  upsertWorkflowSearchAttributes?: object;
  modifyWorkflowProperties?: object;
  setPatchMarker?: { patchId: string };
}

/** What `initRuntime` takes. */
export interface WorkflowStart {
  info: Record<string, unknown>;
  randomnessSeed: Uint8Array;
  now: number;
  showStackTraceSources: boolean;
  getTimeOfDay: () => bigint;
  registeredActivityNames: Set<string>;
  stackTracesEnabled: boolean;
  failureExceptionTypeNames: string[];
}

/** The SDK's interface for workers, inside the bundle. */
export interface SandboxApi {
  initRuntime: unknown;
  initialize: unknown;
  activate: unknown;
  tryUnblockConditions: unknown;
  concludeActivation: unknown;
  dispose: unknown;
}

export interface Activator {
  now: number;
  mutateWorkflowInfo(change: (info: Record<string, unknown>) => Record<string, unknown>): void;
  notifyHasPatch(job: { patchId: string }): void;
  addKnownFlags(flags: readonly number[]): void;
  getAndResetSinkCalls(): unknown;
}

export function msOf(time: ProtoTime | null | undefined): number | undefined {
  if (time === null || time === undefined) return undefined;
  const seconds = typeof time.seconds === 'object' ? (time.seconds?.toNumber() ?? 0) : (time.seconds ?? 0);
  return seconds * 1_000 + Math.floor((time.nanos ?? 0) / 1_000_000);
}
