import { randomUUID } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stepKey, TEMPORAL_NAMES, type CompiledFlow, type Json, type RunInput } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { createFlowWorker, TemporalConnection, WorkerHost } from '@opsloop/temporal';
import { bundleChild, eventually, startHttpTarget, testTemporal, type ChildProgram } from '@opsloop/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';

/** Each costs a start of a process and a missed heartbeat. */
const ITEMS = ['a', 'b'];
let program: ChildProgram;
let cacheDir: string;
beforeAll(async () => {
  program = await bundleChild(new URL('../fixtures/atom-worker.ts', import.meta.url));
  cacheDir = await mkdtemp(join(tmpdir(), 'opsloop-killed-'));
}, 60_000);
afterAll(async () => {
  await program?.close();
  await rm(cacheDir, { recursive: true, force: true });
});

/** Calls of one target, one after the other, each with its item as body. */
function flow(url: string): CompiledFlow {
  const call = { id: 'act', call: 'http.request@1', with: { method: 'POST', url, body: { item: '${item}' } } };
  return {
    ir: 1,
    flow: {
      dsl: 'opsloop/v1',
      kind: 'flow',
      name: 'test/killed',
      version: '1.0.0',
      do: [{ id: 'each', forEach: { in: ITEMS, as: 'item' }, do: [call] }],
    },
    digest: 'd',
    atoms: {
      'http.request@1': {
        name: 'http.request',
        version: '1.0.0',
        effect: 'mutate',
        idempotency: 'native',
        execution: 'activity',
        activity: 'http.request',
        retry: { initialInterval: '50ms', backoffCoefficient: 1, maximumAttempts: 10 },
        timeout: { startToClose: '30s', heartbeat: '1s' },
      },
    },
    flows: {},
  };
}

async function ownNamespace(address: string): Promise<TemporalConnection> {
  const namespace = `killed-${randomUUID().slice(0, 8)}`;
  const temporal = await TemporalConnection.connect({ address, namespace }, new Logger({ logLevel: 'fatal' }));
  const workflowExecutionRetentionPeriod = { seconds: 86_400 as never };
  await temporal.connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod });
  await eventually(() => temporal.check(), { timeoutMs: 30_000, everyMs: 100 });
  return temporal;
}

it('a worker killed after the effect and before its answer: each step is applied once, under one key', async () => {
  const { address } = await testTemporal();
  const temporal = await ownNamespace(address);
  const logger = new Logger({ logLevel: 'fatal' });
  const control = await startHttpTarget(() => ({ body: { asOf: new Date().toISOString(), halts: [] } }));
  let child: ChildProcess;
  let kills = 0;
  const startChild = (): ChildProcess => program.start(address, temporal.namespace, control.url);
  /** What the target has done, by key: it honours the key, as a good target does. */
  const applied = new Map<string, Json[]>();
  const target = await startHttpTarget((call) => {
    const key = String(call.headers['idempotency-key']);
    const first = !applied.has(key);
    applied.set(key, [...(applied.get(key) ?? []), call.body as Json]);
    if (!first) return { body: { done: true } };
    // The effect has happened; whoever asked for it is gone before it hears so.
    kills += 1;
    child.kill('SIGKILL');
    child = startChild();
    return new Promise(() => undefined);
  });
  child = startChild();
  const worker = await createFlowWorker({ temporal, activities: { default: () => null }, cacheDir, log: logger });
  const host = new WorkerHost(temporal, logger);
  host.start('flows', worker);
  try {
    const run = randomUUID();
    const input: RunInput = {
      context: {
        run,
        tenant: 'default',
        flow: 'test/killed',
        version: '1.0.0',
        tier: 'P3',
        initiator: { kind: 'user', name: 'anna' },
        targets: [],
        correlationId: 'c-1',
        hops: 0,
        startedAt: new Date().toISOString(),
      },
      ir: flow(target.url),
      input: {},
      config: {},
    };
    await temporal.client.workflow.execute('test/killed', {
      taskQueue: TEMPORAL_NAMES.flowQueue,
      workflowId: `test.killed.${run}`,
      args: [input],
    });
    expect(kills).toBe(ITEMS.length);
    const keys = ITEMS.map((item) => stepKey(run, `each[${item}]/act`, 0));
    expect([...applied.keys()].sort()).toEqual([...keys].sort());
    // Delivered again after each kill, with the same key and the same content.
    for (const [at, key] of keys.entries()) {
      const bodies = applied.get(key)!;
      expect(bodies.length).toBeGreaterThanOrEqual(2);
      expect(bodies.every((body) => JSON.stringify(body) === JSON.stringify({ item: ITEMS[at] }))).toBe(true);
    }
  } finally {
    await program.killAll();
    await host.onApplicationShutdown();
    await target.close();
    await control.close();
  }
}, 120_000);
