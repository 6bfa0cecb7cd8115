// A worker process of a bench: `node worker.process.mjs <role> <temporal address>`. The hand-written workflow gets a
// process like the platform's, and both sides share one activity worker in a third process.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';

const [role, address] = process.argv.slice(2);
Runtime.install({ shutdownSignals: [], telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } } });

const ROLES = {
  activities: {
    taskQueue: 'bench-atoms',
    activities: {
      'bench.noop': async ({ input }) => ({ value: input.value + 1 }),
      // Tells the bench, which answers with the next signal.
      'bench.heard': async ({ input }) => (process.send({ heard: input.id }), { value: 1 }),
    },
  },
  workflows: {
    taskQueue: 'bench-flows',
    workflowsPath: fileURLToPath(new URL('./handwritten.workflow.mjs', import.meta.url)),
  },
};

const connection = await NativeConnection.connect({ address });
const worker = await Worker.create({ connection, ...ROLES[role] });
const done = worker.run();
// A target for local atoms, as quick as a target can be.
const target = createServer((_request, response) =>
  response.setHeader('content-type', 'application/json').end('{"value":1}'),
);
if (role === 'activities') await new Promise((resolve) => target.listen(0, '127.0.0.1', resolve));
process.send({ ready: true, port: target.address()?.port });
process.once('message', () => worker.shutdown());
process.once('disconnect', () => process.exit(0));
await done;
await connection.close();
process.exit(0);
