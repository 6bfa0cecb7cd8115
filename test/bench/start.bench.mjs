// From the POST of an event to the start of its workflow, as a multiple of a bare workflow.start on the same server.
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { until } from '../../tools/api.mjs';
import { alternate, ms, summary } from './stats.mjs';

const ROUNDS = 60;
void fileURLToPath;

export async function benchStart({ stack, api }) {
  const connection = await Connection.connect({ address: stack.temporalAddress });
  const client = new Client({ connection });
  await api.put('/v1/flows/bench/nothing', NOTHING);
  await api.post('/v1/flows/bench/nothing/publish', { version: '1.0.0' });
  await api.put('/v1/rules/bench/on-event', RULE);
  const session = Date.now();
  const bare = async (i) => {
    const began = performance.now();
    // A queue that nobody polls: the start itself is measured.
    await client.workflow.start('nothing', { taskQueue: 'bench-nobody', workflowId: `bench-bare-${session}-${i}`, args: [] });
    return performance.now() - began;
  };
  const event = async (i) => {
    const began = Date.now();
    const subject = `bench/thing-${session}-${i}`;
    const body = { specversion: '1.0', id: `${session}-${i}`, source: 'bench', type: 'bench.happened', subject, data: {} };
    const post = performance.now();
    await api.post('/v1/events', JSON.stringify(body), { 'content-type': 'application/cloudevents+json' });
    const accepted = performance.now() - post;
    const run = await until('the run', async () => (await api.get(`/v1/runs?under=${subject}`)).items.find((r) => r.workflowId), 10_000, 20);
    const { startTime } = await client.workflow.getHandle(run.workflowId).describe();
    return { total: startTime.getTime() - began, accepted };
  };
  try {
    await bare('warm');
    for (let i = 0; i < 5; i++) await event(`warm${i}`);
    const [bares, events] = await alternate(ROUNDS, bare, event);
    const b = summary(bares);
    const e = summary(events.map((x) => x.total));
    const a = summary(events.map((x) => x.accepted));
    process.stdout.write(
      `start   ${ROUNDS} rounds: bare workflow.start p50 ${ms(b.p50)} (p90 ${ms(b.p90)}), event → workflow started p50 ${ms(e.p50)} (p90 ${ms(e.p90)}, of it the 202 ${ms(a.p50)}); ratio ${(e.p50 / b.p50).toFixed(2)}\n`,
    );
  } finally {
    await connection.close();
  }
}

const NOTHING = {
  dsl: 'opsloop/v1', kind: 'flow', name: 'bench/nothing', version: '1.0.0', title: 'Ends at once', owner: 'bench',
  input: { schema: { type: 'object', properties: { thing: { type: 'string' } } } },
  targets: '${input.thing}',
  do: [{ id: 'end', return: {} }],
};

const RULE = {
  dsl: 'opsloop/v1', kind: 'rule', name: 'bench/on-event', version: '1.0.0', title: 'Starts for every event', owner: 'bench', mode: 'active',
  on: [{ type: 'bench.happened', subject: 'bench/*' }],
  branches: [{ id: 'default', ladder: [{ id: 'go', run: 'bench/nothing@1', with: { thing: '${resource.path}' } }] }],
};
