import type { DescribeWorkflowExecutionResponse } from '@temporalio/client/lib/types.js';
import { optionalTsToDate } from '@temporalio/common/lib/time.js';
import type { ActivityFacts, WorkflowFacts } from '../diagnose/diagnosis.pure.js';

/** PendingActivityState of Temporal's API. */
const STARTED = 2;
const PAUSED = 4;

/** An activity that no worker has begun. */
export interface QueuedActivity {
  workflowId: string;
  id: string;
  type: string;
  state: 'scheduled' | 'paused';
  /** Why it is paused, as whoever did it has said. */
  reason?: string;
}

type Raw = DescribeWorkflowExecutionResponse;
type Pending = NonNullable<Raw['pendingActivities']>[number];

const dated = <K extends string>(key: K, at: Parameters<typeof optionalTsToDate>[0]): { [P in K]?: Date } => {
  const date = optionalTsToDate(at);
  return (date === undefined ? {} : { [key]: date }) as { [P in K]?: Date };
};

/** What Temporal says of a workflow, in our words. */
export function workflowFacts(raw: Raw): WorkflowFacts {
  const { workflowExecutionInfo: info, pendingWorkflowTask: task } = raw;
  return {
    events: Number(info?.historyLength ?? 0),
    bytes: Number(info?.historySizeBytes ?? 0),
    ...(task == null
      ? {}
      : {
          task: {
            attempt: task.attempt ?? 1,
            ...dated('scheduledAt', task.scheduledTime),
            ...dated('startedAt', task.startedTime),
          },
        }),
    activities: (raw.pendingActivities ?? []).map(activityFacts),
    ...(raw.pendingChildren?.length ? { children: raw.pendingChildren.length } : {}),
  };
}

function activityFacts(one: Pending): ActivityFacts {
  const id = one.activityId ?? '';
  const failure = one.lastFailure;
  const type = failure?.applicationFailureInfo?.type;
  const queue = one.activityOptions?.taskQueue?.name;
  return {
    path: id.includes('#') ? id.slice(0, id.lastIndexOf('#')) : id,
    type: one.activityType?.name ?? '',
    ...(queue == null || queue === '' ? {} : { queue }),
    state: one.paused === true || one.state === PAUSED ? 'paused' : one.state === STARTED ? 'started' : 'scheduled',
    attempt: one.attempt ?? 1,
    maximumAttempts: one.maximumAttempts ?? 0,
    ...(failure == null ? {} : { failure: { message: failure.message ?? '', ...(type == null ? {} : { type }) } }),
    ...dated('scheduledAt', one.scheduledTime),
    ...(one.state === STARTED ? dated('startedAt', one.lastStartedTime) : {}),
    ...(one.state === STARTED ? dated('heartbeatAt', one.lastHeartbeatTime) : {}),
    ...dated('nextAttemptAt', one.nextAttemptScheduleTime),
    ...(one.lastWorkerIdentity ? { worker: one.lastWorkerIdentity } : {}),
  };
}

/** Those that no worker has begun; what failed before and waits for its next attempt is one of them. */
export function queuedActivities(workflowId: string, pending: readonly Pending[]): QueuedActivity[] {
  return pending.flatMap((one): QueuedActivity[] => {
    const id = one.activityId ?? '';
    const type = one.activityType?.name ?? '';
    const reason = one.pauseInfo?.manual?.reason;
    if (one.paused === true || one.state === PAUSED)
      return [{ workflowId, id, type, state: 'paused', ...(reason == null ? {} : { reason }) }];
    return one.state === STARTED ? [] : [{ workflowId, id, type, state: 'scheduled' }];
  });
}
