/** Workers that forget everything, at every task and at random moments, while the run is steered and continues as new. */
import { expect, it } from 'vitest';
import type { SteerAct, Step } from '@opsloop/contracts';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness } from '../test/harness.js';
import { seedsOfKills } from '../test/sizes.config.js';

const call = (id: string, atom = `a.${id}@1`): Step => ({ id, call: atom });

/** The same numbers on every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

// Side by side, each with workers of its own: most of the time is waiting for tasks that were lost with a worker.
it.concurrent.for(seedsOfKills)(
  'loses and repeats nothing (seed %i)',
  { timeout: 180_000 },
  async (seed, { onTestFinished }) => {
    const h = await Harness.start({ cache: 0 });
    onTestFinished(() => h.stop());
    const random = seeded(seed);
    const hosts = Array.from({ length: 8 }, (_, i) => `h${i}`);
    const run = await h.run(
      {
        vars: { done: 0 },
        do: [
          {
            id: 'each',
            forEach: {
              in: '${input.hosts}',
              as: 'host',
              concurrency: 3,
              batch: { size: 4 },
              collect: '${steps.fix.output.of}',
            },
            do: [
              {
                id: 't',
                try: [
                  call('drain'),
                  { id: 'p', parallel: {}, do: [call('a'), { id: 'w', wait: { for: '40ms' } }] },
                  { id: 'fix', call: 'a.fix@1', with: { of: '${host}' } },
                ],
                finally: [call('close')],
              },
              { id: 'count', set: { done: '${host}' } },
            ],
          },
          {
            id: 'crit',
            do: [{ id: 'l', loop: { max: { iterations: 6 }, every: '10ms' }, do: [call('turn')] }],
            lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] },
          },
        ],
        output: '${steps.each.output}',
      },
      { input: { hosts }, continueAfter: 70, taskTimeout: '3s' },
    );
    h.on('a.fix', (c) => c.input);
    const acts: SteerAct[] = [
      { act: 'pause', scope: 'flow' },
      { act: 'resume' },
      { act: 'setConcurrency', path: 'each', concurrency: 1 },
      { act: 'pause', scope: 'afterBatch' },
      { act: 'setConcurrency', path: 'each', concurrency: 4 },
      { act: 'resume' },
      { act: 'skip', path: 'crit/l[6]/turn', output: 'by hand' },
    ];
    for (const act of acts) {
      const steps = h.recorded.length;
      if (act.act !== 'resume')
        // Each task replays all, and a stopped worker's waits a moment for the next one.
        await eventually(() => expect(h.recorded.length).toBeGreaterThanOrEqual(Math.min(steps + 2, 8)), {
          timeoutMs: 40_000,
        });
      await run.steer(act);
      if (random() < 0.6) {
        await h.stopWorkers();
        await h.startWorkers();
      }
    }
    expect(await run.end()).toEqual({ status: 'succeeded', output: hosts });
    await run.hasContinued(3);
    const seen = run.calls();
    expect(seen.filter((one, at) => seen.indexOf(one) !== at)).toEqual([]);
    // Eight items of four calls each, and five of the six turns.
    expect(seen).toHaveLength(8 * 4 + 5);
    const claims = h.recorded.map((r) => r.type);
    expect(claims.filter((t) => t === TEMPORAL_NAMES.claimActivity)).toHaveLength(1);
    expect(claims.filter((t) => t === TEMPORAL_NAMES.releaseActivity)).toHaveLength(1);
  },
);
