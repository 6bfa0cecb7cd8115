/** Local activities that last longer than a workflow task, while other things of the run go on. */
import { Worker } from '@temporalio/worker';
import { expect, it, onTestFinished } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, workflowBundle } from '../test/harness.js';

/** Of Temporal's EventType. */
const WORKFLOW_TASK_STARTED = 6;
const TIMER_FIRED = 18;

it('what follows one is in the same order for a worker that replays the run', { timeout: 60_000 }, async () => {
  const h = await Harness.start();
  onTestFinished(() => h.stop());
  let answer!: () => void;
  const answered = new Promise<void>((resolve) => (answer = resolve));
  h.on(TEMPORAL_NAMES.claimActivity, () => answered.then(() => ({ granted: true, fence: '77' })));
  const run = await h.run(
    {
      do: [
        {
          id: 'p',
          parallel: {},
          do: [
            {
              id: 'locked',
              do: [{ id: 'x', call: 'a.x@1' }],
              lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] },
            },
            // Deeper than the other branch: what follows the timer takes longer to its next command.
            {
              id: 'other',
              do: [
                { id: 'd', do: [{ id: 'e', do: [{ id: 'w', wait: { for: '20ms' } }] }] },
                { id: 'y', call: 'a.y@1' },
              ],
            },
          ],
        },
      ],
    },
    { taskTimeout: '3s' },
  );
  // A task ends without the claim after 2.4 s, and starts the timer; the next one, after 2.4 s more, lets its end in.
  await eventually(
    async () => {
      const { events = [] } = await run.handle.fetchHistory();
      const fired = events!.findIndex(({ eventType }) => eventType === TIMER_FIRED);
      expect(fired).toBeGreaterThan(0);
      expect(events!.slice(fired).some(({ eventType }) => eventType === WORKFLOW_TASK_STARTED)).toBe(true);
      expect(run.calls()).toEqual([]);
    },
    { timeoutMs: 30_000 },
  );
  answer();
  expect(await run.end()).toMatchObject({ status: 'succeeded' });
  expect(run.calls().sort()).toEqual(['a.x:p/locked/x', 'a.y:p/other/y']);
  await Worker.runReplayHistory(
    { workflowBundle: await workflowBundle() },
    await run.handle.fetchHistory(),
    run.handle.workflowId,
  );
});
