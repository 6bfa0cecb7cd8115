// A worker process of a bench: `node worker.process.mjs <role> <temporal address> <namespace>`. The hand-written workflow
// and the interpreter get a process each, which does nothing else, and another one makes the calls of both.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { outputProblem } from '@opsloop/dsl';
import { TemporalConnection, createFlowWorker } from '@opsloop/temporal';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [role, address, namespace] = process.argv.slice(2);
const log = { debug() {}, info() {}, warn() {}, error: console.error };
// The interpreter's worker brings its own.
if (role !== 'interpreter')
  Runtime.install({
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } },
  });

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

const temporal = role === 'interpreter' ? await TemporalConnection.connect({ address, namespace }, log) : undefined;
const connection = temporal?.connection ?? (await NativeConnection.connect({ address }));
const worker =
  temporal !== undefined
    ? await createFlowWorker({
        temporal,
        activities: {
          'opsloop.reportOutcome': async () => {},
          'opsloop.checkOutput': async ({ atom, schema, output }) => {
            const wrong = outputProblem(schema, output, atom);
            if (wrong !== undefined) throw wrong;
          },
        },
        cacheDir: join(tmpdir(), 'opsloop-bench'),
        log,
      })
    : await Worker.create({ connection, namespace, ...ROLES[role] });
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
