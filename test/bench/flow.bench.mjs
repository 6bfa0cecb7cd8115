// A flow of 100 calls against a hand-written workflow of the same 100 activities: same server, same activity worker,
// same timeouts and retries, in turn. Times are the server's, from start to close, so the flow's include what the
// platform adds at the end (the closing report). A second flow calls an atom that changes something: the platform then
// asks before every call whether a halt stands in the way, which nobody writes by hand.
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
  for (const [flow, atom, effect] of [
    ['bench/reads', 'bench.noop', 'read'],
    ['bench/changes', 'bench.noop-change', 'mutate'],
  ]) {
    await api.put(`/v1/atoms/${atom}`, atomDocument(atom, effect));
    await api.put(`/v1/flows/${flow}`, flowDocument(flow, atom));
    await api.post(`/v1/flows/${flow}/publish`, { version: '1.0.0' });
  }
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
  const byFlow = async (name) => {
    const run = await api.post(`/v1/catalog/${name}/runs`, { input: {}, wait: '60s' });
    if (run.status !== 'succeeded') throw new Error(`the flow ended ${run.status}: ${JSON.stringify(run.problem)}`);
    return timed(client.workflow.getHandle(run.workflowId));
  };
  const reads = () => byFlow('bench/reads');
  const changes = () => byFlow('bench/changes');
  try {
    for (let i = 0; i < WARM_ROUNDS; i++) {
      await byHand(`warm${i}`);
      await reads();
      await changes();
    }
    const cpu = {};
    const counted = (name, pid, work) => async (i) => {
      const before = cpuSeconds(pid);
      const time = await work(i);
      cpu[name] = (cpu[name] ?? 0) + ((cpuSeconds(pid) ?? NaN) - before);
      return time;
    };
    const [hand, read, change] = (
      await alternate(
        ROUNDS,
        counted('hand', workers[1].pid, byHand),
        counted('read', stack.pid, reads),
        counted('change', stack.pid, changes),
      )
    ).map(summary);
    const what = `${STEPS} steps × ${ROUNDS}`;
    const perStep = (name) => `${ms((cpu[name] * 1_000) / ROUNDS / STEPS)} ms CPU a step`;
    say('flow', `by hand, ${what}`, `${spread(hand)}, worker ${perStep('hand')}`);
    say('flow', `as a flow, ${what}`, `${spread(read)}, platform ${perStep('read')}`);
    say('flow', `as a flow of changes, ${what}`, `${spread(change)}, platform ${perStep('change')}`);
    say('flow', 'ratio of the medians (goal ≤ 1.15)', ratio(read, hand));
    say('flow', 'ratio for changes, gate included', ratio(change, hand));
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await connection.close();
  }
}

const ratio = (a, b) => `${(a.p50 / b.p50).toFixed(2)} (of the fastest: ${(a.min / b.min).toFixed(2)})`;

const atomDocument = (name, effect) => ({
  dsl: 'opsloop/v1',
  kind: 'atom',
  name,
  version: '1.0.0',
  title: 'Adds one',
  owner: 'bench',
  effect,
  idempotency: 'native',
  input: { schema: { type: 'object', properties: { value: { type: 'integer' } } } },
  output: { schema: { type: 'object' } },
  worker: { queue: 'bench-atoms', activity: 'bench.noop' },
  timeout: { startToClose: '30s' },
});

const flowDocument = (name, atom) => ({
  dsl: 'opsloop/v1',
  kind: 'flow',
  name,
  version: '1.0.0',
  title: 'A hundred calls',
  owner: 'bench',
  do: Array.from({ length: STEPS }, (_, i) => ({
    id: `s${i}`,
    call: `${atom}@1`,
    with: { value: i === 0 ? 0 : `\${steps.s${i - 1}.output.value}` },
  })),
  output: { value: `\${steps.s${STEPS - 1}.output.value}` },
});
