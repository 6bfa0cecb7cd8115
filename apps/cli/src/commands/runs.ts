import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { OpsloopClient, StartAnswer } from '@opsloop/api-client';
import { FINAL_RUN_STATUSES, durationMs, isDuration } from '@opsloop/contracts';
import type { Json, JsonObject, RunView } from '@opsloop/contracts';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { ExitCode } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';
import { registerLogs } from './run-logs.js';
import { registerSteering } from './steer-runs.js';
import { StepBoard } from '../step-board.js';

/** Steps change in tens of milliseconds, people read in halves of a second. */
const LOOK_MS = 500;

interface RunOptions {
  input?: string[];
  wait?: boolean;
  timeout: string;
  key?: string;
  dryRun?: boolean;
  timeScale?: string;
  coalesce?: boolean;
}

export function registerRuns(program: Command, streams: Streams): void {
  program
    .command('run')
    .description('start a flow or an atom')
    .argument('<name>', 'domain/name or atom.name, with @range for another version than the newest')
    .option(
      '-i, --input <k=v|json|@file>',
      'input: key=value (JSON or text), @file (JSON or YAML), @- for stdin; repeatable',
      (value: string, all: string[] = []) => [...all, value],
    )
    .option('--wait', 'wait for its end, with live progress')
    .option('--timeout <duration>', 'how long --wait waits', '10m')
    .option('--key <key>', 'Idempotency-Key: the same key never starts twice')
    .option('--dry-run', 'only what reads runs; changes answer from their manifests, nothing is locked, sent or asked')
    .option('--time-scale <factor>', 'what the timers of a dry run are multiplied with (0.001)')
    .option('--coalesce', 'share an identical run that is under way')
    .action((name: string, options: RunOptions, command: Command) => start(contextOf(command, streams), name, options));
  const runs = program.command('runs').description('look at runs and act on them');
  runs
    .command('ls')
    .description('newest first')
    .option('--status <status>', 'queued, running, paused, waiting, succeeded, failed, cancelled or terminated')
    .option('--flow <name>')
    .option('--rule <name>')
    .option('--tier <tier>')
    .option('--under <path>', 'that touch this resource or what lies under it')
    .option('--since <time>')
    .option('--limit <n>', 'most items', '20')
    .action((options: Record<string, string>, command: Command) => list(contextOf(command, streams), options));
  runs
    .command('show')
    .description('one run: verdict, steps, timeline')
    .argument('<id>')
    .action((id: string, _options: object, command: Command) => show(contextOf(command, streams), id));
  registerLogs(runs, streams);
  registerSteering(runs, streams);
  for (const act of ['cancel', 'terminate'] as const) {
    runs
      .command(act)
      .description(
        act === 'cancel' ? 'stop it; compensation and finally still run' : 'stop it at once; nothing runs any more',
      )
      .argument('<id>')
      .requiredOption('--reason <text>', 'kept in the timeline')
      .action((id: string, options: { reason: string }, command: Command) =>
        actOn(contextOf(command, streams), act, id, options.reason),
      );
  }
}

/** `fleet/restart@1` or `probe.http` → offering of the catalog and range. */
export function offeringOf(reference: string): { offering: string; version?: string } {
  const [name = '', version] = reference.split('@', 2);
  if (!/^[a-z0-9-]+\/[a-z0-9-]+$|^atom\/[\w.-]+$|^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$/.test(name)) {
    throw new CliError(
      `"${reference}" names neither a flow (domain/name) nor an atom (word.word); "opsloop get flow" lists them`,
      EXIT.usage,
    );
  }
  return { offering: name.includes('/') ? name : `atom/${name}`, ...(version === undefined ? {} : { version }) };
}

/** Inputs from the left to the right; later ones win. Each is `key=value`, `@file`, `@-` or a JSON object. */
export async function inputOf(
  inputs: readonly string[],
  streams: Pick<Streams, 'cwd' | 'stdin'>,
  option = '-i',
): Promise<JsonObject> {
  const input: JsonObject = {};
  for (const one of inputs) {
    if (one.startsWith('@')) {
      const file = one.slice(1);
      const text = file === '-' ? await streams.stdin() : readText(resolve(streams.cwd, file), `${option} @${file}`);
      Object.assign(input, objectFrom(text, `${option} @${file}`));
    } else if (one.startsWith('{')) Object.assign(input, objectFrom(one, option));
    else {
      const at = one.indexOf('=');
      if (at < 1) throw new CliError(`${option} "${one}" is neither key=value, a JSON object nor @file`, EXIT.usage);
      input[one.slice(0, at)] = valueOf(one.slice(at + 1));
    }
  }
  return input;
}

function objectFrom(text: string, what: string): JsonObject {
  try {
    const value = parse(text, { version: '1.2', schema: 'core', merge: false, maxAliasCount: 0 }) as Json;
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
  } catch (cause) {
    throw new CliError(
      `${what}: ${cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)}`,
      EXIT.usage,
    );
  }
  throw new CliError(`${what} must hold an object`, EXIT.usage);
}

function readText(path: string, given: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    throw new CliError(`${given} cannot be read`, EXIT.usage);
  }
}

/** JSON where it is JSON, else the text itself: `n=3` is a number, `host=host/a` a text. */
function valueOf(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

async function start(context: Context, reference: string, options: RunOptions): Promise<void> {
  if (!isDuration(options.timeout))
    throw new CliError(`--timeout ${options.timeout} is no duration; write for example 90s or 10m`, EXIT.usage);
  const { offering, version } = offeringOf(reference);
  const input = await inputOf(options.input ?? [], context.streams);
  const client = context.client();
  const { body } = await client.start(
    offering,
    {
      input,
      ...(version === undefined ? {} : { version }),
      ...(options.dryRun === true ? { dryRun: true, ...scaleOf(options.timeScale) } : {}),
      ...(options.coalesce === true ? { coalesce: true } : {}),
    },
    { idempotencyKey: options.key ?? randomUUID() },
  );
  if (options.wait === true) return waitFor(context, client, body, durationMs(options.timeout));
  context.out.result(body, () => {
    context.out.line(`run ${body.id}: ${context.out.status(body.status)} (${verdictText(body)})`);
    context.out.next(`opsloop runs show ${body.id}`, ...(body.status === 'queued' ? ['opsloop locks ls'] : []));
  });
}

function scaleOf(text: string | undefined): { timeScale?: number } {
  if (text === undefined) return {};
  const timeScale = Number(text);
  if (timeScale > 0 && timeScale <= 1) return { timeScale };
  throw new CliError(`--time-scale ${text} is no number above 0 and up to 1`, EXIT.usage);
}

/** Shows the steps until the run has ended or the time is over. */
async function waitFor(
  context: Context,
  client: OpsloopClient,
  started: StartAnswer,
  timeoutMs: number,
): Promise<void> {
  const { out } = context;
  if (!out.json) out.line(`run ${started.id}: ${verdictText(started)}`);
  const board = new StepBoard(out);
  const deadline = Date.now() + timeoutMs;
  let run = await client.getRun(started.id);
  board.show(run);
  while (!FINAL_RUN_STATUSES.includes(run.status) && Date.now() < deadline) {
    await new Promise((done) => setTimeout(done, LOOK_MS));
    run = await client.getRun(started.id);
    board.show(run);
  }
  board.end();
  out.result(run, () => {
    out.line(endText(context, run));
    out.next(
      `opsloop runs show ${run.id}`,
      ...(run.targets[0] === undefined ? [] : [`opsloop explain ${run.targets[0]}`]),
    );
  });
  const exit = exitOf(run);
  if (exit !== EXIT.ok) throw endOf(run, exit);
}

function endOf(run: RunView, exit: ExitCode): CliError {
  const where = FINAL_RUN_STATUSES.includes(run.status) ? run.status : `is still ${run.status}`;
  const asked = run.approvals?.map(({ id, title }) => `"${title}" is asked (opsloop approvals show ${id})`).join('; ');
  const why = asked ?? run.problem?.detail ?? run.admission.reason;
  return new CliError(`run ${run.id} ${where}${why === undefined ? '' : `: ${why}`}`, exit, [], run, true);
}

export function exitOf(run: Pick<RunView, 'status' | 'admission' | 'approvals'>): ExitCode {
  if (run.status === 'succeeded') return EXIT.ok;
  if (['rejected', 'withdrawn', 'expired'].includes(run.admission.verdict)) return EXIT.rejected;
  if (run.approvals !== undefined || (run.status === 'queued' && run.admission.verdict === 'needs-approval'))
    return EXIT.waiting;
  return EXIT.failed;
}

function verdictText({ admission }: Pick<StartAnswer, 'admission'>): string {
  const behind = admission.blockedBy?.map(({ path, owner }) => `${path} held by ${owner}`).join(', ');
  const place = admission.position === undefined ? '' : `, place ${admission.position}`;
  return `${admission.verdict}${place}${behind === undefined || behind === '' ? '' : `, behind ${behind}`}`;
}

function endText({ out }: Context, run: RunView): string {
  const took =
    run.startedAt !== undefined && run.endedAt !== undefined
      ? ` in ${((Date.parse(run.endedAt) - Date.parse(run.startedAt)) / 1000).toFixed(1)} s`
      : '';
  const output = run.output === undefined || run.output === null ? '' : `\noutput: ${JSON.stringify(run.output)}`;
  return `${run.flow} ${run.version} ${out.status(run.status)}${took}${output}`;
}

/** `cancelled (rejected)`: what control decided, where the status alone does not say it. */
function statusText({ out }: Context, { status, admission: { verdict } }: RunView): string {
  return verdict === 'admitted' || verdict === status ? out.status(status) : `${out.status(status)} (${verdict})`;
}

async function list(context: Context, options: Record<string, string>): Promise<void> {
  const page = await context.client().listRuns(options);
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no runs');
    else {
      out.table(
        ['ID', 'FLOW', 'STATUS', 'TIER', 'BY', 'TARGETS', 'CREATED'],
        page.items.map((run) => [
          run.id,
          run.flow,
          statusText(context, run),
          run.tier,
          run.initiator.name,
          someOf(run.targets),
          shortTime(run.createdAt),
        ]),
      );
    }
    out.next(page.items[0] === undefined ? 'opsloop run NAME -i key=value' : `opsloop runs show ${page.items[0].id}`);
  });
}

async function show(context: Context, id: string): Promise<void> {
  const client = context.client();
  const [run, timeline] = await Promise.all([client.getRun(id), client.timeline(id)]);
  const { out } = context;
  out.result({ ...run, timeline: timeline.items }, () => {
    out.line(
      `${out.color.bold(`${run.flow} ${run.version}`)}  ${out.status(run.status)}  ${run.tier}  by ${run.initiator.kind} ${run.initiator.name}`,
    );
    if (run.rule !== undefined) out.line(`rule      ${run.rule}`);
    if (run.targets.length > 0) out.line(`targets   ${run.targets.join(', ')}`);
    out.line(`admission ${verdictText(run)}${run.fence === undefined ? '' : `, fence ${run.fence}`}`);
    for (const { policy, saw, said } of run.admission.consulted ?? [])
      out.line(`          ${policy}: ${said} (${saw})`);
    if (run.problem !== undefined)
      out.line(`problem   ${out.color.red(run.problem.code)} ${run.problem.detail ?? run.problem.title}`);
    for (const { stuck, says, suggest } of run.diagnosis ?? []) {
      out.line(`${stuck ? out.color.red('stuck    ') : 'waits    '} ${says}`);
      out.line(`          ${out.color.dim(suggest)}`);
    }
    if (run.retryOf !== undefined) out.line(`retry of  ${run.retryOf}`);
    if (run.temporalUrl !== undefined) out.line(`Temporal  ${run.temporalUrl}`);
    out.line();
    for (const entry of timeline.items)
      out.line(`${shortTime(entry.at).padEnd(10)} ${entry.kind.padEnd(9)} ${entry.title}`);
    const open = !FINAL_RUN_STATUSES.includes(run.status);
    const failed = ['failed', 'cancelled', 'terminated'].includes(run.status) && run.startedAt !== undefined;
    const [found] = run.diagnosis ?? [];
    out.next(
      ...(found === undefined || found.next.endsWith(` show ${id}`) ? [] : [found.next]),
      run.status === 'paused' && run.acts !== undefined
        ? `opsloop runs resume ${id} --reason …`
        : open
          ? `opsloop runs cancel ${id} --reason …`
          : failed
            ? `opsloop runs retry ${id} --reason …`
            : `opsloop explain ${run.targets[0] ?? id}`,
    );
  });
}

async function actOn(context: Context, act: 'cancel' | 'terminate', id: string, reason: string): Promise<void> {
  const answer = await context.client().actOnRun(id, act, { reason });
  context.out.result(answer ?? { id }, () => {
    context.out.line(`run ${id}: ${act} was asked for`);
    context.out.next(`opsloop runs show ${id}`);
  });
}

/** The first few of a list. */
export function someOf(items: readonly string[]): string {
  return items.length <= 2 ? items.join(' ') : `${items[0]!} +${items.length - 1}`;
}
