import { randomUUID } from 'node:crypto';
import { stepKey, type CompiledFlow, type Json } from '@opsloop/contracts';
import { bundleChild, type ChildProgram } from '@opsloop/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startKilledWorker } from './killed-worker.spec-kit.js';

/** Each costs a start of a process and a missed heartbeat. */
const ITEMS = ['a', 'b'];
let program: ChildProgram;
beforeAll(async () => {
  program = await bundleChild(new URL('../fixtures/atom-worker.ts', import.meta.url));
}, 60_000);
afterAll(async () => {
  await program?.close();
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

it.concurrent(
  'a worker killed after the effect and before its answer: each step is applied once, under one key',
  async () => {
    let kills = 0;
    /** What the target has done, by key: it honours the key, as a good target does. */
    const applied = new Map<string, Json[]>();
    const killed = await startKilledWorker(program, (call, kill) => {
      const key = String(call.headers['idempotency-key']);
      const first = !applied.has(key);
      applied.set(key, [...(applied.get(key) ?? []), call.body as Json]);
      if (!first) return { body: { done: true } };
      // The effect has happened; whoever asked for it is gone before it hears so.
      kills += 1;
      return kill();
    });
    try {
      const run = randomUUID();
      await killed.execute(flow(killed.url), run);
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
      await killed.close();
    }
  },
  120_000,
);

/** Two jobs, one after the other, at one target. */
function jobs(url: string): CompiledFlow {
  const name = 'vm.build';
  const start = { method: 'POST', url: `${url}/jobs`, body: { item: '${input.item}' } };
  const poll = {
    url: `${url}/jobs/\${job.id}`,
    done: { '==': [{ var: 'response.body.state' }, 'done'] },
    output: '${response.body.result}',
  };
  return {
    ir: 1,
    flow: {
      dsl: 'opsloop/v1',
      kind: 'flow',
      name: 'test/killed-job',
      version: '1.0.0',
      do: ITEMS.map((item) => ({ id: item, call: 'vm.build@1', with: { item } })),
      output: ['${steps.a.output}', '${steps.b.output}'],
    },
    digest: 'd',
    atoms: {
      'vm.build@1': {
        name,
        version: '1.0.0',
        effect: 'mutate',
        idempotency: 'native',
        execution: 'activity',
        activity: name,
        job: { every: '100ms', cancels: false },
        retry: { initialInterval: '50ms', backoffCoefficient: 1, maximumAttempts: 10 },
        timeout: { startToClose: '30s', heartbeat: '1s' },
        manifest: { name, version: '1.0.0', job: { start, poll } },
      },
    },
    flows: {},
  };
}

it.concurrent(
  'a worker killed between the start of a job and its end: the job is found again and submitted once',
  async () => {
    const kills = { start: 0, poll: 0 };
    /** Jobs by the key they were submitted under, and how often each was asked for. */
    const submitted = new Map<string, { item: string; submits: number; polls: number }>();
    const killed = await startKilledWorker(program, (call, kill) => {
      const killedIn = (phase: keyof typeof kills): Promise<never> => {
        kills[phase] += 1;
        return kill();
      };
      if (call.method === 'POST') {
        const key = String(call.headers['idempotency-key']);
        const item = (call.body as { item: string }).item;
        const job = submitted.get(key) ?? { item, submits: 0, polls: 0 };
        job.submits += 1;
        submitted.set(key, job);
        // The second job exists, but nobody hears its id; its worker's successor asks again, under the same key.
        return item === 'b' && job.submits === 1 ? killedIn('start') : { body: { id: key } };
      }
      const job = submitted.get(call.path.split('/').at(-1)!)!;
      job.polls += 1;
      // The first job was started and journaled; its worker dies while it asks how the job stands.
      if (job.item === 'a' && job.polls === 1) return killedIn('poll');
      return { body: job.polls < 3 ? { state: 'running' } : { state: 'done', result: `image of ${job.item}` } };
    });
    try {
      const run = randomUUID();
      expect(await killed.execute(jobs(killed.url), run)).toEqual(['image of a', 'image of b']);
      expect(kills).toEqual({ start: 1, poll: 1 });
      const keys = ITEMS.map((item) => stepKey(run, item, 0));
      expect([...submitted.keys()].sort()).toEqual([...keys].sort());
      expect(submitted.get(keys[0]!)).toMatchObject({ item: 'a', submits: 1 });
      expect(submitted.get(keys[1]!)).toMatchObject({ item: 'b', submits: 2 });
    } finally {
      await killed.close();
    }
  },
  120_000,
);
