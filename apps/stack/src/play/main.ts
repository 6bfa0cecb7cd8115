/**
 * The process behind rule tests and scenarios: one line of JSON in, with the tests and their documents; one line out
 * for each test, rule tests first. Scenarios have a PostgreSQL of their own; nothing else is called.
 */
import { mkdtempSync, chmodSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort, startEmbeddedPostgres } from '@opsloop/embedded';
import { playRuleTest, type RuleTestGiven } from '@opsloop/decision';
import type { ScenarioTest } from '@opsloop/flowtest';
import { defaultCacheDir, interpreterSandbox } from '@opsloop/flowtest';
import { readEnvironment } from '../config.js';
import type { PlayedDocument } from './put-documents.js';

/** A rule test brings its rule; a scenario all documents of its world. */
interface Work {
  rules: RuleTestGiven[];
  scenarios: { test: ScenarioTest; documents: PlayedDocument[] }[];
}

async function main(): Promise<void> {
  const work = JSON.parse(await firstLine()) as Work;
  for (const given of work.rules) tell(await attempt(async () => playRuleTest(given)));
  if (work.scenarios.length > 0) await playAll(work.scenarios);
}

async function playAll(scenarios: Work['scenarios']): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'opsloop-play-'));
  // As root, PostgreSQL runs as another account, which must reach its data.
  chmodSync(dataDir, 0o711);
  const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };
  const starting = startEmbeddedPostgres({ dataDir, port: await freePort(), log: () => undefined, settings });
  let leaving: Promise<void> | undefined;
  const leave = (): Promise<void> =>
    (leaving ??= starting
      .then((postgres) => postgres.stop())
      .finally(() => rmSync(dataDir, { recursive: true, force: true })));
  // Whoever has heard enough, or presses Ctrl-C, ends this process; the database must not stay behind.
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void leave().finally(() => process.exit(1)));
  try {
    const postgres = await starting;
    const sandbox = await interpreterSandbox(defaultCacheDir(readEnvironment()));
    // Loaded late: from here on the time of this process is the world's.
    const [{ VirtualTime }, { playScenario, START }] = await Promise.all([
      import('./virtual-time.js'),
      import('./play-scenario.js'),
    ]);
    const time = new VirtualTime(Date.parse(START));
    for (const [i, { test, documents }] of scenarios.entries()) {
      const options = { sandbox, time, admin: postgres.url, database: `play_${i}`, port: await freePort() };
      tell(await attempt(() => playScenario(test, documents, options)));
    }
  } finally {
    await leave();
  }
}

function tell(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

async function attempt(play: () => Promise<unknown>): Promise<object> {
  try {
    return { seen: await play() };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

async function firstLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line;
  throw new Error('nothing to play');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
