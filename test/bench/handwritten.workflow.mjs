// What somebody would write by hand instead of a flow: the same activities, with the timeouts and the retry policy that
// the flow's calls get.
import { condition, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow';

const { 'bench.noop': noop, 'bench.heard': heard } = proxyActivities({
  taskQueue: 'bench-atoms',
  startToCloseTimeout: '30s',
  scheduleToStartTimeout: '10m',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m', maximumAttempts: 5 },
});

/** One call after the other. */
export async function handwritten({ steps }) {
  let value = 0;
  for (let i = 0; i < steps; i++) value = (await noop({ input: { value } })).value;
  return { value };
}

/** All calls at once. */
export async function handwrittenFanOut({ steps }) {
  const values = await Promise.all(Array.from({ length: steps }, () => noop({ input: { value: 0 } })));
  return { value: values.reduce((sum, { value }) => sum + value, 0) };
}

/** One call per signal; like a flow's wait, each of them has a bound. */
export async function handwrittenSignals({ steps, id }) {
  let signals = 0;
  setHandler(defineSignal('tick'), () => void (signals += 1));
  let value = 0;
  for (let i = 0; i < steps; i++) {
    await condition(() => signals > i, '1h');
    value += (await heard({ input: { id } })).value;
  }
  return { value };
}
