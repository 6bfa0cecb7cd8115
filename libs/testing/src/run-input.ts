import type { CompiledFlow, RunInput } from '@opsloop/contracts';

/** What control hands to the interpreter for a run that a person started, without input. */
export function testRunInput(ir: CompiledFlow, run: string): RunInput & { ir: CompiledFlow } {
  return {
    context: {
      run,
      tenant: 'default',
      flow: ir.flow.name,
      version: ir.flow.version,
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
}
