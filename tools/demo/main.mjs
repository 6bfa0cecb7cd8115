// The conductor: sets the stage, plays the chapters, counts at the processes what really happened, and says whether it held.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, countJournal, fleetPlan, resourcesOf, startFleet } from '../../examples/demo-fleet/fleet.mjs';
import { root } from '../bootstrap.mjs';
import { Api, until } from '../api.mjs';
import { naiveChapter } from './chapter-naive.mjs';
import { opsloopChapters } from './chapter-opsloop.mjs';
import { judge, printScorecard } from './scorecard.mjs';
import { Screen, bold, cyan, dim, green, red } from './screen.mjs';
import { startStackProcess } from '../stack-process.mjs';

const DOCUMENTS = join(root, 'examples/demo-fleet/opsloop');

export async function playDemo(args) {
  const leave = args.includes('--exit');
  const scratch = mkdtempSync(join(tmpdir(), 'opsloop-fleet-'));
  const stops = [() => rmSync(scratch, { recursive: true, force: true })];
  const screen = new Screen();
  const stopAll = async () => {
    screen.end();
    for (const stop of stops.splice(0).reverse()) await stop();
  };
  let interrupted = false;
  const onSignal = () => {
    if (interrupted) process.exit(130);
    interrupted = true;
    void stopAll().then(() => process.exit(130));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  let stage;
  try {
    stage = await setStage(screen, scratch, stops);
    const facts = await play(stage, screen);
    const verdict = judge(facts);
    screen.end();
    printScorecard(facts, verdict);
    await farewell(stage, facts);
    if (leave) {
      await stopAll();
      process.exit(verdict.every((v) => v.held) ? 0 : 1);
    }
    process.stdout.write(
      `\nStill running. Hurt one yourself and watch: ${bold(`kill -9 ${await somePid(stage)}`)}   Ctrl-C ends everything.\n`,
    );
    await followForever(stage);
  } catch (error) {
    if (interrupted) return;
    screen.end();
    process.stderr.write(`\n${red('The demo failed:')} ${error.stack ?? error.message}\n`);
    if (stage !== undefined) await tellState(stage.api).catch(() => undefined);
    await stopAll();
    process.exit(1);
  }
}

async function setStage(screen, scratch, stops) {
  screen.chapter('Setting the stage');
  const journal = join(scratch, 'fleet.jsonl');
  const began = Date.now();
  const stack = await startStackProcess({
    say: (line) => screen.say(dim(line)),
    // Goals are looked at often, so that the story fits into a minute; 30 s is the default.
    env: { OPSLOOP_RESYNC: '5s' },
  });
  stops.push(() => stack.stop());
  screen.say(
    `the platform is ready after ${((Date.now() - began) / 1000).toFixed(1)} s: PostgreSQL, Temporal, five apps`,
  );
  const plan = fleetPlan();
  const fleet = await startFleet({ plan, journal });
  stops.push(() => fleet.stop());
  screen.say(`12 machines in 3 racks are up; each is a process you could kill`);
  const api = new Api(stack.url, stack.key);
  const stage = { screen, stack, fleet, plan, journal, api, isLive: screen.live };
  await applyDocuments(stage);
  await until('all 12 hosts observed up', async () => (await hosts(api)).every((h) => h.state.state === 'up'), 30_000);
  screen.say('opsloop polls them every second and has seen all 12 up');
  screen.begin(() => refresh(stage));
  return stage;
}

const hosts = async (api) => api.list('/v1/resources?kind=host');

/** Everything but the rules, which come on stage in the second chapter. */
async function applyDocuments({ api, fleet, plan }) {
  const documents = readdirSync(DOCUMENTS).map((name) => JSON.parse(readFileSync(join(DOCUMENTS, name), 'utf8')));
  const of = (kind) => documents.filter((d) => d.kind === kind);
  for (const d of of('config'))
    await api.put(`/v1/configs/${d.name}`, { ...d, values: { ...d.values, agent: fleet.agent } });
  await api.put('/v1/resources', { items: resourcesOf(plan, fleet.machines, fleet.agent) });
  for (const d of of('atom')) await api.put(`/v1/atoms/${d.name}`, d);
  for (const d of of('flow')) {
    await api.put(`/v1/flows/${d.name}`, d);
    await api.post(`/v1/flows/${d.name}/publish`, { version: d.version });
  }
  for (const d of of('source')) await api.put(`/v1/sources/${d.name}`, d);
}

async function play(stage, screen) {
  const naive = await naiveChapter(stage);
  screen.naive = (await ask(stage.fleet.agent, '/stats')).body;
  const began = Date.now();
  const story = await opsloopChapters(stage, DOCUMENTS);
  screen.count('healed after', `${((Date.now() - began) / 1000).toFixed(0)} s`);
  return { naive, ...story, journal: countJournal(stage.journal), plan: stage.plan };
}

async function refresh({ screen, fleet, plan, api }) {
  const { body } = await ask(fleet.agent, '/machines');
  const byName = new Map(body.items.map((m) => [m.name, m]));
  screen.machines = plan.map((p) => ({ ...p, state: byName.get(p.name)?.state ?? 'down' }));
  const locks = await api.get('/v1/locks?path=host');
  screen.work = new Map(
    locks.items
      .filter((l) => l.mode === 'exclusive')
      .map((l) => [l.path, { run: l.runId?.slice(-4) ?? l.owner, fence: l.fence }]),
  );
  const stats = (await ask(fleet.agent, '/stats')).body;
  const { acts = 0, overlaps = 0 } = screen.naive ?? {};
  if (screen.naive) screen.count('alert → script:', `${acts} acts, ${overlaps} overlaps`);
  screen.count(
    screen.naive ? 'opsloop:' : 'alert → script:',
    `${stats.acts - acts} acts, ${stats.overlaps - overlaps} overlaps`,
  );
}

async function farewell({ api, stack }, facts) {
  const told = await api.get(`/v1/explain?resource=${encodeURIComponent(facts.liar)}`);
  const text = Array.isArray(told.text) ? told.text : told.text.split('\n');
  process.stdout.write(`\n${bold(`opsloop explain ${facts.liar}`)}\n${text.map((line) => `  ${line}`).join('\n')}\n`);
  process.stdout.write(
    `\n  API pages        ${cyan(`${stack.url}/docs`)}\n  Temporal Web UI  ${cyan(stack.temporalUrl ?? 'off')}\n  data             ${stack.dataDir}\n` +
      `  command line     OPSLOOP_URL=${stack.url} OPSLOOP_TOKEN=$(cat ${stack.dataDir}/admin.key) npx opsloop status\n`,
  );
}

/** What a person would look at first when the story does not go on. */
async function tellState(api) {
  for (const path of ['/v1/decisions', '/v1/runs', '/v1/episodes']) {
    process.stderr.write(`\n${path}\n`);
    for (const item of await api.list(path)) process.stderr.write(`  ${JSON.stringify(item).slice(0, 600)}\n`);
  }
}

async function somePid({ fleet }) {
  return (await ask(fleet.agent, '/machines')).body.items[8].pid;
}

/** Tells what happens from now on, one line per change of state. */
async function followForever({ api }) {
  let last = new Map((await hosts(api)).map((h) => [h.path, h.state.state]));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = new Map((await hosts(api).catch(() => [])).map((h) => [h.path, h.state.state]));
    for (const [path, state] of now) {
      if (last.get(path) !== state)
        process.stdout.write(
          `${new Date().toISOString().slice(11, 19)} ${path} is ${state === 'up' ? green(state) : red(state)}\n`,
        );
    }
    if (now.size > 0) last = now;
  }
}
