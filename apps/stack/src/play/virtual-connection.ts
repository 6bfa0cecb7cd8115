/** What control asks of a Temporal connection, answered by the virtual server of this process. */
import type { VirtualTemporal } from '@opsloop/flowtest';
import { fromPayload } from '@opsloop/flowtest';
import { WorkflowNotFoundError, WorkflowUpdateFailedError, WorkflowUpdateStage } from '@temporalio/client';
import {
  ApplicationFailure,
  defaultFailureConverter,
  defaultPayloadConverter,
  WorkflowExecutionAlreadyStartedError,
} from '@temporalio/common';

const STATUS = {
  completed: 'COMPLETED',
  failed: 'FAILED',
  cancelled: 'CANCELED',
  terminated: 'TERMINATED',
  continued: 'RUNNING',
};

export function virtualConnection(world: () => VirtualTemporal): object {
  const handleOf = (id: string): object => ({
    cancel: async () => void need(world().cancel(id), id),
    terminate: async () => {
      const execution = world().find(id);
      if (execution === undefined || execution.close !== undefined) throw notFound(id);
      execution.end({ status: 'terminated' });
    },
    signal: async (name: string, ...args: unknown[]) => void need(world().signal(id, name, ...args), id),
    executeUpdate: (name: string, { args }: { args: unknown[] }) => update(world(), id, name, args),
    query: async (name: string) => world().query(id, name),
    describe: async () => {
      const execution = world().find(id);
      if (execution === undefined) throw notFound(id);
      const status = execution.close === undefined ? 'RUNNING' : STATUS[execution.close.status];
      return {
        status: { name: status },
        runId: execution.runId,
        raw: { pendingActivities: [], workflowExecutionInfo: {} },
      };
    },
    result: async () => {
      const close = world().find(id)?.close;
      if (close?.status === 'completed') return fromPayload(close.result);
      throw notFound(id);
    },
  });
  const client = {
    withDeadline: <T>(_deadline: number, act: () => Promise<T>) => act(),
    options: { loadedDataConverter: { payloadConverter: defaultPayloadConverter } },
    workflow: {
      start: async (type: string, { workflowId, args }: { workflowId: string; args: unknown[] }) => {
        if (world().find(workflowId) !== undefined)
          throw new WorkflowExecutionAlreadyStartedError('already started', workflowId, type);
        world().start(workflowId, type, args);
      },
      getHandle: handleOf,
      list: () => ({
        async *[Symbol.asyncIterator]() {
          // Visibility is a hint; nothing is lost without it.
        },
      }),
    },
    workflowService: { describeTaskQueue: async () => ({ pollers: [] }) },
  };
  return {
    client,
    namespace: 'play',
    uiUrl: undefined,
    workflowUrl: () => undefined,
    check: () => Promise.resolve(),
  };
}

function update(world: VirtualTemporal, id: string, name: string, args: unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const execution = world.find(id);
    if (execution === undefined || execution.close !== undefined) return reject(notFound(id));
    world.update(id, name, args, ({ completed, rejected, failure }) => {
      if (rejected === undefined) return resolve(fromPayload(completed ?? undefined));
      const cause =
        failure === undefined
          ? ApplicationFailure.nonRetryable(rejected, 'run-closed')
          : defaultFailureConverter.failureToError(failure, defaultPayloadConverter);
      reject(new WorkflowUpdateFailedError(`the update was refused (${WorkflowUpdateStage.ACCEPTED})`, cause));
    });
  });
}

function need(found: boolean, id: string): void {
  if (!found) throw notFound(id);
}

function notFound(id: string): Error {
  return new WorkflowNotFoundError(`there is no open workflow ${id}`, id, undefined);
}
