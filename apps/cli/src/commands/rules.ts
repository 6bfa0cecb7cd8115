/** `opsloop rules test|lint|backtest`: what rules would decide, what is wrong between them, what a change would change. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { BacktestView, Json, RuleDocument } from '@opsloop/contracts';
import { lintRules, validateDocument } from '@opsloop/dsl';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { parseText, readDocuments } from '../documents/read-documents.js';
import type { LoadedDocument } from '../documents/read-documents.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

/** A comparison moves by some percent in this time. */
const LOOK_MS = 400;
/** Decisions printed of each list; `--json` has more. */
const SHOWN = 10;
const BAR_CHARS = 30;

interface BacktestOptions {
  since: string;
  until?: string;
  under?: string;
  remove?: string[];
}

export function registerRules(program: Command, streams: Streams): void {
  const rules = program.commands.find((one) => one.name() === 'rules')!;
  rules
    .command('test')
    .description('what a rule, stored or not, decides on an event; nothing starts')
    .argument('<file>', 'the rule')
    .requiredOption('--event <event>', 'id of a stored event, JSON, or @file')
    .option('--resource <resource>', 'the resource as JSON or @file; default: as it is known')
    .action((file: string, options: { event: string; resource?: string }, command: Command) =>
      testRule(contextOf(command, streams), file, options),
    );
  rules
    .command('lint')
    .description('rules that overlap, contradict or never act, each shown by an event that proves it')
    .argument('[paths...]', 'files and folders; default: here')
    .action((paths: string[], _options: unknown, command: Command) =>
      lint(contextOf(command, streams), paths.length === 0 ? ['.'] : paths),
    );
  for (const parent of [rules, program])
    parent
      .command('backtest')
      .description('what changed rules would have decided on stored events, beside the rules in use; nothing starts')
      .argument('[paths...]', 'files and folders with the changed rules')
      .requiredOption('--since <time>', 'such as 7d, or a time')
      .option('--until <time>', 'default: now')
      .option('--under <path>', 'only events about this path and below')
      .option('--remove <rule>', 'a rule that would be gone; repeatable', (name: string, all: string[] = []) => [
        ...all,
        name,
      ])
      .action((paths: string[], options: BacktestOptions, command: Command) =>
        backtest(contextOf(command, streams), paths, options),
      );
}

async function testRule(context: Context, file: string, options: { event: string; resource?: string }): Promise<void> {
  const { out, streams } = context;
  const rule = rulesIn([file], streams.cwd)[0]!.document;
  const client = context.client();
  const event = /^[0-9a-f-]{36}$/.test(options.event)
    ? ((await client.getEvent(options.event)) as unknown as Json)
    : valueOf(options.event, '--event', streams.cwd);
  const resource = options.resource === undefined ? undefined : valueOf(options.resource, '--resource', streams.cwd);
  const answer = await client.testRule({ rule, event, ...(resource === undefined ? {} : { resource }) });
  out.result(answer, () => {
    const why = answer.because === undefined ? '' : `: ${answer.because.text}`;
    out.line(`${out.color.bold(answer.verdict)} at ${answer.stage}${why}`);
    for (const { ref, tier, branch, rung, targets } of answer.decisions)
      out.line(`  would run ${ref} (${branch}, ${rung}, ${tier}) on ${targets.join(', ')}`);
    out.next('opsloop rules backtest <file> --since 7d');
  });
}

function lint({ out, streams }: Context, paths: string[]): void {
  const documents = rulesIn(paths, streams.cwd);
  const findings = lintRules(documents.map(({ document }) => document as unknown as RuleDocument));
  const placeOf = (name: string): string => documents.find((one) => one.name === name)?.place ?? name;
  out.result({ findings: findings.map((one) => ({ ...one, place: placeOf(one.rule) })) }, () => {
    for (const { code, severity, rule, pointer, message, hint, witness } of findings) {
      const mark = severity === 'error' ? out.color.red(code) : out.color.yellow(code);
      out.line(`${mark} ${rule} ${out.color.dim(`${placeOf(rule)}${pointer}`)}: ${message}`);
      out.line(`     ${JSON.stringify(witness)}`);
      out.line(`     ${hint}`);
    }
    const count = `${documents.length} ${documents.length === 1 ? 'rule' : 'rules'}`;
    out.line(findings.length === 0 ? `${count}, nothing found` : `${count}, ${findings.length} findings`);
  });
  if (findings.length > 0)
    throw new CliError(`${findings.length} findings in ${documents.length} rules`, EXIT.failed, [], undefined, true);
}

async function backtest(context: Context, paths: string[], options: BacktestOptions): Promise<void> {
  const { out, streams } = context;
  const rules = paths.length === 0 ? [] : rulesIn(paths, streams.cwd).map(({ document }) => document);
  const client = context.client();
  const { remove = [], since, until, under } = options;
  let view = await client.backtest({
    rules,
    remove,
    since,
    ...(until === undefined ? {} : { until }),
    ...(under === undefined ? {} : { under }),
  });
  while (view.status === 'queued' || view.status === 'running') {
    if (streams.isTTY && !out.json) streams.err(`\r${bar(view)}`);
    await new Promise((done) => setTimeout(done, LOOK_MS));
    view = await client.getBacktest(view.id);
  }
  if (streams.isTTY && !out.json) streams.err(`\r${' '.repeat(BAR_CHARS + 40)}\r`);
  const { result, problem } = view;
  if (result === undefined) throw new CliError(`the backtest failed: ${problem ?? 'nobody knows why'}`, EXIT.failed);
  out.result(view, () => print(out, result));
}

function bar({ status, progress: { done, total } }: BacktestView): string {
  const share = total === 0 ? 0 : done / total;
  const full = Math.round(share * BAR_CHARS);
  return `${'█'.repeat(full)}${'░'.repeat(BAR_CHARS - full)} ${done} of ${total} events${status === 'queued' ? ', waiting' : ''}`;
}

function print(out: Context['out'], result: NonNullable<BacktestView['result']>): void {
  const { events, decisions, cut } = result;
  const more = cut ? ', and more than are compared at once' : '';
  out.line(`${events} events${more}: ${decisions.before} decisions before, ${decisions.after} after`);
  const tiers = (byTier: Record<string, number>): string =>
    Object.entries(byTier)
      .map(([tier, count]) => `${count} ${tier}`)
      .join(', ');
  const said = (one: { at: string; rule: string; tier: string; ref: string; targets: string[] }): string =>
    `${one.at} ${one.rule} ${one.tier} ${one.ref} on ${one.targets.join(', ')}`;
  for (const [name, list, mark] of [
    ['gained', result.gained, '+'],
    ['lost', result.lost, '-'],
  ] as const) {
    out.line(`${out.color.bold(name)} ${list.count}${list.count === 0 ? '' : ` (${tiers(list.byTier)})`}`);
    for (const one of list.items.slice(0, SHOWN)) out.line(`  ${mark} ${said(one)}`);
  }
  const { changed } = result;
  out.line(`${out.color.bold('changed')} ${changed.count}${changed.count === 0 ? '' : ` (${tiers(changed.byTier)})`}`);
  for (const { members, before, after } of changed.items.slice(0, SHOWN)) {
    out.line(`  ~ ${said(after)}`);
    for (const member of members)
      out.line(`    ${member}: ${JSON.stringify(before[member])} → ${JSON.stringify(after[member])}`);
  }
  out.next('opsloop apply -f <file>', 'opsloop rules mode <name> shadow --reason …');
}

export function rulesIn(paths: readonly string[], cwd: string): LoadedDocument[] {
  const rules = readDocuments(paths, cwd).filter(({ kind }) => kind === 'rule');
  if (rules.length === 0) throw new CliError(`no rules in ${paths.join(', ')}`, EXIT.usage);
  const wrong = rules.flatMap(({ document, place }) =>
    validateDocument('rule', document)
      .findings.filter(({ severity }) => severity === 'error')
      .map(({ pointer, message }) => `${place}${pointer}: ${message}`),
  );
  if (wrong.length > 0) throw new CliError('the rules are not valid', EXIT.failed, wrong);
  return rules;
}

/** JSON, or `@file` with JSON or YAML. */
function valueOf(text: string, option: string, cwd: string): Json {
  try {
    if (!text.startsWith('@')) return JSON.parse(text) as Json;
    const file = resolve(cwd, text.slice(1));
    return parseText(readFileSync(file, 'utf8'), file.endsWith('.json') ? 'json' : 'yaml')[0] as Json;
  } catch (error) {
    throw new CliError(`${option}: ${error instanceof Error ? error.message : String(error)}`, EXIT.usage);
  }
}
