// A flow of 100 calls against a hand-written workflow of the same 100 activities, on the same server, alternating.
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { alternate, ms, summary } from './stats.mjs';

const STEPS = 100;
/** After one unmeasured round: caches warm, both bundles loaded. */
const ROUNDS = 7;

export async function benchFlow({ stack, api }) {
  const native = await NativeConnection.connect({ address: stack.temporalAddress });
  const noop = async ({ input }) => ({ value: input.value + 1 });
  const atoms = await Worker.create({ connection: native, taskQueue: 'bench-atoms', activities: { 'bench.noop': noop } });
  const flows = await Worker.create({
    connection: native,
    taskQueue: 'bench-flows',
    workflowsPath: fileURLToPath(new URL('./handwritten.workflow.mjs', import.meta.url)),
  });
  const running = [atoms.run(), flows.run()];
  const connection = await Connection.connect({ address: stack.temporalAddress });
  const client = new Client({ connection });
  await api.put('/v1/atoms/bench.noop', NOOP);
  await api.put('/v1/flows/bench/hundred', HUNDRED);
  await api.post('/v1/flows/bench/hundred/publish', { version: '1.0.0' });
  const times = async (execution) => {
    const { startTime, closeTime } = await execution.describe();
    return closeTime.getTime() - startTime.getTime();
  };
  const byHand = async (i) => {
    const handle = await client.workflow.start('handwritten', { taskQueue: 'bench-flows', workflowId: `bench-hand-${Date.now()}-${i}`, args: [{ steps: STEPS }] });
    await handle.result();
    return times(handle);
  };
  const byFlow = async () => {
    const run = await api.post('/v1/catalog/bench/hundred/runs', { input: {}, wait: '60s' });
    if (run.status !== 'succeeded') throw new Error(`the flow ended ${run.status}: ${JSON.stringify(run.problem)}`);
    return times(client.workflow.getHandle(run.workflowId));
  };
  try {
    await byHand('warm');
    await byFlow();
    const [hand, flow] = await alternate(ROUNDS, byHand, byFlow);
    const [h, f] = [summary(hand), summary(flow)];
    process.stdout.write(
      `flow    ${STEPS} steps, ${ROUNDS} rounds: by hand p50 ${ms(h.p50)} (${ms(h.min)}–${ms(h.max)}), flow p50 ${ms(f.p50)} (${ms(f.min)}–${ms(f.max)}); ratio ${(f.p50 / h.p50).toFixed(2)}\n`,
    );
  } finally {
    atoms.shutdown();
    flows.shutdown();
    await Promise.all(running);
    await connection.close();
    await native.close();
  }
}

const NOOP = {
  dsl: 'opsloop/v1', kind: 'atom', name: 'bench.noop', version: '1.0.0', title: 'Adds one', owner: 'bench', effect: 'mutate', idempotency: 'native',
  input: { schema: { type: 'object', properties: { value: { type: 'integer' } } } },
  output: { schema: { type: 'object' } },
  worker: { queue: 'bench-atoms', activity: 'bench.noop' },
  timeout: { startToClose: '30s' },
};

const HUNDRED = {
  dsl: 'opsloop/v1', kind: 'flow', name: 'bench/hundred', version: '1.0.0', title: 'A hundred calls', owner: 'bench',
  do: Array.from({ length: STEPS }, (_, i) => ({
    id: `s${i}`,
    call: 'bench.noop@1',
    with: { value: i === 0 ? 0 : `\${steps.s${i - 1}.output.value}` },
  })),
  output: { value: `\${steps.s${STEPS - 1}.output.value}` },
};
