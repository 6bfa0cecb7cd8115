/** What the specs share that kill workers: flows here, atoms in a process that is killed, and the target of both. */
import type { ChildProcess } from 'node:child_process';
import { TEMPORAL_NAMES, type CompiledFlow, type Json } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { createFlowWorker, TemporalConnection, WorkerHost } from '@opsloop/temporal';
import {
  cacheDir,
  createTestNamespace,
  startHttpTarget,
  testRunInput,
  type ChildProgram,
  type RecordedCall,
  type TargetAnswer,
} from '@opsloop/testing';

export interface KilledWorker {
  /** Of the target. */
  url: string;
  /** Runs a flow and gives its output; `run` is its id. */
  execute(ir: CompiledFlow, run: string): Promise<Json>;
  close(): Promise<void>;
}

/** `kill`: the process of the atoms is gone before it hears the answer, and another one has begun. */
export async function startKilledWorker(
  program: ChildProgram,
  answer: (call: RecordedCall, kill: () => Promise<never>) => TargetAnswer | Promise<TargetAnswer>,
): Promise<KilledWorker> {
  const logger = new Logger({ logLevel: 'fatal' });
  // A namespace of its own: workers of other specs serve the same queues.
  const temporal = await TemporalConnection.connect(await createTestNamespace('killed'), logger);
  const control = await startHttpTarget(() => ({ body: { asOf: new Date().toISOString(), halts: [] } }));
  const startChild = (): ChildProcess => program.start(temporal.config.address, temporal.config.namespace, control.url);
  let child = startChild();
  const kill = (): Promise<never> => {
    child.kill('SIGKILL');
    child = startChild();
    return new Promise(() => undefined);
  };
  const target = await startHttpTarget((call) => answer(call, kill));
  const worker = await createFlowWorker({
    temporal,
    activities: { default: () => null },
    cacheDir: cacheDir(),
    log: logger,
  });
  const host = new WorkerHost(temporal, logger);
  host.start('flows', worker);
  return {
    url: target.url,
    execute: (ir, run) =>
      temporal.client.workflow.execute(ir.flow.name, {
        taskQueue: TEMPORAL_NAMES.flowQueue,
        workflowId: `test.killed.${run}`,
        args: [testRunInput(ir, run)],
      }),
    close: async () => {
      child.kill('SIGKILL');
      await host.onApplicationShutdown();
      await target.close();
      await control.close();
    },
  };
}
