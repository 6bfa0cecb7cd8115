/** `opsloop plan`: what a run would do with an input, before it does it. */
import { existsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { FINAL_RUN_STATUSES } from '@opsloop/contracts';
import type { FlowDocument, Json, JsonObject, PlanAnswer, PlanStep, RunView } from '@opsloop/contracts';
import {
  compileFlow,
  planFlow,
  planRetry,
  resolverIn,
  validateDocument,
  validateTogether,
  verifyFlow,
  worldOf,
} from '@opsloop/dsl';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { placeLines } from '../documents/place-lines.js';
import { readDocuments } from '../documents/read-documents.js';
import type { LoadedDocument } from '../documents/read-documents.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';
import { inputOf, offeringOf, someOf } from './runs.js';
import { showFinding } from './validate.js';
import type { ShownFinding } from './validate.js';

interface PlanOptions {
  input?: string[];
  against?: string;
  documents?: string[];
}

export function registerPlan(program: Command, streams: Streams): void {
  program
    .command('plan')
    .description('what a run would do: tree, pinned versions, batches, locks, approvals, blast radius, worst case')
    .argument(
      '[name]',
      'flow or atom of the server (name@range), or a file with a flow; with --against: that of the run',
    )
    .option(
      '-i, --input <k=v|json|@file>',
      'input: key=value (JSON or text), @file (JSON or YAML), @- for stdin; repeatable',
      (value: string, all: string[] = []) => [...all, value],
    )
    .option(
      '-d, --documents <path>',
      'further documents, beside those in the folder of the file; repeatable',
      (value: string, all: string[] = []) => [...all, value],
    )
    .option('--against <run>', 'also what a retry of this run from where it failed would execute again')
    .action((name: string | undefined, options: PlanOptions, command: Command) =>
      plan(contextOf(command, streams), name, options),
    );
}

async function plan(context: Context, name: string | undefined, options: PlanOptions): Promise<void> {
  const { streams, out } = context;
  const run = options.against === undefined ? undefined : await context.client().getRun(options.against);
  if (name === undefined && run === undefined)
    throw new CliError('name a flow or a file: opsloop plan fleet/restart -i host=host/a', EXIT.usage);
  const given = await inputOf(options.input ?? [], streams);
  const input = (options.input === undefined && run?.input !== undefined ? run.input : given) as Json;
  const wanted = name ?? `${run!.flow}@${run!.version}`;
  const planned = isFile(wanted, streams.cwd)
    ? await planFile(context, wanted, input, options.documents ?? [])
    : await context.client().plan({ name: referenceOf(wanted), input: input as JsonObject });
  const steps = run?.steps ?? [];
  const answer: PlanAnswer = run === undefined ? planned : { ...planned, retry: planRetry(planned, steps) };
  out.result(answer, () => show(context, answer, wanted, run));
  const wrong = answer.findings.filter(({ severity }) => severity === 'error').length;
  if (answer.inputErrors.length + wrong > 0)
    throw new CliError(
      answer.inputErrors.length > 0 ? 'the input does not match the flow' : 'the flow has mistakes',
      EXIT.failed,
      answer.inputErrors.map(({ pointer, message }) => `${pointer} ${message}`),
      undefined,
      true,
    );
}

function isFile(text: string, cwd: string): boolean {
  return /\.(json|ya?ml)$/.test(text) || (existsSync(resolve(cwd, text)) && statSync(resolve(cwd, text)).isFile());
}

function referenceOf(text: string): string {
  const { offering, version } = offeringOf(text);
  return version === undefined ? offering : `${offering}@${version}`;
}

/** A file's flow with what lies beside it; the server is asked only for what is not there. */
async function planFile(context: Context, file: string, input: Json, more: readonly string[]): Promise<PlanAnswer> {
  const { cwd } = context.streams;
  const flows = readDocuments([file], cwd).filter(({ kind }) => kind === 'flow');
  const [flow] = flows;
  if (flow === undefined || flows.length > 1)
    throw new CliError(`${file} holds ${flows.length} flows; a plan is of one`, EXIT.usage);
  const beside = [...neighbours(file, cwd), ...(more.length === 0 ? [] : readDocuments(more, cwd))].filter(
    ({ kind, name }) => kind !== 'flow' || name !== flow.name,
  );
  const { findings, document } = validateDocument<FlowDocument>('flow', flow.document);
  if (document === undefined) {
    const shown = findings.map((one): ShownFinding => ({ place: flow.place, kind: 'flow', name: flow.name, ...one }));
    placeLines(shown, cwd);
    if (!context.out.json) shown.forEach((one) => showFinding(context, one));
    throw new CliError(`${file} is not valid`, EXIT.failed, [], { code: 'validation', findings: shown });
  }
  const sound = validateTogether(beside.map((one) => one.document));
  const good = beside.filter((_, i) => sound[i]!.valid).map((one) => one.document);
  const world = worldOf(good);
  const { compiled, findings: lost } = compileFlow(document, resolverIn(world));
  if (compiled !== undefined) {
    const config = world.configs ?? {};
    const { environment = {} } = world;
    const findings = verifyFlow(compiled.flow, { ...world, complete: true });
    return planFlow(compiled, input, { config, findings, environment });
  }
  const missing = lost.filter(({ code }) => code === 'OPS1010' || code === 'OPS1011');
  try {
    const documents = good.filter(({ kind }) => kind === 'flow' || kind === 'atom');
    return await context.client().plan({ flow: flow.document, documents, input: input as JsonObject });
  } catch (error) {
    if (missing.length === 0 || !(error instanceof CliError)) throw error;
    throw new CliError(
      `${file} refers to what is not beside it, and no server was found`,
      EXIT.failed,
      missing.map(({ pointer, message }) => `${pointer} ${message}`),
    );
  }
}

/** Documents of the file's folder; other files in it may be anything. */
function neighbours(file: string, cwd: string): LoadedDocument[] {
  try {
    return readDocuments([dirname(resolve(cwd, file))], cwd);
  } catch {
    return [];
  }
}

function show(context: Context, answer: PlanAnswer, wanted: string, run: RunView | undefined): void {
  const { out } = context;
  out.line(`${out.color.bold(`${answer.name} ${answer.version}`)}  ${effect(context, answer.effect)}`);
  for (const { pointer, message } of answer.inputErrors)
    out.line(`input     ${out.color.red(`${pointer} ${message}`)}`);
  const facts: [string, string][] = [
    ['targets', list(answer.targets)],
    ['in flight', `${answer.blastRadius.inFlight} at once, ${answer.blastRadius.total} in all`],
    [
      'locks',
      typeof answer.locks === 'string' ? answer.locks : list(answer.locks.map(({ path, mode }) => `${path} (${mode})`)),
    ],
    [
      'changes',
      `${typeof answer.changes === 'number' ? `${answer.changes} calls` : answer.changes}; written: ${counts(answer.effects)}`,
    ],
    ['secrets', answer.secrets.join(', ')],
    [
      'local',
      answer.local.length === 0 ? '' : `${answer.local.length} steps inside the flow worker: ${list(answer.local)}`,
    ],
    ['at most', worst(answer)],
  ];
  for (const [label, text] of facts) if (text !== '') out.line(`${label.padEnd(9)} ${text}`);
  for (const { step, title, approvers, min, timeout, if: condition } of answer.approvals)
    out.line(
      `approval  ${step}: "${title}", ${min} of ${approvers.join(', ') || 'anybody'}${timeout === undefined ? '' : ` within ${timeout}`}${condition === undefined ? '' : `, if ${condition}`}`,
    );
  out.line();
  tree(context, answer.steps, '', new Set(answer.retry?.kept.map(bare)), answer.retry !== undefined);
  if (answer.batches.length > 0) {
    out.line();
    out.table(
      ['STEP', 'BATCH', 'SIZE', 'ITEMS'],
      answer.batches.map(({ step, number, of, size, items }) => [step, `${number} of ${of}`, size, list(items, 5)]),
    );
  }
  if (answer.retry !== undefined && run !== undefined) showRetry(context, answer.retry, run);
  if (answer.findings.length > 0) out.line();
  for (const one of answer.findings)
    showFinding(context, { place: answer.name, kind: 'flow', name: answer.name, ...one, severity: one.severity });
  out.next(
    ...(isFile(wanted, context.streams.cwd) ? [`opsloop apply -f ${wanted}`] : [`opsloop run ${wanted} -i … --wait`]),
  );
}

function showRetry({ out }: Context, retry: NonNullable<PlanAnswer['retry']>, run: RunView): void {
  out.line();
  const open = FINAL_RUN_STATUSES.includes(run.status) ? '' : ', which has not ended';
  out.line(`A retry of run ${run.id} (${run.status}${open}) keeps ${retry.kept.length} steps and executes again:`);
  out.table(
    ['STEP', 'WHY', 'EFFECT'],
    [
      ...retry.again.map(({ path, why, effect: kind }) => [path, why, kind]),
      ...retry.first.map(({ path, effect: kind }) => [path, 'not reached before', kind]),
    ],
  );
}

/** Instance path → the step as it is written. */
function bare(path: string): string {
  return path.replaceAll(/\[[^\]]*\]|~[^/]*/g, '');
}

function tree(
  context: Context,
  steps: readonly PlanStep[],
  indent: string,
  kept: ReadonlySet<string>,
  marks: boolean,
): void {
  const { out } = context;
  steps.forEach((step, i) => {
    const last = i === steps.length - 1;
    const facts = [
      step.verb,
      step.pinned ?? step.ref ?? '',
      step.effect === undefined ? '' : effect(context, step.effect),
      step.execution ?? '',
      step.items === undefined ? '' : typeof step.items === 'number' ? `${step.items} items` : `items ${step.items}`,
      step.concurrency === undefined ? '' : `${step.concurrency} at once`,
      step.undo === undefined ? '' : `undone by ${step.undo}`,
      step.if === undefined ? '' : `if ${step.if}`,
      step.skipped === true ? out.color.dim('skipped with this input') : '',
      marks && kept.has(step.path) ? out.color.dim('kept') : '',
    ].filter((text) => text !== '');
    out.line(`${indent}${last ? '└ ' : '├ '}${out.color.bold(step.id)}  ${facts.join('  ')}`);
    tree(context, step.steps ?? [], `${indent}${last ? '  ' : '│ '}`, kept, marks);
  });
}

function effect({ out }: Context, kind: string): string {
  return kind === 'destroy' ? out.color.red(kind) : kind === 'mutate' ? out.color.yellow(kind) : out.color.green(kind);
}

function list(items: readonly string[] | string, most = 3): string {
  if (typeof items === 'string') return items;
  if (items.length <= most) return items.join(', ');
  return most === 3
    ? `${items.length}: ${someOf(items)}`
    : `${items.slice(0, most).join(', ')} +${items.length - most}`;
}

function counts(effects: PlanAnswer['effects']): string {
  return Object.entries(effects)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');
}

function worst({ worst: { duration, events, continues }, timeout }: PlanAnswer): string {
  const bound = timeout === undefined ? '' : `, cut off after ${timeout}`;
  return `${duration}${bound}; about ${events} history events${continues ? ', in several Temporal runs' : ''}`;
}
