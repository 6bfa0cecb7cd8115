// The interpreter and its atoms in a process of their own, so that its memory is a worker's and nobody else's:
// `node interpreter.process.mjs <temporal address> <namespace>`. Answers every message with what it has seen since the last.
import { TemporalConnection, createFlowWorker, installRuntime } from '@opsloop/temporal';
import { Worker } from '@temporalio/worker';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [address, namespace] = process.argv.slice(2);
const log = { debug() {}, info() {}, warn() {}, error: console.error };
installRuntime(log);
const temporal = await TemporalConnection.connect({ address, namespace }, log);

let peak = 0;
let seen = new Map();
const once = async ({ input, context }) => {
  seen.set(context.step, (seen.get(context.step) ?? 0) + 1);
  return { n: input };
};
const activities = { 'a.go': once, 'a.turn': once, 'opsloop.reportOutcome': async () => {} };
const flows = await createFlowWorker({ temporal, activities, log, cacheDir: join(tmpdir(), 'opsloop-long-flows') });
const atoms = await Worker.create({
  connection: temporal.connection,
  namespace,
  taskQueue: 'opsloop-atoms',
  activities,
});
const running = Promise.all([flows.run(), atoms.run()]);
setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 100).unref();
process.on('message', () => {
  const twice = [...seen.values()].filter((n) => n > 1).length;
  process.send({ calls: seen.size, twice, peakMb: Math.round(peak / 2 ** 20) });
  seen = new Map();
  peak = 0;
});
process.once('disconnect', () => process.exit(0));
process.send('ready');
await running;
