/**
 * Flows of the largest sizes on a real server and one worker: they complete, nothing is done twice, the state stays
 * bounded and Temporal's limits end none of them. Says how long each took and how much memory its worker had.
 */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { Harness, type Run } from '../../libs/workflows/test/harness.js';

const SCALE = Number(process.env['LONG_FLOWS_SCALE']);
const MB = 1024 * 1024;
/** The promise for a worker; this process also holds the spec and what it recorded. */
const RSS_MB_MAX = 600;

let h: Harness;
let peak = 0;
let watch: NodeJS.Timeout;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
beforeEach(() => {
  h.reset();
  peak = 0;
  clearInterval(watch);
  watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss / MB)), 250);
  watch.unref();
});

async function ends(name: string, run: Run, steps: number): Promise<unknown> {
  const began = Date.now();
  const end = await run.end();
  const seconds = (Date.now() - began) / 1000;
  const continued = await run.continued();
  console.info(
    `${name}: ${steps} steps in ${seconds.toFixed(0)} s (${((seconds * 1000) / steps).toFixed(2)} ms each), ${continued} new Temporal runs, worker at most ${peak.toFixed(0)} MB`,
  );
  expect(end.status).toBe('succeeded');
  expect(peak).toBeLessThan(RSS_MB_MAX);
  return end.output;
}

it('10,000 items, 100 at a time', async () => {
  const count = Math.round(10_000 * SCALE);
  const seen = new Set<number>();
  let twice = 0;
  h.onQuietly('a.go', (call) => {
    const n = call.input as unknown as number;
    if (seen.has(n)) twice += 1;
    seen.add(n);
    return { n };
  });
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
  expect([seen.size, twice]).toEqual([count, 0]);
});

it('a loop of 100,000 steps', async () => {
  const count = Math.round(100_000 * SCALE);
  let calls = 0;
  h.onQuietly('a.turn', () => ({ n: (calls += 1) }));
  const run = await h.run(
    {
      do: [{ id: 'l', loop: { max: { iterations: count } }, do: [{ id: 'turn', call: 'a.turn@1' }] }],
      output: '${steps.l.output.iterations}',
    },
    { atoms: { 'a.turn@1': { execution: 'local', effect: 'read' } } },
  );
  expect(await ends('loop', run, count)).toBe(count);
  // A local step may be repeated when its workflow task is; it is a read.
  expect(calls).toBeGreaterThanOrEqual(count);
});
