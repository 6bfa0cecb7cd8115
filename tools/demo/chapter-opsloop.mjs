// Chapters two to five: the same kills with opsloop, the rival rule, the liar, the halt, and the proof that all is well.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ask } from '../../examples/demo-fleet/fleet.mjs';
import { until } from '../api.mjs';
import { BY_HAND, LATE, LIAR, VICTIMS } from './cast.mjs';
import { bold, cyan, green, yellow } from './screen.mjs';

const DOWN = 'fleet.service.state';
/** The promise: this long after the halt is accepted no step that changes anything starts. */
const HALT_WITHIN_MS = 2_000;
/** How long the halt is watched: long enough for the group window of the late victim and for several attempts to act. */
const HALT_WATCH_MS = 6_000;
const short = (path) => path.split('/').pop();

export async function opsloopChapters(stage, documents) {
  const { screen, api, fleet } = stage;
  const before = (await ask(fleet.agent, '/stats')).body;
  const since = new Date().toISOString();
  const incident = await killWithOpsloop(stage, documents);
  const halt = await haltInTheMiddle(stage, since);
  const end = await proveHealthy(stage, since);
  const after = (await ask(fleet.agent, '/stats')).body;
  const decisions = await api.list(`/v1/decisions?since=${encodeURIComponent(since)}`);
  screen.say(`${decisions.length} decisions, every one with its why`);
  return {
    ...incident,
    ...halt,
    ...end,
    liar: LIAR,
    since,
    acts: {
      restarts: after.restarts - before.restarts,
      replaces: after.replaces - before.replaces,
      overlaps: after.overlaps - before.overlaps,
    },
    whys: await Promise.all(decisions.map(async (d) => ({ id: d.id, text: await whyOf(api, d) }))),
  };
}

async function killWithOpsloop({ screen, api, fleet }, documents) {
  screen.chapter('2  The same four kills with opsloop');
  for (const name of readdirSync(documents).filter((n) => n.startsWith('rule.'))) {
    const rule = JSON.parse(readFileSync(join(documents, name), 'utf8'));
    await api.put(`/v1/rules/${rule.name}`, rule);
    screen.say(`rule ${cyan(rule.name)} (${rule.owner}) is live`);
  }
  await until('all 12 hosts observed up again', async () =>
    (await api.list('/v1/resources?kind=host')).every((h) => h.state.state === 'up'),
  );
  await ask(fleet.agent, `/machines/${LIAR}/lie`, { method: 'POST' });
  const killedAt = Date.now();
  for (const host of VICTIMS) await ask(fleet.agent, `/machines/${host}/kill`, { method: 'POST' });
  screen.say(`kill -9 of ${VICTIMS.map(short).join(', ')}`);
  const events = await until('four events', () => downEvents(api, killedAt, VICTIMS));
  const doubles = await deliverAgain(api, events);
  screen.say(
    `four events seen; each delivered once more: ${green(`${doubles.duplicates} of ${doubles.sent} recognised as duplicates, nothing started`)}`,
  );
  const decision = await until('the decision', async () => {
    const items = await api.list(
      `/v1/decisions?rule=fleet/service-down&since=${encodeURIComponent(new Date(killedAt).toISOString())}`,
    );
    return items.find((d) => VICTIMS.every((v) => d.targets.includes(v)));
  });
  screen.say(
    `one decision: tier ${bold(decision.tier)}, rung ${bold(decision.rung)}, batches ${decision.batches.map((b) => `[${b.map(short).join(' ')}]`).join(' ')}; the first is the canary`,
  );
  const rival = await until('the rival run in the queue', async () => {
    const [queued] = await api.list('/v1/runs?rule=oncall/page-and-restart&status=queued');
    const run = queued && (await api.get(`/v1/runs/${queued.id}`));
    return run?.admission.blockedBy?.length > 0 && run;
  });
  const holder = rival.admission.blockedBy[0];
  screen.say(
    `${cyan('oncall/page-and-restart')} wants the same hosts: ${yellow('queued')} behind ${holder.flow ?? holder.owner}, fence ${holder.fence}`,
  );
  return { killedAt, doubles, decision, rival, holder };
}

async function haltInTheMiddle({ screen, api, fleet, journal }, since) {
  screen.chapter('3  Stop everything, in the middle');
  const halt = await api.post('/v1/halts', { scope: {}, running: 'pause', reason: 'the demo shows the red button' });
  const accepted = Date.now();
  screen.say(`${bold('opsloop halt --all')}: in its scope ${halt.hits.running} running, ${halt.hits.queued} waiting`);
  await ask(fleet.agent, `/machines/${BY_HAND}/kill`, { method: 'POST' });
  screen.say(`${short(BY_HAND)} dies while everything stands still`);
  const [event] = await until('its event', () => downEvents(api, accepted, [BY_HAND]));
  const heldHand = await until('its start to be held', () => heldStart(api, BY_HAND));
  // The group window of the rule is over now, so the next victim gets a decision of its own.
  await ask(fleet.agent, `/machines/${LATE}/kill`, { method: 'POST' });
  const heldLate = await until('the start for the late victim to be held', () => heldStart(api, LATE));
  const why = await api.get(`/v1/events/${event.eventId}/explain`);
  screen.say(`seen, decided, ${yellow('held')}: ${lineAbout(why.text, 'held')}`);
  await until('the halt to be watched', () => Date.now() - accepted >= HALT_WATCH_MS);
  const late = beginnings(journal).filter((at) => at > accepted + HALT_WITHIN_MS).length;
  const last = Math.max(
    0,
    ...beginnings(journal)
      .filter((at) => at >= accepted)
      .map((at) => at - accepted),
  );
  screen.say(`last act began ${last} ms after the halt; after two seconds: ${late === 0 ? green('none') : late}`);
  await ask(fleet.agent, `/machines/${BY_HAND}/replace`, { method: 'POST' });
  await until('it to be observed up', async () => (await api.get(`/v1/resources/${BY_HAND}`)).state.state === 'up');
  screen.say(`somebody repairs ${short(BY_HAND)} by hand; ${short(LATE)} stays down`);
  const handActs = 1;
  await api.post(`/v1/halts/${halt.id}/lift`, { reason: 'seen enough', perMinute: 600 });
  screen.say(`${bold('lifted')}: what waited is checked again`);
  const withdrawn = await until('the start for it to be withdrawn', async () => {
    const run = await api.get(`/v1/runs/${heldHand.id}`);
    return run.admission.verdict === 'withdrawn' && run;
  });
  screen.say(`${short(BY_HAND)}: ${green('withdrawn')}, its cause is gone; ${short(LATE)} goes on`);
  return {
    halt,
    haltLastMs: last,
    haltMutations: late,
    heldLate,
    withdrawn,
    handActs,
    explainedAsHeld: /halt|held/i.test(String(why.text)),
    since,
  };
}

async function proveHealthy({ screen, api, fleet, journal }, since) {
  screen.chapter('4  Until the state is observed, not believed');
  const replaced = await until(
    'the liar to be found and replaced',
    async () => {
      const runs = await api.list('/v1/runs?flow=fleet/replace-host');
      const all =
        runs.length > 0 ? runs : (await api.list('/v1/runs')).filter((r) => JSON.stringify(r).includes('replace'));
      return all.find((r) => r.targets.includes(LIAR));
    },
    40_000,
  );
  screen.say(
    `${short(LIAR)} was restarted with exit 0 and is ${yellow('still sick')}: the next rung replaces it (run …${replaced.id.slice(-4)})`,
  );
  await until(
    'all twelve up',
    async () => (await ask(fleet.agent, '/machines')).body.items.every((m) => m.state === 'up'),
    40_000,
  );
  await until(
    'every episode ended',
    async () => {
      const open = (await api.list('/v1/episodes')).filter(
        (e) => !['converged', 'exhausted', 'withdrawn'].includes(e.state),
      );
      return open.length === 0;
    },
    40_000,
  );
  await until(
    'no run open',
    async () =>
      (await api.list('/v1/runs')).every((r) => ['succeeded', 'failed', 'cancelled', 'terminated'].includes(r.status)),
    40_000,
  );
  const healedAt = Date.now();
  const runs = await api.list('/v1/runs');
  const rivals = runs.filter((r) => r.rule === 'oncall/page-and-restart');
  for (const rival of rivals)
    screen.say(`the rival's run of ${rival.targets.map(short).join(', ')}: ${rival.admission.verdict}`);
  screen.chapter('5  All twelve healthy and stable');
  const { body } = await ask(fleet.agent, '/machines');
  return {
    healthy: body.items.filter((m) => m.state === 'up').length,
    liarReplaced: replaced.id,
    canary: canaryAlone(journal, since),
    runs,
    healedAt,
  };
}

/** The `down` events of these hosts since then, or nothing while one is missing. */
async function downEvents(api, sinceMs, paths) {
  const since = encodeURIComponent(new Date(sinceMs - 1_000).toISOString());
  const items = (await api.list(`/v1/events?type=${DOWN}&since=${since}`)).filter(
    (e) => paths.includes(e.subject) && e.data.state === 'down',
  );
  return paths.every((p) => items.some((e) => e.subject === p)) && items;
}

/** The same CloudEvents once more, as a second alert manager would send them. */
async function deliverAgain(api, events) {
  let duplicates = 0;
  for (const event of events) {
    const again = {
      specversion: '1.0',
      id: event.id,
      source: event.source,
      type: event.type,
      subject: event.subject,
      time: event.time,
      data: event.data,
    };
    const answer = await api.post('/v1/events', JSON.stringify(again), {
      'content-type': 'application/cloudevents+json',
    });
    duplicates += answer.items.filter((i) => i.duplicate).length;
  }
  return { sent: events.length, duplicates };
}

async function heldStart(api, path) {
  const runs = await api.list('/v1/runs?status=queued');
  return runs.find((r) => r.admission.verdict === 'held' && r.targets.includes(path));
}

const journalLines = (journal) =>
  readFileSync(journal, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .map((l) => ({ ...l, atMs: new Date(l.at).getTime() }));

const beginnings = (journal) =>
  journalLines(journal)
    .filter((l) => l.event.startsWith('work-begin:'))
    .map((l) => l.atMs);

/** At the machines: the first of the four was finished before any other of them was touched. */
function canaryAlone(journal, since) {
  const work = journalLines(journal).filter(
    (l) => l.atMs >= Date.parse(since) && VICTIMS.includes(l.machine) && l.event.startsWith('work-'),
  );
  const first = work[0]?.machine;
  const done = work.find((l) => l.machine === first && l.event.startsWith('work-end:'));
  const second = work.find((l) => l.machine !== first);
  return done !== undefined && second !== undefined && done.atMs <= second.atMs && first;
}

const linesOf = (text) => (Array.isArray(text) ? text : String(text).split('\n'));
const lineAbout = (text, word) => (linesOf(text).find((l) => l.includes(word)) ?? linesOf(text)[0]).trim();

async function whyOf(api, decision) {
  const eventId = decision.eventId ?? decision.event?.eventId;
  if (eventId === undefined) return decision.text ?? decision.because ?? '';
  const told = await api.get(`/v1/events/${eventId}/explain`);
  return Array.isArray(told.text) ? told.text.join('\n') : told.text;
}
