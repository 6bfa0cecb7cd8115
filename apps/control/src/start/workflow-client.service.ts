import { Injectable } from '@nestjs/common';
import {
  type AnswerRequest,
  type AnswerResult,
  type ErrorCode,
  type EventsSignal,
  isErrorCode,
  OpsError,
  type RunInput,
  type StepRecord,
  TEMPORAL_NAMES,
} from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { TemporalConnection } from '@opsloop/temporal';
import { WorkflowFailedError, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import {
  ApplicationFailure,
  defineSearchAttributeKey,
  type SearchAttributePair,
  WorkflowExecutionAlreadyStartedError,
} from '@temporalio/common';
import type { WorkflowFacts } from '../diagnose/diagnosis.pure.js';
import type { PendingActivity } from '../runs/progress.pure.js';
import { queuedActivities, type QueuedActivity, workflowFacts } from './workflow-facts.js';
import { attributeTargets } from './start.pure.js';
import { optionalTsToDate } from '@temporalio/common/lib/time.js';

/** A start takes 6 ms; above 4 s the answer is unknown and the next try finds out. */
const START_DEADLINE_MS = 4_000;
/** Commands to a run wait no longer than a person does. */
const COMMAND_DEADLINE_MS = 5_000;
/** The steps query needs a worker; after 2 s the last known steps are shown instead. */
export const QUERY_DEADLINE_MS = 2_000;
/** A list of runs is for people, and worth showing without what only Temporal knows. */
const PHASES_DEADLINE_MS = 2_000;
/** Missing search attributes are looked for again after a minute: somebody may have registered them. */
const ATTRIBUTES_RETRY_MS = 60_000;
/** gRPC status codes that a repeat cannot mend: INVALID_ARGUMENT, and messages above the size limit. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const UNIMPLEMENTED = 12;
/** Who holds a call, for whoever looks at Temporal. */
const IDENTITY = 'opsloop control';
/** Sub-flows of a run that are asked about; a forEach has at most 500 in flight. */
const CHILDREN_MAX = 600;
/** TaskQueueType of Temporal's API. */
const WORKFLOW_QUEUE = 1;
const ACTIVITY_QUEUE = 2;

const OPS_TENANT = defineSearchAttributeKey('OpsTenant', 'KEYWORD');
const OPS_TIER = defineSearchAttributeKey('OpsTier', 'KEYWORD');
const OPS_PHASE = defineSearchAttributeKey('OpsPhase', 'KEYWORD');
const OPS_TARGETS = defineSearchAttributeKey('OpsTargets', 'KEYWORD_LIST');

/** How a workflow stands with Temporal. */
export interface Described {
  status: string;
  runId: string;
  facts: WorkflowFacts;
}

/** All that control says to Temporal. */
@Injectable()
export class WorkflowClient {
  private withoutAttributesUntil = 0;

  constructor(
    private readonly temporal: TemporalConnection,
    private readonly logger: Logger,
  ) {}

  /** Starts a run once: a workflow with our own id that exists already is this start, noticed a second time. */
  async start(s: { type: string; workflowId: string; input: RunInput; summary: string }): Promise<void> {
    const plain = Date.now() < this.withoutAttributesUntil;
    try {
      await this.startOnce(s, !plain);
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return;
      if (plain || !isMissingAttribute(error)) throw error;
      this.logger.warn('search attributes are not registered; runs start without them', { error });
      this.withoutAttributesUntil = Date.now() + ATTRIBUTES_RETRY_MS;
      await this.start(s);
    }
  }

  private async startOnce(
    s: { type: string; workflowId: string; input: RunInput; summary: string },
    attributes: boolean,
  ): Promise<void> {
    const { context } = s.input;
    const { client } = this.temporal;
    await client.withDeadline(Date.now() + START_DEADLINE_MS, () =>
      client.workflow.start(s.type, {
        workflowId: s.workflowId,
        taskQueue: TEMPORAL_NAMES.flowQueue,
        args: [s.input],
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        requestEagerStart: true,
        staticSummary: s.summary.slice(0, 200),
        memo: {
          flow: context.flow,
          version: context.version,
          ...(context.decisionId === undefined ? {} : { decision: context.decisionId }),
        },
        ...(attributes ? { typedSearchAttributes: attributesOf(s.input) } : {}),
      }),
    );
  }

  isPermanent(error: unknown): boolean {
    const { code, text } = grpcOf(error);
    return code === INVALID_ARGUMENT || /larger than max|exceeds limit/i.test(text);
  }

  /** What the server said, for people. */
  reasonOf(error: unknown): string {
    return grpcOf(error).text;
  }

  async cancel(workflowId: string): Promise<void> {
    await this.command(workflowId, (handle) => handle.cancel());
  }

  async terminate(workflowId: string, reason: string): Promise<void> {
    await this.command(workflowId, (handle) => handle.terminate(reason));
  }

  async signalHalt(workflowId: string, payload: unknown): Promise<void> {
    await this.command(workflowId, (handle) => handle.signal(TEMPORAL_NAMES.haltSignal, payload));
  }

  /** False when the workflow is gone; throws when it cannot be told. */
  async signalEvents(workflowId: string, events: EventsSignal): Promise<boolean> {
    const { client } = this.temporal;
    try {
      await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, () =>
        client.workflow.getHandle(workflowId).signal(TEMPORAL_NAMES.eventsSignal, events),
      );
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /**
   * Hands an answer to the workflow that asks; the same `updateId` never counts twice. Throws what the workflow says
   * against it as its failure, `run-closed` when nobody asks any more, `unavailable` when it did not answer in time.
   */
  async answerApproval(workflowId: string, request: AnswerRequest, updateId: string): Promise<AnswerResult> {
    const { client } = this.temporal;
    try {
      return await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, () =>
        client.workflow
          .getHandle(workflowId)
          .executeUpdate<AnswerResult, [AnswerRequest]>(TEMPORAL_NAMES.approvalUpdate, { args: [request], updateId }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) {
        const { cause } = error;
        if (cause instanceof ApplicationFailure && isErrorCode(cause.type ?? ''))
          throw new OpsError(cause.type as ErrorCode, cause.message, { cause: error });
        throw new OpsError('conflict', cause?.message ?? error.message, { cause: error });
      }
      if (isNotFound(error)) throw new OpsError('run-closed', 'The run that asked has ended', { cause: error });
      throw new OpsError('unavailable', 'The run did not take the answer in time; it is kept and handed over again', {
        cause: error,
        retryAfterSec: 5,
      });
    }
  }

  /** Undefined when Temporal does not know it; throws when it cannot be asked. */
  async describe(workflowId: string, deadlineMs = COMMAND_DEADLINE_MS): Promise<Described | undefined> {
    const { client } = this.temporal;
    try {
      const d = await client.withDeadline(Date.now() + deadlineMs, () =>
        client.workflow.getHandle(workflowId).describe(),
      );
      return { status: d.status.name, runId: d.runId, facts: workflowFacts(d.raw) };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** When somebody last took a task of a queue; empty when nobody did for minutes. Throws when it cannot be asked. */
  async pollers(queue: string): Promise<{ lastSeenAt?: Date }> {
    const { client } = this.temporal;
    const taskQueueType = queue === TEMPORAL_NAMES.flowQueue ? WORKFLOW_QUEUE : ACTIVITY_QUEUE;
    const { pollers } = await client.withDeadline(Date.now() + QUERY_DEADLINE_MS, () =>
      client.workflowService.describeTaskQueue({
        namespace: this.temporal.namespace,
        taskQueue: { name: queue },
        taskQueueType,
      }),
    );
    const seen = (pollers ?? []).flatMap((one) => optionalTsToDate(one.lastAccessTime)?.getTime() ?? []);
    return seen.length === 0 ? {} : { lastSeenAt: new Date(Math.max(...seen)) };
  }

  /** Throws when the server or the namespace does not answer within 2 s. */
  check(): Promise<void> {
    return this.temporal.check();
  }

  /** Output or failure of a closed workflow; throws when Temporal cannot be asked. */
  async result(workflowId: string): Promise<{ output?: unknown; failure?: unknown }> {
    const { client } = this.temporal;
    try {
      return {
        output: await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, () =>
          client.workflow.getHandle(workflowId).result(),
        ),
      };
    } catch (error) {
      if (error instanceof WorkflowFailedError) return { failure: error.cause ?? error };
      throw error;
    }
  }

  /**
   * What workflows that run say they do, those that started last first, at most `max`: a page of the list needs no
   * more. Visibility lags by about a second. Empty where the search attributes are not registered.
   */
  async phases(max: number): Promise<Map<string, 'waiting' | 'paused'>> {
    const { client } = this.temporal;
    const phases = new Map<string, 'waiting' | 'paused'>();
    const query = `TaskQueue = '${TEMPORAL_NAMES.flowQueue}' AND ExecutionStatus = 'Running' AND OpsPhase IN ('waiting', 'paused')`;
    try {
      await client.withDeadline(Date.now() + PHASES_DEADLINE_MS, async () => {
        for await (const w of client.workflow.list({ query })) {
          const phase = w.typedSearchAttributes.get(OPS_PHASE);
          if (phase === 'waiting' || phase === 'paused') phases.set(w.workflowId, phase);
          if (phases.size >= max) break;
        }
      });
    } catch (error) {
      if (grpcOf(error).code !== INVALID_ARGUMENT) throw error;
    }
    return phases;
  }

  /** Steps of a run as the workflow knows them; throws when nobody answers in time. */
  async steps(workflowId: string): Promise<StepRecord[]> {
    const { client } = this.temporal;
    return client.withDeadline(Date.now() + QUERY_DEADLINE_MS, () =>
      client.workflow.getHandle(workflowId).query<StepRecord[]>(TEMPORAL_NAMES.stepsQuery),
    );
  }

  /** Activities that are under way; throws when nobody answers in time. */
  async pending(workflowId: string): Promise<PendingActivity[]> {
    const { client } = this.temporal;
    const { raw } = await client.withDeadline(Date.now() + QUERY_DEADLINE_MS, () =>
      client.workflow.getHandle(workflowId).describe(),
    );
    const { payloadConverter } = client.options.loadedDataConverter;
    return (raw.pendingActivities ?? []).map((one) => {
      const details = one.heartbeatDetails?.payloads?.[0];
      const failure = one.lastFailure;
      const type = failure?.applicationFailureInfo?.type;
      const next = optionalTsToDate(one.nextAttemptScheduleTime);
      return {
        activityId: one.activityId ?? '',
        attempt: one.attempt ?? 1,
        ...(details == null ? {} : { details: payloadConverter.fromPayload<unknown>(details) }),
        ...(failure == null ? {} : { failure: { message: failure.message ?? '', ...(type == null ? {} : { type }) } }),
        ...(next === undefined ? {} : { nextAttemptAt: next }),
      };
    });
  }

  /** Activities of a run and of its sub-flows that wait for a worker. */
  async queued(workflowId: string): Promise<QueuedActivity[]> {
    const { client } = this.temporal;
    const found: QueuedActivity[] = [];
    const open = [workflowId];
    for (let asked = 0; open.length > 0 && asked < CHILDREN_MAX; asked += 1) {
      const id = open.shift()!;
      const described = await client
        .withDeadline(Date.now() + QUERY_DEADLINE_MS, () => client.workflow.getHandle(id).describe())
        .catch((error: unknown) => {
          if (isNotFound(error)) return undefined;
          throw error;
        });
      found.push(...queuedActivities(id, described?.raw.pendingActivities ?? []));
      open.push(...(described?.raw.pendingChildren ?? []).flatMap((child) => child.workflowId ?? []));
    }
    return found;
  }

  /** No worker gets it until it is freed. False where the server cannot do that. */
  async holdActivity(one: QueuedActivity, reason: string): Promise<boolean> {
    const { client, namespace } = this.temporal;
    try {
      await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, () =>
        client.workflowService.pauseActivity({
          namespace,
          execution: { workflowId: one.workflowId },
          identity: IDENTITY,
          id: one.id,
          reason: reason.slice(0, 500),
        }),
      );
    } catch (error) {
      if (grpcOf(error).code === UNIMPLEMENTED) return false;
      // It has ended meanwhile.
      if (!isNotFound(error)) throw error;
    }
    return true;
  }

  async freeActivity(one: QueuedActivity): Promise<void> {
    const { client, namespace } = this.temporal;
    try {
      await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, () =>
        client.workflowService.unpauseActivity({
          namespace,
          execution: { workflowId: one.workflowId },
          identity: IDENTITY,
          id: one.id,
        }),
      );
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Workflow ids of our queue that closed after `since`, at most `max`. A hint: visibility lags. */
  async closedSince(since: Date, max: number): Promise<string[]> {
    const { client } = this.temporal;
    const ids: string[] = [];
    const query = `TaskQueue = '${TEMPORAL_NAMES.flowQueue}' AND ExecutionStatus != 'Running' AND CloseTime > '${since.toISOString()}'`;
    await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, async () => {
      for await (const w of client.workflow.list({ query })) {
        ids.push(w.workflowId);
        if (ids.length >= max) break;
      }
    });
    return ids;
  }

  url(workflowId: string): string | undefined {
    return this.temporal.workflowUrl(workflowId);
  }

  /** A workflow that is gone has nothing left to be told. */
  private async command(
    workflowId: string,
    act: (handle: ReturnType<TemporalConnection['client']['workflow']['getHandle']>) => Promise<unknown>,
  ): Promise<void> {
    const { client } = this.temporal;
    try {
      await client.withDeadline(Date.now() + COMMAND_DEADLINE_MS, () => act(client.workflow.getHandle(workflowId)));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

function attributesOf({ context }: RunInput): SearchAttributePair[] {
  const targets = attributeTargets(context.targets);
  return [
    { key: OPS_TENANT, value: context.tenant },
    { key: OPS_TIER, value: context.tier },
    { key: OPS_PHASE, value: 'running' },
    ...(targets.length === 0 ? [] : [{ key: OPS_TARGETS, value: targets }]),
  ];
}

/** The gRPC status inside an error of the SDK; its own message only says which call failed. */
function grpcOf(error: unknown): { code?: number; text: string } {
  for (let e: unknown = error, depth = 0; e instanceof Error && depth < 5; e = e.cause, depth += 1) {
    const { code, details } = e as { code?: unknown; details?: unknown };
    if (typeof code === 'number')
      return { code, text: typeof details === 'string' && details !== '' ? details : e.message };
  }
  return { text: error instanceof Error ? error.message : String(error) };
}

/** `no mapping defined for search attribute OpsTenant` and its relatives. */
function isMissingAttribute(error: unknown): boolean {
  const { code, text } = grpcOf(error);
  return code === INVALID_ARGUMENT && /search ?attribute/i.test(text);
}

function isNotFound(error: unknown): boolean {
  return error instanceof WorkflowNotFoundError || grpcOf(error).code === NOT_FOUND;
}
