/** `opsloop rules try|rollout|live|agreement`: versions beside the live one, and how far they agree with what was done. */
import type { AgreementCase, AgreementView, JsonObject } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';
import { rulesIn } from './rules.js';

/** Cases printed; `--json` has more. */
const SHOWN = 20;

interface TryOptions {
  percent?: string;
  by?: string;
  failures?: string;
  of?: string;
  reason: string;
}

interface RolloutOptions extends TryOptions {
  stop?: boolean;
}

interface AgreementOptions {
  since?: string;
  until?: string;
  against?: string;
  outcome?: string;
}

export function registerTrials(program: Command, streams: Streams): void {
  const rules = program.commands.find((one) => one.name() === 'rules')!;
  bound(
    rules
      .command('try')
      .description('store a version beside the live one: it watches, or acts on a part of the subjects')
      .argument('<file>', 'the rule with its new version')
      .option('--percent <n>', 'of the subjects, always the same ones; 0: it only watches', '0'),
  ).action((file: string, options: TryOptions, command: Command) =>
    tryRule(contextOf(command, streams), file, options),
  );
  bound(
    rules
      .command('rollout')
      .description('let a version act on more or less of the subjects, or stop it')
      .argument('<name>', 'domain/name, or domain/name@version of a stored version')
      .option('--percent <n>', 'of the subjects, always the same ones')
      .option('--stop', 'the live version acts on everything again'),
  ).action((name: string, options: RolloutOptions, command: Command) =>
    rollout(contextOf(command, streams), name, options),
  );
  rules
    .command('live')
    .description('make a stored version the live one; what was tried has ended')
    .argument('<name>', 'domain/name')
    .argument('<version>')
    .requiredOption('--reason <text>', 'kept in the audit')
    .action(async (name: string, version: string, { reason }: { reason: string }, command: Command) => {
      const { out, client } = contextOf(command, streams);
      const rule = await client().patchRule(name, { live: version, reason });
      out.result(rule, () => {
        out.line(`rule ${name} is ${version} now`);
        out.next(`opsloop describe rule ${name}`);
      });
    });
  rules
    .command('agreement')
    .description('what a rule or version that only watches would have done, beside what was done')
    .argument('<name>', 'domain/name, or domain/name@version; default: the version that is tried')
    .option('--since <time>', 'such as 7d, or a time; default: 7d, or since it watches')
    .option('--until <time>', 'default: now')
    .option('--against <rule>', 'another rule, such as the one that this one shall replace')
    .option('--outcome <outcome>', 'only agreed, differently, more or less')
    .action((name: string, options: AgreementOptions, command: Command) =>
      agreement(contextOf(command, streams), name, options),
    );
}

function bound(command: Command): Command {
  return command
    .option('--by <slot>', 'what is counted as one; default: ${event.subject}')
    .option('--failures <n>', 'taken back at so many verified failures, default 3 …')
    .option('--of <n>', '… of its last runs, default 10')
    .requiredOption('--reason <text>', 'kept in the audit');
}

async function tryRule(context: Context, file: string, options: TryOptions): Promise<void> {
  const { out, streams } = context;
  const loaded = rulesIn([file], streams.cwd);
  if (loaded.length !== 1) throw new CliError(`${file} holds ${loaded.length} rules; one at a time`, EXIT.usage);
  const rule = loaded[0]!.document as JsonObject & { name: string; version: string };
  const client = context.client();
  await client.putTriedRule(rule.name, rule);
  const after = await client.patchRule(rule.name, {
    rollout: { version: rule.version, ...sharesOf(options) },
    reason: options.reason,
  });
  out.result(after, () => {
    const share = Number(options.percent);
    const does = share === 0 ? 'only watches' : `acts on ${share} % of the subjects`;
    out.line(`${rule.name}@${rule.version} ${does}, beside ${after.version ?? 'the live version'}`);
    out.next(`opsloop rules agreement ${rule.name}`);
  });
}

async function rollout(context: Context, reference: string, options: RolloutOptions): Promise<void> {
  const [name = '', version] = reference.split('@', 2);
  const { stop, reason } = options;
  const shares = sharesOf(options);
  if (stop !== true && Object.keys(shares).length === 0 && version === undefined)
    throw new CliError('say how much: --percent N, or --stop', EXIT.usage);
  const wish = stop === true ? null : { ...(version === undefined ? {} : { version }), ...shares };
  const after = await context.client().patchRule(name, { rollout: wish, reason });
  const { out } = context;
  out.result(after, () => {
    const state = after.meta?.['rollout'] as { percent: number; version?: string } | undefined;
    out.line(
      state === undefined
        ? `rule ${name}: ${after.version ?? 'the live version'} acts on everything`
        : `rule ${name}: ${state.version ?? after.version ?? ''} acts on ${state.percent} % of the subjects`,
    );
    out.next(`opsloop rules agreement ${name}`);
  });
}

function sharesOf(options: TryOptions): { percent?: number; by?: string; failures?: number; of?: number } {
  const number = (text: string | undefined, option: string): number | undefined => {
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text === '' || Number.isNaN(value)) throw new CliError(`--${option} must be a number`, EXIT.usage);
    return value;
  };
  const all = {
    percent: number(options.percent, 'percent'),
    by: options.by,
    failures: number(options.failures, 'failures'),
    of: number(options.of, 'of'),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

async function agreement(context: Context, reference: string, options: AgreementOptions): Promise<void> {
  const [name = '', version] = reference.split('@', 2);
  const view = await context.client().agreement(name, { ...options, version, limit: context.out.json ? 200 : SHOWN });
  const { out } = context;
  out.result(view, () => {
    out.line(out.color.bold(`${view.rule}@${view.version} ${standing(view)}`));
    out.line(`since ${view.from}${view.cut ? ' (more than is compared; the newest were)' : ''}: ${figuresText(view)}`);
    for (const outcome of ['agreed', 'differently', 'more', 'less'] as const) {
      const tiers = Object.entries(view[outcome].byTier).map(([tier, count]) => `${tier} ${count}`);
      out.line(`  ${outcome.padEnd(11)} ${view[outcome].count}${tiers.length === 0 ? '' : ` (${tiers.join(', ')})`}`);
    }
    for (const one of view.items) out.line(`  ${one.at} ${caseText(one)}`);
    if (view.returned !== undefined) out.line(`${view.returned.version} was taken back: ${view.returned.why}`);
    out.next(view.next);
  });
}

function standing({ mode, rollout, version }: AgreementView): string {
  if (rollout?.version === version)
    return rollout.percent === 0 ? 'only watches' : `acts on ${rollout.percent} % of the subjects`;
  return mode === 'shadow' ? 'only watches' : `is ${mode}`;
}

/** `11 of 12 cases agree, 1 more; 5 runs verified, 1 in vain`. */
export function figuresText(view: AgreementView): string {
  const { cases, agreed, more, less, differently, verified } = view;
  const parts = [
    ...(more.count === 0 ? [] : [`it acts on ${more.count} more`]),
    ...(less.count === 0 ? [] : [`on ${less.count} less`]),
    ...(differently.count === 0 ? [] : [`on ${differently.count} differently`]),
  ];
  const runs =
    verified === undefined || verified.of === 0
      ? ''
      : `; of its last ${verified.of} verified runs ${verified.notFixed} were in vain`;
  if (cases === 0) return `nothing to compare yet${runs}`;
  return `${agreed.count} of ${cases} cases agree${parts.length === 0 ? '' : `, ${parts.join(', ')}`}${runs}`;
}

function caseText({ outcome, resource, tried, other, members }: AgreementCase): string {
  const who = other?.by === 'person' ? `by hand (run ${other.id ?? '?'})` : `${other?.version ?? ''}`;
  const ofTried = tried && `${tried.ref}${tried.tier === undefined ? '' : ` ${tried.tier}`}`;
  const ofOther = other && `${other.ref}${other.tier === undefined ? '' : ` ${other.tier}`} ${who}`.trim();
  if (outcome === 'more') return `more: ${resource}: ${ofTried!}; nobody else did anything`;
  if (outcome === 'less') return `less: ${resource}: nothing; ${ofOther!}`;
  return `${outcome}: ${resource}: ${ofTried!}; ${ofOther!}${members === undefined ? '' : ` (${members.join(', ')})`}`;
}
