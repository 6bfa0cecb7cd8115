// From the POST of an event to the start of its workflow, as a multiple of a bare workflow.start on the same server.
// The clock of both ends when the server has answered the start; the hops in between are read from what the parts
// write down anyway (times of the log messages, clock of the same machine).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { until } from '../../tools/api.mjs';
import { alternate, nowMs, say, spread, summary } from './stats.mjs';

/** With 100 rounds the p50 of two runs differ by about 5 %; a p99 of 100 values is their maximum but one. */
const ROUNDS = 100;
/** Until both ends run compiled code: V8 optimises a function after some hundred calls. */
const WARM_ROUNDS = 400;
const WARM_AT_ONCE = 8;

export async function benchStart({ stack, api }) {
  const connection = await Connection.connect({ address: stack.temporalAddress });
  const client = new Client({ connection });
  const db = new pg.Client({ connectionString: databaseUrl(stack.dataDir) });
  await db.connect();
  try {
    await measure(client, db, api);
  } finally {
    await db.end();
    await connection.close();
  }
}

async function measure(client, db, api) {
  await api.put('/v1/flows/bench/nothing', NOTHING);
  await api.post('/v1/flows/bench/nothing/publish', { version: '1.0.0' });
  await api.put('/v1/rules/bench/on-event', RULE);
  const session = Date.now();
  const bare = async (i) => {
    const began = performance.now();
    // A queue that nobody polls: the start itself is measured.
    await client.workflow.start('nothing', {
      taskQueue: 'bench-nobody',
      workflowId: `bench-bare-${session}-${i}`,
      args: [{}],
    });
    return performance.now() - began;
  };
  const event = async (i) => {
    const subject = `bench/thing-${session}-${i}`;
    const body = {
      specversion: '1.0',
      id: `${session}-${i}`,
      source: 'bench',
      type: 'bench.happened',
      subject,
      data: {},
    };
    const began = nowMs();
    const answer = await api.post('/v1/events', JSON.stringify(body), {
      'content-type': 'application/cloudevents+json',
    });
    const answered = nowMs();
    // Nothing may ask while the way is measured; the marks stand in the log and wait.
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const marks = await until('the run to end', () => marksOf(db, answer.items[0].eventId, subject), 10_000, 20);
    const { startTime } = await client.workflow.getHandle(marks.workflow).describe();
    return {
      total: marks.started - began,
      answered: answered - began,
      accept: marks.event - began,
      decide: marks.start - marks.event,
      admit: marks.verdict - marks.start,
      begin: startTime.getTime() - marks.verdict,
      temporal: marks.started - startTime.getTime(),
      workflow: marks.workflow,
      began,
    };
  };
  for (let i = 0; i < WARM_ROUNDS; i += WARM_AT_ONCE) {
    const some = Array.from({ length: WARM_AT_ONCE }, (_, k) => `warm${i + k}`);
    for (const one of some) await bare(one);
    await Promise.all(some.map(event));
  }
  const [bares, events] = await alternate(ROUNDS, bare, event);
  const bareTimes = summary(bares);
  const total = summary(events.map((e) => e.total));
  say('start', `bare workflow.start × ${ROUNDS}`, spread(bareTimes));
  say('start', `event → workflow started × ${ROUNDS}`, spread(total));
  for (const [hop, what] of HOPS) say('start', `  ${what}`, spread(summary(events.map((e) => e[hop]))));
  say('start', '  (202 at the sender)', spread(summary(events.map((e) => e.answered))));
  say(
    'start',
    'ratio of the medians (goal ≤ 3)',
    `${(total.p50 / bareTimes.p50).toFixed(2)} (of the fastest tenths: ${(total.p10 / bareTimes.p10).toFixed(2)})`,
  );
  const firsts = [];
  for (const e of events) {
    const { events: history } = await client.workflow.getHandle(e.workflow).fetchHistory();
    const done = history.find((h) => h.workflowTaskCompletedEventAttributes != null).eventTime;
    firsts.push(Number(done.seconds) * 1_000 + done.nanos / 1e6 - e.began);
  }
  say('start', 'event → first workflow task done', spread(summary(firsts)));
  say(
    'start',
    'first task handed over with the start',
    `${await eagerStarts(
      client,
      events.map((e) => e.workflow),
    )} of ${ROUNDS}`,
  );
}

/** Three times what a round takes, its end included. */
const SETTLE_MS = 150;

const HOPS = [
  ['accept', 'accept: POST → event in the log'],
  ['decide', 'decide: → start asked for'],
  ['admit', 'admit: → verdict in the log'],
  ['begin', 'begin: → start at the server'],
  ['temporal', 'start: → answered and noted'],
];

/** When each part wrote its message, in milliseconds since the epoch. */
async function marksOf(db, eventId, subject) {
  const { rows } = await db.query(
    `SELECT a.workflow_id AS workflow, ms(e.at) AS event, ms(s.at) AS start, ms(v.at) AS verdict, ms(a.started_at) AS started
       FROM control.admission a
       JOIN bus.message e ON e.topic = 'events' AND e.msg_id = $1
       JOIN bus.message s ON s.topic = 'starts' AND s.body #>> '{start,id}' = a.id::text
       JOIN bus.message v ON v.topic = 'runs' AND v.key = a.id::text AND v.body ->> 'kind' = 'verdict'
      WHERE a.targets = ARRAY[$2] AND a.state = 'closed'`.replaceAll(
      /ms\(([a-z._]+)\)/g,
      '(extract(epoch FROM $1) * 1000)::float8',
    ),
    [eventId, subject],
  );
  return rows[0];
}

/** In how many histories the server gave the first workflow task out with the answer to the start. */
async function eagerStarts(client, workflowIds) {
  let count = 0;
  for (const id of workflowIds) {
    const { events } = await client.workflow.getHandle(id).fetchHistory();
    if (events[0].workflowExecutionStartedEventAttributes.eagerExecutionAccepted) count += 1;
  }
  return count;
}

/** The database of an embedded stack, as its data directory describes it. */
function databaseUrl(dataDir) {
  const { ports } = JSON.parse(readFileSync(join(dataDir, 'stack.json'), 'utf8'));
  const password = readFileSync(join(dataDir, 'postgres.password'), 'utf8').trim();
  return `postgres://opsloop:${password}@127.0.0.1:${ports.postgres}/opsloop`;
}

const NOTHING = {
  dsl: 'opsloop/v1',
  kind: 'flow',
  name: 'bench/nothing',
  version: '1.0.0',
  title: 'Stays a moment',
  owner: 'bench',
  input: { schema: { type: 'object', properties: { thing: { type: 'string' } } } },
  targets: '${input.thing}',
  // Long enough that the start is noted before the run ends.
  do: [{ id: 'stay', wait: { for: '100ms' } }],
};

const RULE = {
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'bench/on-event',
  version: '1.0.0',
  title: 'Starts for every event',
  owner: 'bench',
  mode: 'active',
  on: [{ type: 'bench.happened', subject: 'bench/*' }],
  branches: [{ id: 'default', ladder: [{ id: 'go', run: 'bench/nothing@1', with: { thing: '${resource.path}' } }] }],
};
