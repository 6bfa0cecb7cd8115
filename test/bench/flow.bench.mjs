// Flows against hand-written workflows of the same activities: same server, same activity worker, same timeouts and
// retries, in turn. Times are the server's, from start to close, so a flow's include what the platform adds at the end
// (the closing report). Three shapes: one call after the other, all at once, one per signal. Beside them a flow whose
// atom changes something: the platform then asks before every call whether a halt stands in the way, which nobody writes
// by hand; and a flow of quick atoms that run as local activities. The same flows run once more on an interpreter in a
// process of its own, beside which nothing of the platform runs: what a worker of ours takes against a worker of yours.
import { randomUUID } from 'node:crypto';
import { compileFlow } from '@opsloop/dsl';
import { Client, Connection } from '@temporalio/client';
import { until } from '../../tools/api.mjs';
import { startWorkerProcess } from './child.mjs';
import { alternate, cpuSeconds, ms, say, spread, summary } from './stats.mjs';

const STEPS = 100;
/** A signal is answered by the next; 50 of them take as long as 100 calls. */
const SIGNALS = 50;
/** A round of all shapes takes 12–18 s; with 10 the medians of two runs differ by about 3 %. */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 10);
/** Unmeasured: caches, the bundles, the optimising compiler. */
const WARM_ROUNDS = Math.min(3, ROUNDS);
/** Where the interpreter works alone: the platform's own polls the same queues. */
const ALONE = 'bench-alone';

export async function benchFlow({ stack, api }) {
  const address = stack.temporalAddress;
  const connection = await Connection.connect({ address });
  await makeNamespace(connection);
  const calls = await startWorkerProcess('activities', address);
  const hand = await startWorkerProcess('workflows', address);
  const callsAlone = await startWorkerProcess('activities', address, ALONE);
  const alone = await startWorkerProcess('interpreter', address, ALONE);
  const client = new Client({ connection });
  const clientAlone = new Client({ connection, namespace: ALONE });
  try {
    const atoms = atomDocuments(calls.ready.port);
    await publish(api, atoms);
    const results = await measure({ client, clientAlone, api, stack, atoms, calls, hand, callsAlone, alone });
    print(results);
  } finally {
    await Promise.all([calls, hand, callsAlone, alone].map((worker) => worker.stop()));
    await connection.close();
  }
}

async function makeNamespace(connection) {
  const workflowExecutionRetentionPeriod = { seconds: 86_400 };
  await connection.workflowService.registerNamespace({ namespace: ALONE, workflowExecutionRetentionPeriod });
  const known = () =>
    new Client({ connection, namespace: ALONE }).workflow.count().then(
      () => true,
      () => undefined,
    );
  await until('the namespace', known, 30_000, 100);
}

function atomDocuments(port) {
  const local = {
    execution: 'local',
    http: { method: 'GET', url: `http://127.0.0.1:${port}/`, output: '${response.body}' },
  };
  return [
    atomDocument('bench.noop', 'read'),
    atomDocument('bench.noop-change', 'mutate'),
    atomDocument('bench.heard', 'read', { worker: { queue: 'bench-atoms', activity: 'bench.heard' } }),
    { ...atomDocument('bench.quick', 'read', local), timeout: { startToClose: '5s' } },
  ];
}

async function publish(api, atoms) {
  for (const atom of atoms) await api.put(`/v1/atoms/${atom.name}`, atom);
  for (const flow of FLOWS) {
    await api.put(`/v1/flows/${flow.name}`, flow);
    await api.post(`/v1/flows/${flow.name}/publish`, { version: '1.0.0' });
  }
}

async function measure({ client, clientAlone, api, stack, atoms, calls, hand, callsAlone, alone }) {
  const session = Date.now();
  const timed = async (handle, wanted) => {
    const result = await handle.result();
    if (result.value !== wanted) throw new Error(`${handle.workflowId} counted to ${result.value}, not ${wanted}`);
    const { startTime, closeTime } = await handle.describe();
    return closeTime.getTime() - startTime.getTime();
  };
  const startHand = (type, i, args) =>
    client.workflow.start(type, {
      taskQueue: 'bench-flows',
      workflowId: `bench-${type}-${session}-${i}`,
      args: [args],
    });
  const startFlow = async (name, input = {}) => {
    const run = await api.post(`/v1/catalog/${name}/runs`, { input });
    const handle = client.workflow.getHandle(`${name.replace('/', '.')}.${run.id}`);
    // Asked of Temporal: the platform would ask the workflow for its steps, which nobody does by hand.
    await until('the workflow to start', () => handle.describe().catch(() => undefined), 10_000, 5);
    return handle;
  };
  const startAlone = (name, input = {}) => {
    const context = contextOf(name);
    const doc = FLOWS.find((flow) => flow.name === name);
    const { compiled, findings } = compileFlow(doc, (ref) => atoms.find((atom) => ref.startsWith(`${atom.name}@`)));
    if (compiled === undefined) throw new Error(`${name} does not compile: ${JSON.stringify(findings)}`);
    return clientAlone.workflow.start(name, {
      taskQueue: 'opsloop-flows',
      workflowId: `${name.replace('/', '.')}.${context.run}`,
      args: [{ context, ir: compiled, input, config: {} }],
    });
  };
  /** Sends a signal whenever the call after the one before was made. */
  const signalled = async (start, signal) => {
    const id = randomUUID();
    const handle = await start(id);
    let sent = 1;
    const failed = new Promise((_, reject) => {
      waiters.set(id, () => {
        if (sent < SIGNALS) signal(handle, (sent += 1)).catch(reject);
      });
    });
    await signal(handle, 1);
    const time = await Promise.race([timed(handle, SIGNALS), failed]);
    waiters.delete(id);
    return time;
  };
  const waiters = new Map();
  for (const worker of [calls, callsAlone]) worker.listen(({ heard }) => waiters.get(heard)?.());
  const event = (n) => ({
    eventId: randomUUID(),
    id: randomUUID(),
    source: 'bench',
    type: 'bench.tick',
    time: new Date().toISOString(),
    data: { n },
  });

  const works = {
    hand: async (i) => timed(await startHand('handwritten', i, { steps: STEPS }), STEPS),
    read: async () => timed(await startFlow('bench/reads'), STEPS),
    change: async () => timed(await startFlow('bench/changes'), STEPS),
    local: async () => timed(await startFlow('bench/local'), 1),
    handFan: async (i) => timed(await startHand('handwrittenFanOut', i, { steps: STEPS }), STEPS),
    parallel: async () => timed(await startFlow('bench/parallel'), 1),
    forEach: async () => timed(await startFlow('bench/for-each'), 1),
    handSignals: (i) =>
      signalled(
        (id) => startHand('handwrittenSignals', i, { steps: SIGNALS, id }),
        (handle) => handle.signal('tick'),
      ),
    signals: () =>
      signalled(
        (id) => startFlow('bench/signals', { id }),
        (handle, n) => handle.signal('events', { events: [event(n)] }),
      ),
    aloneRead: async () => timed(await startAlone('bench/reads'), STEPS),
    aloneParallel: async () => timed(await startAlone('bench/parallel'), 1),
    aloneForEach: async () => timed(await startAlone('bench/for-each'), 1),
    aloneSignals: () =>
      signalled(
        (id) => startAlone('bench/signals', { id }),
        (handle, n) => handle.signal('events', { events: [event(n)] }),
      ),
  };
  const pid = (name) => (name.startsWith('hand') ? hand : name.startsWith('alone') ? alone : stack).pid;
  const cpu = {};
  const counted = (name) => async (i) => {
    const before = cpuSeconds(pid(name));
    const time = await works[name](i);
    cpu[name] = (cpu[name] ?? 0) + ((cpuSeconds(pid(name)) ?? NaN) - before);
    return time;
  };
  for (let i = 0; i < WARM_ROUNDS; i++) for (const work of Object.values(works)) await work(`warm${i}`);
  const times = await alternate(ROUNDS, ...Object.keys(works).map(counted));
  return Object.fromEntries(
    Object.keys(works).map((name, i) => [name, { ...summary(times[i]), cpu: (cpu[name] * 1_000) / ROUNDS }]),
  );
}

function print(r) {
  const line = (name, what, steps, who) =>
    say('flow', `${what}, ${steps} × ${ROUNDS}`, `${spread(r[name])}, ${who} ${ms(r[name].cpu / steps)} ms CPU a step`);
  line('hand', 'in turn, by hand', STEPS, 'worker');
  line('read', 'in turn, as a flow', STEPS, 'platform');
  line('change', 'in turn, as a flow of changes', STEPS, 'platform');
  line('local', 'in turn, as a flow of local atoms', STEPS, 'platform');
  line('handFan', 'at once, by hand', STEPS, 'worker');
  line('parallel', 'at once, as a parallel', STEPS, 'platform');
  line('forEach', 'at once, as a forEach', STEPS, 'platform');
  line('handSignals', 'per signal, by hand', SIGNALS, 'worker');
  line('signals', 'per event, as a flow', SIGNALS, 'platform');
  const alone = (name, what, steps) => line(name, `${what}, the interpreter alone`, steps, 'worker');
  alone('aloneRead', 'in turn', STEPS);
  alone('aloneParallel', 'at once, parallel', STEPS);
  alone('aloneForEach', 'at once, forEach', STEPS);
  alone('aloneSignals', 'per event', SIGNALS);
  say('flow', 'ratio in turn (goal ≤ 1.05)', ratio(r.read, r.hand, r.aloneRead));
  say('flow', 'ratio at once, parallel (goal ≤ 1.05)', ratio(r.parallel, r.handFan, r.aloneParallel));
  say('flow', 'ratio at once, forEach (goal ≤ 1.05)', ratio(r.forEach, r.handFan, r.aloneForEach));
  say('flow', 'ratio per event (goal ≤ 1.05)', ratio(r.signals, r.handSignals, r.aloneSignals));
  say('flow', 'ratio for changes, gate included', ratio(r.change, r.hand));
  say('flow', 'ratio for local atoms (goal ≤ 0.4)', ratio(r.local, r.hand));
}

/** `alone`: the same flow on a worker that does nothing else. */
const ratio = (a, b, alone) =>
  [
    `${(a.p50 / b.p50).toFixed(2)} (of the fastest: ${(a.min / b.min).toFixed(2)})`,
    ...(alone === undefined ? [] : [`CPU of the worker ${(alone.cpu / b.cpu).toFixed(2)} (goal ≤ 1.5)`]),
    `CPU of the whole platform ${(a.cpu / b.cpu).toFixed(2)}`,
  ].join(', ');

function contextOf(flow) {
  return {
    run: randomUUID(),
    tenant: 'default',
    flow,
    version: '1.0.0',
    tier: 'P3',
    initiator: { kind: 'user', name: 'bench' },
    targets: [],
    correlationId: 'bench',
    hops: 0,
    startedAt: new Date().toISOString(),
  };
}

const atomDocument = (name, effect, more = { worker: { queue: 'bench-atoms', activity: 'bench.noop' } }) => ({
  dsl: 'opsloop/v1',
  kind: 'atom',
  name,
  version: '1.0.0',
  title: 'Adds one',
  owner: 'bench',
  effect,
  idempotency: 'native',
  output: { schema: { type: 'object' } },
  timeout: { startToClose: '30s' },
  ...more,
});

const flowDocument = (name, steps, output, more = {}) => ({
  dsl: 'opsloop/v1',
  kind: 'flow',
  name,
  version: '1.0.0',
  title: 'A hundred calls',
  owner: 'bench',
  do: steps,
  output: { value: output },
  ...more,
});

const count = (n, step) => Array.from({ length: n }, (_, i) => step(i));
const chain = (atom) =>
  count(STEPS, (i) => ({
    id: `s${i}`,
    call: `${atom}@1`,
    with: { value: i === 0 ? 0 : `\${steps.s${i - 1}.output.value}` },
  }));

const FLOWS = [
  flowDocument('bench/reads', chain('bench.noop'), `\${steps.s${STEPS - 1}.output.value}`),
  flowDocument('bench/changes', chain('bench.noop-change'), `\${steps.s${STEPS - 1}.output.value}`),
  flowDocument('bench/local', chain('bench.quick'), `\${steps.s${STEPS - 1}.output.value}`),
  flowDocument(
    'bench/parallel',
    [{ id: 'all', parallel: {}, do: count(STEPS, (i) => ({ id: `s${i}`, call: 'bench.noop@1', with: { value: 0 } })) }],
    1,
  ),
  flowDocument(
    'bench/for-each',
    [
      {
        id: 'each',
        forEach: { in: { $literal: count(STEPS, (i) => `i${i}`) }, as: 'item', concurrency: STEPS },
        do: [{ id: 'one', call: 'bench.noop@1', with: { value: 0 } }],
      },
    ],
    1,
  ),
  flowDocument(
    'bench/signals',
    count(SIGNALS, (i) => [
      { id: `w${i}`, waitForEvent: { one: { type: 'bench.tick' }, timeout: '1h' } },
      { id: `s${i}`, call: 'bench.heard@1', with: { id: '${input.id}' } },
    ]).flat(),
    SIGNALS,
    { input: { schema: { type: 'object', required: ['id'], properties: { id: { type: 'string' } } } } },
  ),
];
