/** `opsloop test`: flow tests in virtual time, without a server; `opsloop test record`: a finished run as such a test. */
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Coverage, CoverageOf, FlowTest, Library, Played } from '@opsloop/flowtest';
import { flowtestFindings, schemaErrors } from '@opsloop/dsl';
import { FINAL_RUN_STATUSES } from '@opsloop/contracts';
import { ApiProblem } from '@opsloop/api-client';
import type { DocumentView, FlowDocument, RuleDocument } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { readDocuments, readTests } from '../documents/read-documents.js';
import type { LoadedTest } from '../documents/read-documents.js';
import { CliError, EXIT } from '../errors.js';
import { playTests } from './play-tests.js';
import type { Streams } from '../output.js';

interface TestOptions {
  documents?: string[];
  junit?: string;
  coverage?: boolean;
  minCoverage?: string;
  only?: string;
}

interface RecordOptions {
  out?: string;
  name?: string;
}

interface FileResult {
  file: string;
  tests: Played[];
  tookMs: number;
}

export function registerTest(program: Command, streams: Streams): void {
  const test = program
    .command('test')
    .description(
      'run tests of flows, rules and whole scenarios (*.flowtest.json, *.ruletest.json, *.scenario.json) in virtual time; no server is needed and nothing real is called',
    )
    .argument('[paths...]', 'files and folders with tests and the documents that they are about; default: here')
    .option('-d, --documents <path>', 'further documents; repeatable', (value: string, all: string[] = []) => [
      ...all,
      value,
    ])
    .option('--only <text>', 'only tests whose name contains this')
    .option('--junit <file>', 'also write the results as JUnit XML')
    .option('--coverage', 'show which branches of the flows were taken')
    .option('--min-coverage <percent>', 'fail below this share of branches, over all flows that are tested')
    .action((paths: string[], options: TestOptions, command: Command) =>
      runTests(contextOf(command, streams), paths.length === 0 ? ['.'] : paths, options),
    );
  test
    .command('record')
    .description('write a finished run as a flow test, or an ended episode as a scenario, that passes')
    .argument('<id>', 'of the run or the episode')
    .option('-o, --out <file>', 'where to write it; default: standard output')
    .option('--name <text>', 'name of the test')
    .action((run: string, options: RecordOptions, command: Command) =>
      record(contextOf(command, streams), run, options),
    );
}

async function runTests(context: Context, paths: string[], options: TestOptions): Promise<void> {
  const { streams } = context;
  const least = options.minCoverage === undefined ? undefined : percentOf(options.minCoverage);
  const loaded = readTests(paths, streams.cwd).filter(({ test }) => String(test['name']).includes(options.only ?? ''));
  if (loaded.length === 0)
    throw new CliError(
      `no tests in ${paths.join(', ')}: a test says "kind": "flowtest", "ruletest" or "scenario"`,
      EXIT.usage,
    );
  const {
    interpreterSandbox,
    libraryOf,
    playTest,
    CoverageOf: Cover,
    junitOf,
    defaultCacheDir,
  } = await import('@opsloop/flowtest');
  const documents = readDocuments(placesOf(paths, options.documents ?? [], streams.cwd), streams.cwd);
  const library = libraryOf(documents);
  const ofFlows = loaded.filter(({ kind }) => kind === 'flowtest');
  const coverage = new Map<string, CoverageOf>();
  const files = new Map<string, FileResult>();
  const sandbox = ofFlows.length === 0 ? undefined : await interpreterSandbox(defaultCacheDir(streams.env));
  for (const one of ofFlows) {
    const started = performance.now();
    const played = wrongOf(one, library) ?? playTest(sandbox!, one.test as unknown as FlowTest, library);
    const { document } = played;
    if (document !== undefined) {
      const key = `${document.name}@${document.version}`;
      if (!coverage.has(key)) coverage.set(key, new Cover(document));
      coverage.get(key)!.add(played.steps);
    }
    const result = files.get(one.place) ?? { file: one.place, tests: [], tookMs: 0 };
    files.set(one.place, result);
    result.tests.push(played);
    result.tookMs += Math.round(performance.now() - started);
  }
  const others = loaded.filter(({ kind }) => kind !== 'flowtest');
  for (const { file, tookMs, ...played } of await playTests(others, documents, streams)) {
    const result = files.get(file) ?? { file, tests: [], tookMs: 0 };
    files.set(file, result);
    result.tests.push(played);
    result.tookMs += tookMs;
  }
  const results = [...files.values()];
  if (options.junit !== undefined) writeFileSync(resolve(streams.cwd, options.junit), junitOf(results));
  conclude(
    context,
    results,
    [...coverage.values()].map((one) => one.result()),
    options.coverage === true,
    least,
  );
}

/** A test that is not well-formed fails with what is wrong, and the others run. */
function wrongOf({ test }: LoadedTest, library: Library): Played | undefined {
  const named = library.flows.filter((flow) => flow.name === String(test['flow']).split('@', 1)[0]);
  const findings = [
    ...schemaErrors('flowtest', test),
    ...(named.length === 1 ? flowtestFindings(test, named[0], {}) : []),
  ];
  if (findings.length === 0) return undefined;
  const lines = findings.map(
    ({ pointer, message, hint }) => `${pointer} ${message}${hint === undefined ? '' : `; ${hint}`}`,
  );
  return {
    test: String(test['name']),
    flow: String(test['flow']),
    passed: false,
    mismatches: [{ of: 'test', message: 'the test itself is wrong', lines }],
    warnings: [],
    steps: [],
  };
}

/** Where the documents are: the named folders, and those of the named files. */
function placesOf(paths: readonly string[], more: readonly string[], cwd: string): string[] {
  const folders = paths.map((path) => {
    const full = resolve(cwd, path);
    return existsSync(full) && statSync(full).isDirectory() ? full : dirname(full);
  });
  const all = [...folders, ...more.map((path) => resolve(cwd, path))];
  // A folder inside another one would be read twice.
  return [...new Set(all)].filter((path) => !all.some((other) => other !== path && path.startsWith(`${other}/`)));
}

function percentOf(text: string): number {
  const percent = Number(text);
  if (Number.isFinite(percent) && percent >= 0 && percent <= 100) return percent;
  throw new CliError(`--min-coverage is a percentage from 0 to 100, not "${text}"`, EXIT.usage);
}

function conclude(
  { out }: Context,
  results: FileResult[],
  coverage: Coverage[],
  showCoverage: boolean,
  least: number | undefined,
): void {
  const tests = results.flatMap(({ file, tests: played }) => played.map((one) => ({ file, ...one })));
  const failed = tests.filter((test) => !test.passed).length;
  const [taken, total] = [sum(coverage.map((c) => c.taken)), sum(coverage.map((c) => c.total))];
  const percent = total === 0 ? 100 : Math.floor((1_000 * taken) / total) / 10;
  const value = {
    passed: tests.length - failed,
    failed,
    tests: tests.map(({ steps: _steps, document: _document, ...test }) => test),
    coverage: { percent, flows: coverage },
  };
  out.result(value, () => {
    for (const test of tests) print(out, test);
    if (showCoverage) printCoverage(out, coverage);
    const of = `${tests.length} ${tests.length === 1 ? 'test' : 'tests'}`;
    const branches = coverage.length === 0 ? '' : `, ${taken} of ${total} branches taken (${percent} %)`;
    out.line(`${failed === 0 ? `${of} passed` : `${failed} of ${of} failed`}${branches}`);
  });
  if (failed > 0) throw new CliError(`${failed} of ${tests.length} tests failed`, EXIT.failed, [], undefined, true);
  if (least !== undefined && percent < least)
    throw new CliError(
      `${percent} % of the branches were taken, ${least} % are wanted; --coverage names the others`,
      EXIT.failed,
      [],
      undefined,
      true,
    );
}

function print(out: Context['out'], test: Played & { file: string }): void {
  const mark = test.passed ? out.color.green('ok  ') : out.color.red('FAIL');
  out.line(`${mark} ${test.test} ${out.color.dim(`${test.file}, ${test.flow}`)}`);
  for (const { of, message, lines } of test.mismatches) {
    out.line(`     ${out.color.bold(of)}: ${message}`);
    for (const line of lines) out.line(`       ${coloured(out, line)}`);
  }
  for (const warning of test.warnings) out.line(`     ${out.color.yellow('note')}: ${warning}`);
}

function coloured({ color }: Context['out'], line: string): string {
  return line.startsWith('- ') ? color.red(line) : line.startsWith('+ ') ? color.green(line) : line;
}

function printCoverage(out: Context['out'], coverage: readonly Coverage[]): void {
  for (const { flow, taken, total, missed } of coverage) {
    out.line(`${flow}: ${taken} of ${total} branches`);
    for (const branch of missed) out.line(`     not taken: ${branch}`);
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

async function record(context: Context, id: string, options: RecordOptions): Promise<void> {
  const client = context.client();
  const run = await client.getRun(id).catch(unlessUnknown);
  if (run === undefined) return recordEpisode(context, id, options);
  if (!FINAL_RUN_STATUSES.includes(run.status))
    throw new CliError(`run ${id} is ${run.status}; only a finished run can be recorded`, EXIT.failed);
  const flow = await client.getDocument<DocumentView>('flow', run.flow, run.version);
  const { recordTest } = await import('@opsloop/flowtest');
  const { test, notes } = recordTest({
    run,
    flow: flow.body as unknown as FlowDocument,
    timeline: (await client.timeline(id)).items,
    ...(options.name === undefined ? {} : { name: options.name }),
  });
  save(context, `run ${id}`, { test, notes }, options);
}

/** Asked as a run first: there are more of them, and both ids look alike. */
function unlessUnknown(error: unknown): undefined {
  if (!(error instanceof ApiProblem) || error.status !== 404) throw error;
}

async function recordEpisode(context: Context, id: string, options: RecordOptions): Promise<void> {
  const client = context.client();
  const story = await client.episodeStory(id).catch(unlessUnknown);
  if (story === undefined) throw new CliError(`there is no run and no episode ${id}`, EXIT.failed);
  const { episode, decisions } = story;
  if (!['converged', 'exhausted', 'withdrawn'].includes(episode.state))
    throw new CliError(`episode ${id} is ${episode.state}; only one that has ended can be recorded`, EXIT.failed);
  const rule = await client.getDocument<DocumentView>('rule', episode.rule, episode.version);
  const ids = [...new Set(decisions.flatMap(({ admissions }) => admissions.flatMap(({ runId }) => runId ?? [])))];
  const runs = await Promise.all(ids.map((run) => client.getRun(run)));
  const asked = await Promise.all(ids.map((run) => client.listApprovals({ run, limit: 500 })));
  const { recordScenario } = await import('@opsloop/flowtest');
  const recorded = recordScenario({
    ...story,
    rule: rule.body as unknown as RuleDocument,
    runs: runs.sort((a, b) => ((a.startedAt ?? a.createdAt) < (b.startedAt ?? b.createdAt) ? -1 : 1)),
    answers: asked.flatMap(({ items }) =>
      items.flatMap(({ flow, answers }) => answers.map((one) => ({ ...one, flow }))),
    ),
    ...(options.name === undefined ? {} : { name: options.name }),
  });
  if (story.cut)
    recorded.notes.push('more happened than is kept in one story; the scenario ends before the episode did');
  save(context, `episode ${id}`, recorded, options);
}

function save(
  context: Context,
  what: string,
  { test, notes }: { test: object; notes: string[] },
  options: RecordOptions,
): void {
  for (const note of notes) context.out.note(note);
  const text = `${JSON.stringify(test, null, 2)}\n`;
  if (options.out === undefined) return context.streams.out(text);
  writeFileSync(resolve(context.streams.cwd, options.out), text);
  context.out.result({ file: options.out, test, notes }, () => {
    context.out.line(`${options.out} holds ${what} as a test`);
    context.out.next(`opsloop test ${options.out}`);
  });
}
