// How many events per second are decided with 100, 1,000 and 10,000 rules of which ten match each event, how long a new
// rule set takes until it judges, and how long one event takes until it is decided.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { until } from '../../tools/api.mjs';
import { compareWithRulebook } from './rulebook.bench.mjs';
import { cpuSeconds, nowMs, say, spread, summary } from './stats.mjs';

/** About two seconds of work: shorter ones tell of the last half-filled batches. */
const EVENTS = 8_000;
const ROUNDS = 3;
const SIZES = [100, 1_000, 10_000];
export const MATCHING = 10;
const SINGLE_EVENTS = 200;
const BACKTEST_EVENTS = 100_000;
const BACKTEST_RULES = 20;

export async function benchDecide({ stack, api }) {
  const db = new pg.Client({ connectionString: databaseUrl(stack.dataDir) });
  await db.connect();
  try {
    const costs = new Map();
    for (const size of SIZES) {
      await putRules(api, db, size);
      await decideAll(db, size, 'warm');
      const rounds = [];
      for (let i = 0; i < ROUNDS; i += 1) {
        const cpu = cpuSeconds(stack.pid);
        rounds.push({ ms: await decideAll(db, size, String(i)), cpu: cpuSeconds(stack.pid) - cpu });
      }
      const rate = summary(rounds.map(({ ms }) => (EVENTS / ms) * 1_000));
      const cpu = summary(rounds.map((one) => one.cpu)).p50;
      costs.set(size, EVENTS / rate.p50);
      say(
        'decide',
        `${size} rules, ${MATCHING} match`,
        `${rate.p50.toFixed(0)} events/s (${rate.min.toFixed(0)}–${rate.max.toFixed(0)}), ${((cpu / EVENTS) * 1e6).toFixed(0)} µs of CPU per event`,
      );
      if (size === 1_000) {
        await single(api, db);
        await compareWithRulebook({ ours: rate.p50, size, matching: MATCHING });
      }
    }
    await backtest(api, db);
    say('decide', 'time with 10,000 rules / with 100 (goal ≤ 1.5)', (costs.get(10_000) / costs.get(100)).toFixed(2));
  } finally {
    await db.end();
  }
}

/** A whole new set through the API, until an event was judged by all of it. */
async function putRules(api, db, size) {
  const items = Array.from({ length: size }, (_, i) => ruleOf(i, size));
  const body = JSON.stringify({ items });
  const began = performance.now();
  await api.put('/v1/rules', body);
  const stored = performance.now() - began;
  await publish(db, [eventOf(`first-${size}`, 0, size)]);
  await settled(db);
  const live = performance.now() - began;
  const [row] = (
    await db.query(
      `SELECT jsonb_object_keys_count(verdicts) AS n FROM decision.trace WHERE event->>'id' = $1`.replace(
        'jsonb_object_keys_count(verdicts)',
        '(SELECT count(*) FROM jsonb_object_keys(verdicts))::int',
      ),
      [`first-${size}`],
    )
  ).rows;
  if (row?.n !== MATCHING) throw new Error(`${row?.n} rules judged the first event, not ${MATCHING}`);
  say(
    'decide',
    `a new set of ${size} rules`,
    `stored after ${stored.toFixed(0)} ms, has judged after ${live.toFixed(0)} ms`,
  );
}

async function decideAll(db, size, round) {
  const services = size / MATCHING;
  const events = Array.from({ length: EVENTS }, (_, i) => eventOf(`${size}-${round}-${i}`, i % services, size));
  await publish(db, events);
  const began = performance.now();
  await settled(db);
  return performance.now() - began;
}

/** Twenty changed rules, with goals, ladders and windows, over 100,000 stored events of 2,000 hosts in a day. */
async function backtest(api, db) {
  await db.query(
    `INSERT INTO decision.trace (tenant, event_id, ruleset, subject, event, notes, verdicts, at)
     SELECT 'default', id, 'bench', subject, jsonb_build_object('eventId', id, 'source', 'bench', 'id', id, 'type', 'back.state',
       'subject', subject, 'time', said, 'receivedAt', said, 'data', data, 'state', data, 'correlationId', id, 'hops', 0), '{}', '{}', at
     FROM (SELECT gen_random_uuid() AS id, 'host/back/b' || (i * 7919 % 2000) AS subject, at,
         to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS said,
         jsonb_build_object('state', CASE WHEN i % 5 < 2 THEN 'down' ELSE 'up' END, 'service', 's' || i % 20, 'load', i % 7) AS data
       FROM (SELECT i, date_trunc('milliseconds', now()) - interval '1 day' + i * interval '800 milliseconds' AS at
         FROM generate_series(1::bigint, $1::bigint) i) n) e`,
    [BACKTEST_EVENTS],
  );
  const rules = Array.from({ length: BACKTEST_RULES }, (_, i) => ({
    ...ruleOf(i, 20),
    name: `bench/back${i}`,
    on: [{ type: 'back.state', subject: 'host/*', data: { service: `s${i}`, state: 'down' } }],
    goal: { state: { '==': [{ var: 'resource.state.state' }, 'up'] }, stableFor: '1m' },
    budget: [{ runs: 5, within: '1h', by: '${resource.path}' }],
    ...(i % 2 === 0 ? { for: '30s' } : { dedupe: { by: '${event.subject}', within: '10m' } }),
  }));
  const began = performance.now();
  const { id } = await api.post('/v1/rules/backtest', JSON.stringify({ rules, since: '2d', under: 'host/back' }));
  const view = await until(
    'the backtest',
    async () => {
      const now = await api.get(`/v1/rules/backtest/${id}`);
      return now.status === 'done' || now.status === 'failed' ? now : undefined;
    },
    300_000,
    100,
  );
  const took = (performance.now() - began) / 1_000;
  if (view.status !== 'done') throw new Error(`the backtest failed: ${view.problem}`);
  say(
    'decide',
    `backtest, ${view.result.events} events × ${BACKTEST_RULES} rules (goal ≤ 60 s)`,
    `${took.toFixed(1)} s, ${view.result.decisions.after} decisions`,
  );
}

/** From the POST of an event to its decision, one after the other. */
async function single(api, db) {
  const took = [];
  for (let i = 0; i < SINGLE_EVENTS; i += 1) {
    const { data, subject, type } = eventOf(`single-${i}`, i % 100, 1_000);
    const body = { specversion: '1.0', id: `single-${i}`, source: 'bench', type, subject, data };
    const began = nowMs();
    const answer = await api.post('/v1/events', JSON.stringify(body), {
      'content-type': 'application/cloudevents+json',
    });
    const { at } = await until(
      'the decision',
      async () => {
        const { rows } = await db.query(
          'SELECT extract(epoch FROM at) * 1000 AS at FROM decision.trace WHERE tenant = $1 AND event_id = $2',
          ['default', answer.items[0].eventId],
        );
        return rows[0];
      },
      10_000,
      10,
    );
    took.push(Number(at) - began);
  }
  say('decide', `event → decision × ${SINGLE_EVENTS}`, spread(summary(took.slice(SINGLE_EVENTS / 4))));
}

/** Straight into the log, as accepting does it: what is measured begins behind the door. */
async function publish(db, events) {
  for (let i = 0; i < events.length; i += 1_000) {
    const some = events.slice(i, i + 1_000);
    await db.query("SELECT bus.publish($1, $2, $3, 'default', $4)", [
      some.map(() => 'events'),
      some.map(({ subject }) => subject),
      some.map(({ eventId }) => eventId),
      some.map((event) => JSON.stringify(event)),
    ]);
  }
  await db.query("SELECT pg_notify('bus', 'bench events')");
}

async function settled(db) {
  await until(
    'the events to be decided',
    async () => {
      const { rows } = await db.query(
        `SELECT EXISTS (SELECT 1 FROM bus.cursor c WHERE c.topic = 'events' AND c.grp = 'decision'
           AND EXISTS (SELECT 1 FROM bus.message m WHERE m.topic = c.topic AND m.part = c.part AND m.id > c.position)) AS open`,
      );
      return !rows[0].open;
    },
    120_000,
    20,
  );
}

/** `size / MATCHING` services, each with ten rules that judge and would start something; shadow, so that nothing does. */
export function ruleOf(i, size) {
  const service = `s${Math.floor(i / MATCHING)}`;
  return {
    dsl: 'opsloop/v1',
    kind: 'rule',
    name: `bench/r${i}`,
    version: `1.0.${size}`,
    title: `Rule ${i}`,
    owner: 'bench',
    mode: 'shadow',
    on: [{ type: 'bench.state', subject: 'host/*', data: { service, state: 'down' } }],
    when: { '>=': [{ var: 'event.data.load' }, i % MATCHING] },
    branches: [{ id: 'default', ladder: [{ id: 'go', run: 'bench/nothing@1', with: { host: '${resource.path}' } }] }],
  };
}

function eventOf(id, service, size) {
  const now = new Date().toISOString();
  const eventId = crypto.randomUUID();
  const data = { service: `s${service}`, state: 'down', load: MATCHING, size };
  return {
    ...{ eventId, source: 'bench', id, type: 'bench.state', subject: `host/dc1/h${service % 500}` },
    ...{ time: now, receivedAt: now, data, state: data, correlationId: eventId, hops: 0 },
  };
}

/** The database of an embedded stack, as its data directory describes it. */
function databaseUrl(dataDir) {
  const { ports } = JSON.parse(readFileSync(join(dataDir, 'stack.json'), 'utf8'));
  const password = readFileSync(join(dataDir, 'postgres.password'), 'utf8').trim();
  return `postgres://opsloop:${password}@127.0.0.1:${ports.postgres}/opsloop`;
}
