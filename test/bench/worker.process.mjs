// A worker process of a bench: `node worker.process.mjs <role> <temporal address>`. The hand-written workflow gets a
// process like the platform's, and both sides share one activity worker in a third process.
import { fileURLToPath } from 'node:url';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';

const [role, address] = process.argv.slice(2);
Runtime.install({ shutdownSignals: [], telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } } });

const ROLES = {
  activities: {
    taskQueue: 'bench-atoms',
    activities: { 'bench.noop': async ({ input }) => ({ value: input.value + 1 }) },
  },
  workflows: {
    taskQueue: 'bench-flows',
    workflowsPath: fileURLToPath(new URL('./handwritten.workflow.mjs', import.meta.url)),
  },
};

const connection = await NativeConnection.connect({ address });
const worker = await Worker.create({ connection, ...ROLES[role] });
const done = worker.run();
process.send({ ready: true });
process.once('message', () => worker.shutdown());
process.once('disconnect', () => process.exit(0));
await done;
await connection.close();
process.exit(0);
