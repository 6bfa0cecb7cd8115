/** What the specs share that kill workers: a namespace of its own, and one run from its start to its end. */
import { TEMPORAL_NAMES, type CompiledFlow, type Json, type RunInput } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { TemporalConnection } from '@opsloop/temporal';
import { createTestNamespace } from '@opsloop/testing';

export async function ownNamespace(): Promise<TemporalConnection> {
  return TemporalConnection.connect(await createTestNamespace('killed'), new Logger({ logLevel: 'fatal' }));
}

/** Runs a flow and gives its output; `run` is its id. */
export async function execute(temporal: TemporalConnection, ir: CompiledFlow, run: string): Promise<Json> {
  const input: RunInput = {
    context: {
      run,
      tenant: 'default',
      flow: ir.flow.name,
      version: '1.0.0',
      tier: 'P3',
      initiator: { kind: 'user', name: 'anna' },
      targets: [],
      correlationId: 'c-1',
      hops: 0,
      startedAt: new Date().toISOString(),
    },
    ir,
    input: {},
    config: {},
  };
  return temporal.client.workflow.execute(ir.flow.name, {
    taskQueue: TEMPORAL_NAMES.flowQueue,
    workflowId: `test.killed.${run}`,
    args: [input],
  });
}
