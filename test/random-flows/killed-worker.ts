/**
 * A worker that gets killed: `child.mjs <temporal> <namespace> <bundle> <url of the world>`. The world is in the parent,
 * and so is the word that it is this worker's turn: one stands ready while another works.
 */
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { Json } from '@opsloop/contracts';

const [address, namespace, codePath, world] = process.argv.slice(2) as [string, string, string, string];
Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });

async function tell(body: object): Promise<{ code?: string; retryable?: boolean; value?: Json }> {
  const answer = await fetch(world, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return (await answer.json()) as { code?: string; retryable?: boolean; value?: Json };
}

/** Asks the parent, which outlives us, and tells Temporal that we live while it thinks. */
async function ask(argument: Json): Promise<unknown> {
  const { info } = Context.current();
  const beat = info.isLocal ? undefined : setInterval(() => Context.current().heartbeat(), 1_000);
  try {
    const { code, retryable = false, value } = await tell({ type: info.activityType, argument });
    if (code === undefined) return value;
    const problem = { type: code, code, title: code, status: 500, retryable };
    throw ApplicationFailure.create({ type: code, message: code, nonRetryable: !retryable, details: [problem] });
  } finally {
    clearInterval(beat);
  }
}

const connection = await NativeConnection.connect({ address });
const common = { connection, namespace, activities: { default: ask } };
const workers = await Promise.all([
  Worker.create({
    ...common,
    taskQueue: TEMPORAL_NAMES.flowQueue,
    workflowBundle: { codePath },
    // What a killed worker has taken along goes to the next one after this, instead of 10 s.
    stickyQueueScheduleToStartTimeout: '1s',
    // Each further thread loads the interpreter once more, and one is enough for a share of one core.
    workflowThreadPoolSize: 1,
  }),
  Worker.create({ ...common, taskQueue: TEMPORAL_NAMES.atomQueue, maxConcurrentActivityTaskExecutions: 100 }),
]);
while ((await tell({ type: 'turn', pid: process.pid })).value !== true);
await Promise.all(workers.map((worker) => worker.run()));
