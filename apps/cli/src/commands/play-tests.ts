/** Rule tests and scenarios: played by a process that holds the real decision, control and interpreter. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { JsonObject } from '@opsloop/contracts';
import { parseRef, schemaErrors } from '@opsloop/dsl';
import type { Mismatch, Played, RuleTest, RuleTestOutcome, ScenarioSeen, ScenarioTest } from '@opsloop/flowtest';
import { ROOT } from '../config.js';
import type { LoadedDocument, LoadedTest } from '../documents/read-documents.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

/** When rule tests say nothing else: a Monday morning, as in scenarios. */
const START = '2026-01-05T09:00:00.000Z';

export interface PlayedTest extends Played {
  file: string;
  tookMs: number;
}

interface Answer {
  seen?: unknown;
  error?: string;
}

/** Plays all of them in one process, rule tests first; each test answers in the order in which it was given. */
export async function playTests(
  loaded: readonly LoadedTest[],
  documents: readonly LoadedDocument[],
  streams: Streams,
): Promise<PlayedTest[]> {
  if (loaded.length === 0) return [];
  const { judgeRuleTest, judgeScenario, newestIn } = await import('@opsloop/flowtest');
  const newestOf: Newest = (kind, ref) => {
    const { name, range } = parseRef(ref);
    return newestIn(
      range,
      documents.filter((one) => one.kind === kind && one.name === name),
    )?.document;
  };
  const played: PlayedTest[] = [];
  const rules: { one: LoadedTest; test: RuleTest; given: JsonObject }[] = [];
  const scenarios: { one: LoadedTest; test: ScenarioTest }[] = [];
  for (const one of loaded) {
    const wrong = schemaErrors(one.kind, one.test).map(({ pointer, message }) => `${pointer} ${message}`);
    if (wrong.length > 0) played.push(failed(one, 'the test itself is wrong', wrong));
    else if (one.kind === 'scenario') scenarios.push({ one, test: one.test as unknown as ScenarioTest });
    else {
      const test = one.test as unknown as RuleTest;
      const rule = newestOf('rule', test.rule);
      if (rule === undefined)
        played.push(failed(one, `no rule among the documents answers to "${test.rule}"; name its folder as well`));
      else rules.push({ one, test, given: givenOf(test, rule, documents, newestOf) });
    }
  }
  if (rules.length + scenarios.length === 0) return played;
  const world = documents.map(({ kind, name, version, document }) => ({ kind, name, version, document }));
  const work = {
    rules: rules.map(({ given }) => given),
    scenarios: scenarios.map(({ test }) => ({ test, documents: world })),
  };
  const answers = play(work, streams);
  for (const { one, test } of rules)
    played.push(await judged(one, answers, (seen) => [judgeRuleTest(test, seen as RuleTestOutcome), []]));
  for (const { one, test } of scenarios)
    played.push(
      await judged(one, answers, (seen) => [
        judgeScenario(test.expect, seen as ScenarioSeen),
        (seen as ScenarioSeen).warnings,
      ]),
    );
  await answers.return(undefined);
  return played;
}

async function judged(
  one: LoadedTest,
  answers: AsyncGenerator<Answer>,
  judge: (seen: unknown) => [Mismatch[], string[]],
): Promise<PlayedTest> {
  const began = performance.now();
  const { value, done } = await answers.next();
  if (done === true) throw new CliError('the play ended before its tests', EXIT.failed);
  const { seen, error } = value as Answer;
  const [mismatches, warnings] =
    error === undefined ? judge(seen) : [[{ of: 'play', message: error, lines: [] }], [] as string[]];
  const tookMs = Math.round(performance.now() - began);
  return { ...base(one), passed: mismatches.length === 0, mismatches, warnings, tookMs };
}

function failed(one: LoadedTest, message: string, lines: string[] = []): PlayedTest {
  return { ...base(one), passed: false, mismatches: [{ of: 'test', message, lines }], warnings: [], tookMs: 0 };
}

function base({ test, place, kind }: LoadedTest): Pick<PlayedTest, 'test' | 'flow' | 'steps' | 'file'> {
  return {
    test: String(test['name']),
    flow: kind === 'scenario' ? 'scenario' : String(test['rule']),
    steps: [],
    file: place,
  };
}

/** Decision tables that the rule names, each by its reference. */
function tablesFor(rule: JsonObject, newestOf: Newest): JsonObject {
  const { tier, facts = {} } = rule as { tier?: unknown; facts?: Record<string, { table?: string }> };
  const ofTier = (tier as { table?: string } | undefined)?.table;
  const refs = [ofTier, ...Object.values(facts).map(({ table }) => table)].filter((ref) => ref !== undefined);
  return Object.fromEntries(
    refs.flatMap((ref) => {
      const table = newestOf('table', ref);
      return table === undefined ? [] : [[ref, table]];
    }),
  );
}

type Newest = (kind: string, ref: string) => JsonObject | undefined;

function givenOf(test: RuleTest, rule: JsonObject, documents: readonly LoadedDocument[], newestOf: Newest): JsonObject {
  const configs = documents
    .filter(({ kind }) => kind === 'config')
    .map(({ name, document }) => [name, document['values']] as const);
  return {
    rule,
    start: test.start?.at ?? START,
    configs: { ...Object.fromEntries(configs), ...test.config },
    resources: test.resources ?? [],
    events: test.events.map(({ at, event }) => ({ ...(at === undefined ? {} : { at }), event })),
    ...(test.until === undefined ? {} : { until: test.until }),
    tables: tablesFor(rule, newestOf),
    maintenance: documents.filter(({ kind }) => kind === 'maintenance').map(({ document }) => document),
  } as JsonObject;
}

/** One answer a line. Whoever stops listening ends the process. */
async function* play(work: object, streams: Streams): AsyncGenerator<Answer> {
  const file = join(ROOT, 'apps/stack/dist/play/main.js');
  if (!existsSync(file)) throw new CliError(`${file} is missing; run "npm run build" in ${ROOT}`, EXIT.failed);
  const env = { ...streams.env, DATABASE_URL: undefined, TEMPORAL_ADDRESS: undefined };
  const child = spawn(process.execPath, [file], {
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: streams.cwd,
    env,
    execArgv: [],
  } as never);
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4_000)));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  try {
    child.stdin!.end(`${JSON.stringify(work)}\n`);
    for await (const line of createInterface({ input: child.stdout! })) yield JSON.parse(line) as Answer;
    const code = await ended;
    if (code !== 0) throw new CliError(`the play ended with ${code}: ${said.trim()}`, EXIT.failed);
  } finally {
    // Also after the last answer: it may still stop its database, and should be gone when this command is.
    if (child.exitCode === null) child.kill('SIGTERM');
    await ended;
  }
}
