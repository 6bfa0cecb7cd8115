// A flow of 100 calls against a hand-written workflow of the same 100 activities: same server, same activity worker,
// same timeouts and retries, in turn. Times are the server's, from start to close, so the flow's include what the
// platform adds at the end (the closing report).
import { Client, Connection } from '@temporalio/client';
import { startWorkerProcess } from './child.mjs';
import { alternate, cpuSeconds, ms, say, spread, summary } from './stats.mjs';

const STEPS = 100;
/** A round takes 2–4 s; with 10 the medians of two runs differ by about 3 %. */
const ROUNDS = 10;
/** Unmeasured: caches, both bundles, the optimising compiler. */
const WARM_ROUNDS = 3;

export async function benchFlow({ stack, api }) {
  const address = stack.temporalAddress;
  const workers = [await startWorkerProcess('activities', address), await startWorkerProcess('workflows', address)];
  const connection = await Connection.connect({ address });
  const client = new Client({ connection });
  await api.put('/v1/atoms/bench.noop', NOOP);
  await api.put('/v1/flows/bench/hundred', HUNDRED);
  await api.post('/v1/flows/bench/hundred/publish', { version: '1.0.0' });
  const session = Date.now();
  const timed = async (handle) => {
    const result = await handle.result();
    if (result.value !== STEPS) throw new Error(`it counted to ${result.value}, not ${STEPS}`);
    const { startTime, closeTime } = await handle.describe();
    return closeTime.getTime() - startTime.getTime();
  };
  const byHand = async (i) =>
    timed(
      await client.workflow.start('handwritten', {
        taskQueue: 'bench-flows',
        workflowId: `bench-hand-${session}-${i}`,
        args: [{ steps: STEPS }],
      }),
    );
  const byFlow = async () => {
    const run = await api.post('/v1/catalog/bench/hundred/runs', { input: {}, wait: '60s' });
    if (run.status !== 'succeeded') throw new Error(`the flow ended ${run.status}: ${JSON.stringify(run.problem)}`);
    return timed(client.workflow.getHandle(run.workflowId));
  };
  try {
    for (let i = 0; i < WARM_ROUNDS; i++) {
      await byHand(`warm${i}`);
      await byFlow();
    }
    const cpu = { hand: 0, flow: 0 };
    const counted = (name, pid, work) => async (i) => {
      const before = cpuSeconds(pid);
      const time = await work(i);
      cpu[name] += (cpuSeconds(pid) ?? NaN) - before;
      return time;
    };
    const [hand, flow] = (
      await alternate(ROUNDS, counted('hand', workers[1].pid, byHand), counted('flow', stack.pid, byFlow))
    ).map(summary);
    const perStep = (seconds) => ms((seconds * 1_000) / ROUNDS / STEPS);
    say('flow', `by hand, ${STEPS} steps × ${ROUNDS}`, `${spread(hand)}, worker CPU ${perStep(cpu.hand)} ms a step`);
    say(
      'flow',
      `as a flow, ${STEPS} steps × ${ROUNDS}`,
      `${spread(flow)}, platform CPU ${perStep(cpu.flow)} ms a step`,
    );
    say(
      'flow',
      'ratio of the medians (goal ≤ 1.15)',
      `${(flow.p50 / hand.p50).toFixed(2)} (of the fastest: ${(flow.min / hand.min).toFixed(2)})`,
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await connection.close();
  }
}

const NOOP = {
  dsl: 'opsloop/v1',
  kind: 'atom',
  name: 'bench.noop',
  version: '1.0.0',
  title: 'Adds one',
  owner: 'bench',
  effect: 'mutate',
  idempotency: 'native',
  input: { schema: { type: 'object', properties: { value: { type: 'integer' } } } },
  output: { schema: { type: 'object' } },
  worker: { queue: 'bench-atoms', activity: 'bench.noop' },
  timeout: { startToClose: '30s' },
};

const HUNDRED = {
  dsl: 'opsloop/v1',
  kind: 'flow',
  name: 'bench/hundred',
  version: '1.0.0',
  title: 'A hundred calls',
  owner: 'bench',
  do: Array.from({ length: STEPS }, (_, i) => ({
    id: `s${i}`,
    call: 'bench.noop@1',
    with: { value: i === 0 ? 0 : `\${steps.s${i - 1}.output.value}` },
  })),
  output: { value: `\${steps.s${STEPS - 1}.output.value}` },
};
