import type { HaltScope, HaltView, Tier } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

interface HaltOptions {
  all?: boolean;
  rule?: string[];
  flow?: string[];
  atom?: string[];
  path?: string[];
  tier?: string[];
  domain?: string;
  secondPerson?: boolean;
  running: string;
  reason: string;
  until?: string;
  dryRun?: boolean;
}

const collect = (value: string, all: string[] = []): string[] => [...all, value];

export function registerHalts(program: Command, streams: Streams): void {
  program
    .command('halt')
    .description('nothing in the scope starts; with --running also nothing goes on')
    .option('--all', 'everything')
    .option('--rule <pattern>', 'repeatable; * matches anything', collect)
    .option('--flow <pattern>', 'repeatable', collect)
    .option('--atom <pattern>', 'repeatable', collect)
    .option('--path <pattern>', 'resources, repeatable', collect)
    .option('--tier <tier>', 'P0 to P4, repeatable', collect)
    .option('--domain <pattern>', 'flows whose name begins with it')
    .option('--second-person', 'somebody else has to lift it')
    .option('--running <what>', 'runs under way: pause, cancel or leave', 'pause')
    .requiredOption('--reason <text>', 'shown to everybody who is held up')
    .option('--until <time>', 'lifts itself then')
    .option('--dry-run', 'only say what it would hit')
    .action((options: HaltOptions, command: Command) => halt(contextOf(command, streams), options));
  const halts = program.command('halts').description('halts in force');
  halts
    .command('ls')
    .description('halts in force')
    .action((_options: object, command: Command) => list(contextOf(command, streams)));
  halts
    .command('lift')
    .description('lift a halt; what was held is checked again and released at a rate')
    .argument('<id>')
    .requiredOption('--reason <text>')
    .option('--per-minute <n>', 'releases per minute (60)')
    .action((id: string, options: { reason: string; perMinute?: string }, command: Command) =>
      lift(contextOf(command, streams), id, options),
    );
}

/** `--all` and a narrower scope exclude each other, and one of them must be said: nobody halts everything by leaving words out. */
export function scopeOf(options: Partial<HaltOptions>): HaltScope {
  const scope: HaltScope = {
    ...(options.rule === undefined ? {} : { rules: options.rule }),
    ...(options.flow === undefined ? {} : { flows: options.flow }),
    ...(options.atom === undefined ? {} : { atoms: options.atom }),
    ...(options.path === undefined ? {} : { paths: options.path }),
    ...(options.tier === undefined ? {} : { tiers: options.tier as Tier[] }),
    ...(options.domain === undefined ? {} : { domain: options.domain }),
  };
  const narrow = Object.keys(scope).length > 0;
  if (options.all === true && narrow) throw new CliError('--all and a narrower scope exclude each other', EXIT.usage);
  if (options.all !== true && !narrow)
    throw new CliError('say what to halt: --all, --rule, --flow, --atom, --path, --tier or --domain', EXIT.usage);
  return scope;
}

async function halt(context: Context, options: HaltOptions): Promise<void> {
  const { running, reason, until, dryRun } = options;
  if (running !== 'pause' && running !== 'cancel' && running !== 'leave')
    throw new CliError(`--running ${running} is not pause, cancel or leave`, EXIT.usage);
  const answer = await context.client().halt({
    scope: scopeOf(options),
    running,
    reason,
    ...(until === undefined ? {} : { until }),
    ...(dryRun === true ? { dryRun } : {}),
    ...(options.secondPerson === true ? { secondPerson: true } : {}),
  });
  const { out } = context;
  out.result(answer, () => {
    const { hits } = answer;
    out.line(dryRun === true ? 'this halt would hit' : `halt ${answer.id} is in force`);
    if (hits !== undefined)
      out.line(
        `${hits.rules === undefined ? '' : `${hits.rules} rules, `}${hits.queued} queued and ${hits.running} running runs, ${hits.targets} targets`,
      );
    out.next(dryRun === true ? 'the same command without --dry-run' : `opsloop halts lift ${answer.id} --reason …`);
  });
}

async function list(context: Context): Promise<void> {
  const page = await context.client().listHalts();
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no halts');
    else
      out.table(
        ['ID', 'SCOPE', 'RUNNING', 'BY', 'SINCE', 'REASON'],
        page.items.map((one) => [one.id, scopeText(one), one.running, one.by, shortTime(one.since), one.reason]),
      );
    out.next(page.items[0] === undefined ? 'opsloop status' : `opsloop halts lift ${page.items[0].id} --reason …`);
  });
}

function scopeText({ scope }: HaltView): string {
  const parts = Object.entries(scope).map(([key, value]) => `${key} ${[value].flat().join(',')}`);
  return parts.length === 0 ? 'everything' : parts.join(' and ');
}

async function lift(context: Context, id: string, options: { reason: string; perMinute?: string }): Promise<void> {
  const perMinute = options.perMinute === undefined ? undefined : Number(options.perMinute);
  if (perMinute !== undefined && !(Number.isInteger(perMinute) && perMinute > 0))
    throw new CliError('--per-minute must be a whole number from 1', EXIT.usage);
  const answer = await context
    .client()
    .liftHalt(id, { reason: options.reason, ...(perMinute === undefined ? {} : { perMinute }) });
  context.out.result(answer ?? { id }, () => {
    context.out.line(`halt ${id} is lifted; what it held is checked again`);
    context.out.next('opsloop runs ls');
  });
}
