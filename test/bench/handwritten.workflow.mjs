// What somebody would write by hand instead of a flow: the same activity, a hundred times in turn, with the timeouts
// and the retry policy that the flow's calls get.
import { proxyActivities } from '@temporalio/workflow';

const { 'bench.noop': noop } = proxyActivities({
  taskQueue: 'bench-atoms',
  startToCloseTimeout: '30s',
  scheduleToStartTimeout: '10m',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m', maximumAttempts: 5 },
});

export async function handwritten({ steps }) {
  let value = 0;
  for (let i = 0; i < steps; i++) value = (await noop({ input: { value } })).value;
  return { value };
}
