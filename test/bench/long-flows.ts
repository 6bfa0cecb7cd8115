/**
 * Flows of the largest sizes on a real server and one worker process: they complete, nothing is done twice, the state
 * stays bounded and Temporal's limits end none of them. Says how long each took and how much memory its worker had.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { interpreterSandbox, runVirtually } from '@opsloop/flowtest';
import { testTemporal } from '@opsloop/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Harness, compiled, type Run } from '../../libs/workflows/test/harness.js';

const SCALE = Number(process.env['LONG_FLOWS_SCALE']);
/** The promise for a worker. */
const RSS_MB_MAX = 600;

interface Seen {
  calls: number;
  twice: number;
  peakMb: number;
}

let h: Harness;
let worker: ChildProcess;
beforeAll(async () => {
  h = await Harness.start();
  await h.stopWorkers();
  const { address } = await testTemporal();
  const file = fileURLToPath(new URL('./interpreter.process.mjs', import.meta.url));
  worker = fork(file, [address, h.namespace], { execArgv: [] });
  await once(worker, 'message');
});
afterAll(async () => {
  worker?.disconnect();
  await h?.stop();
});

async function ends(name: string, run: Run, steps: number, calls = steps): Promise<unknown> {
  const began = Date.now();
  const end = await run.end();
  const seconds = (Date.now() - began) / 1000;
  worker.send('how');
  const [seen] = (await once(worker, 'message')) as [Seen];
  console.info(
    `${name}: ${steps} steps in ${seconds.toFixed(0)} s (${((seconds * 1000) / steps).toFixed(2)} ms each), ${await run.continued()} new Temporal runs, worker at most ${seen.peakMb} MB`,
  );
  expect(end.status).toBe('succeeded');
  expect(seen).toMatchObject({ calls, twice: 0 });
  expect(seen.peakMb).toBeLessThan(RSS_MB_MAX);
  return end.output;
}

it('10,000 items, 100 at a time', async () => {
  const count = Math.round(10_000 * SCALE);
  const run = await h.run(
    {
      do: [
        {
          id: 'each',
          forEach: { in: '${input.list}', as: 'n', concurrency: 100, collect: '${steps.go.output.n}' },
          do: [{ id: 'go', call: 'a.go@1', with: '${n}' }],
        },
      ],
      output: { $logic: { length: { var: 'steps.each.output' } } },
    },
    { input: { list: Array.from({ length: count }, (_, i) => i) } },
  );
  expect(await ends('forEach', run, count)).toBe(count);
});

it('a loop of 100,000 steps', async () => {
  const count = Math.round(100_000 * SCALE);
  const run = await h.run(
    {
      do: [
        {
          id: 'l',
          loop: { max: { iterations: count } },
          do: [{ id: 'turn', call: 'a.turn@1', with: '${iteration}' }],
        },
      ],
      output: '${steps.l.output.iterations}',
    },
    { atoms: { 'a.turn@1': { execution: 'local', effect: 'read' } } },
  );
  expect(await ends('loop', run, count)).toBe(count);
});

it('a loop of 100,000 steps, of which every fifth calls an atom', async () => {
  const turns = Math.round(20_000 * SCALE);
  const run = await h.run(
    {
      vars: { n: 0 },
      do: [
        {
          id: 'l',
          loop: { max: { iterations: turns } },
          do: [
            { id: 'turn', call: 'a.turn@1', with: '${iteration}' },
            ...['a', 'b', 'c', 'd'].map((id) => ({ id, set: { n: { $logic: { '+': [{ var: 'vars.n' }, 1] } } } })),
          ],
        },
      ],
      output: '${vars.n}',
    },
    { atoms: { 'a.turn@1': { execution: 'local', effect: 'read' } } },
  );
  expect(await ends('mixed loop', run, 5 * turns, turns)).toBe(4 * turns);
});

it('a loop of 100,000 steps that wait for nothing', async () => {
  const turns = Math.round(100_000 * SCALE);
  const run = await h.run({
    vars: { n: 0 },
    do: [
      {
        id: 'l',
        loop: { max: { iterations: turns } },
        do: [{ id: 'count', set: { n: { $logic: { '+': [{ var: 'vars.n' }, 1] } } } }],
      },
    ],
    output: '${vars.n}',
  });
  expect(await ends('counting loop', run, turns, 0)).toBe(turns);
});

it('5,000 signals, an event each', async () => {
  const count = Math.round(5_000 * SCALE);
  const run = await h.run({
    vars: { sum: 0 },
    do: [
      {
        id: 'l',
        loop: { max: { iterations: count } },
        do: [
          { id: 'got', waitForEvent: { one: { type: 'a.tick' }, timeout: '1h' } },
          { id: 'add', set: { sum: { $logic: { '+': [{ var: 'vars.sum' }, { var: 'steps.got.output.data.n' }] } } } },
        ],
      },
    ],
    output: '${vars.sum}',
  });
  const signal = (n: number): Promise<void> => {
    const id = `tick-${n}`;
    const event = { eventId: id, id, source: 'clock', type: 'a.tick', time: '2026-01-01T00:00:00.000Z', data: { n } };
    return run.handle.signal(TEMPORAL_NAMES.eventsSignal, { events: [event] });
  };
  // Faster than the flow takes them, so that most of them are kept, also from one Temporal run to the next.
  for (let n = 1; n <= count; n += 50)
    await Promise.all(Array.from({ length: Math.min(50, count + 1 - n) }, (_, i) => signal(n + i)));
  // None is lost and none counts twice.
  expect(await ends('signals', run, 2 * count, 0)).toBe((count * (count + 1)) / 2);
});

it('24 h of waits, a minute each, in virtual time', async () => {
  const turns = Math.round(1_440 * SCALE);
  const began = Date.now();
  const sandbox = await interpreterSandbox(join(tmpdir(), 'opsloop-long-flows'));
  const { status, output, tookMs, continued } = runVirtually(sandbox, {
    ir: compiled({
      do: [{ id: 'l', loop: { max: { iterations: turns } }, do: [{ id: 'rest', wait: { for: '1m' } }] }],
      output: '${steps.l.output.iterations}',
    }),
    answer: () => undefined,
  });
  console.info(`waits: ${tookMs / 3_600_000} h in ${(Date.now() - began) / 1000} s, ${continued} new Temporal runs`);
  expect({ status, output }).toEqual({ status: 'succeeded', output: turns });
  expect(tookMs).toBeGreaterThanOrEqual(turns * 60_000);
});
