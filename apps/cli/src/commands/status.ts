import { ApiProblem } from '@opsloop/api-client';
import type { ExhaustedView } from '@opsloop/api-client';
import type { AgreementView, StatusLevel, StatusView } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';
import { figuresText } from './trials.js';

/** A person who watches sees a change within two seconds; more often would only flicker. */
const WATCH_MS = 2_000;
/** Named one by one; the rest is a number. A screen has some 24 lines. */
const EXHAUSTED_MAX = 5;

export function registerStatus(program: Command, streams: Streams): void {
  program
    .command('status')
    .description('how things stand, worst first, each line with what to type')
    .option('--watch', 'again every 2 s until Ctrl-C')
    .action((options: { watch?: boolean }, command: Command) =>
      status(contextOf(command, streams), options.watch === true),
    );
}

async function status(context: Context, watch: boolean): Promise<void> {
  for (;;) {
    await once(context, watch);
    if (!watch) return;
    await new Promise((done) => setTimeout(done, WATCH_MS));
  }
}

async function once(context: Context, watch: boolean): Promise<void> {
  const { out, streams } = context;
  const client = context.client();
  const [readiness, state, trials, exhausted] = await Promise.all([
    client.readiness(),
    client.status().catch(unlessAway),
    // Decision may be away, or older: what stands in the way is said without it.
    client.trials().catch(() => ({ items: [] })),
    client.exhausted().catch(() => []),
  ]);
  if (watch && streams.isTTY && !out.json) streams.out('\u001b[H\u001b[2J');
  const { ready, parts } = readiness;
  out.result({ ...state, ready, parts, trials: trials.items, exhausted }, () => {
    out.line(headline(context, state, ready));
    for (const { name, detail } of parts.filter(({ ok }) => !ok)) out.line(`  ${name}: ${detail ?? 'not ready'}`);
    for (const line of itemLines(context, state.items)) out.line(line);
    for (const line of exhaustedLines(context, exhausted)) out.line(line);
    for (const line of trialLines(context, trials.items)) out.line(line);
    if (!watch)
      out.next(...(state.items[0]?.level === 'ok' ? ['opsloop runs ls'] : ['opsloop runs ls', 'opsloop halts ls']));
  });
  if (!ready && !watch)
    throw new CliError('a part of the stack is not ready', EXIT.failed, [], { ...state, ...readiness }, true);
}

const NO_COUNTS = { queued: 0, held: 0, running: 0, failed1h: 0, succeeded1h: 0, locks: 0, halts: 0, approvals: 0 };

/** Without its database control answers 503: that is a state of things too, and the worst. */
function unlessAway(error: unknown): StatusView {
  if (!(error instanceof ApiProblem) || error.status !== 503) throw error;
  return {
    ok: false,
    at: new Date().toISOString(),
    counts: NO_COUNTS,
    items: [
      {
        level: 'down',
        code: 'database',
        title: `control has no database: nothing is accepted and nothing new starts (${error.problem.detail ?? error.problem.title})`,
        next: 'opsloop doctor',
      },
    ],
  };
}

function headline({ out }: Context, { ok, counts }: StatusView, ready: boolean): string {
  const word = !ready ? out.color.red('not ready') : ok ? out.color.green('all is well') : out.color.red('needs you');
  return `${word}   ${countsText(counts)}`;
}

/** `running 3   failed in 1h 1`: what is not 0, and always what runs. */
export function countsText(counts: StatusView['counts']): string {
  return Object.entries(counts)
    .filter(([name, count]) => count > 0 || name === 'running')
    .map(([name, count]) => `${name.replace('1h', ' in 1h')} ${count}`)
    .join('   ');
}

/** What stands in the way, worst first, each with what to type. */
function itemLines({ out }: Context, items: StatusView['items']): string[] {
  return items.flatMap(({ level, title, next }) => [
    `${paint(out, level, level.padEnd(8))} ${title}`,
    `${' '.repeat(9)}${out.color.dim(out.typed(next))}`,
  ]);
}

/** Where rules have given up and nothing opens: a person has to look. */
function exhaustedLines({ out }: Context, episodes: readonly ExhaustedView[]): string[] {
  const lines = episodes
    .slice(0, EXHAUSTED_MAX)
    .flatMap(({ rule, resource, reason }) => [
      `${out.color.red('given up')} ${rule} on ${resource}: ${reason ?? 'exhausted'}`,
      `${' '.repeat(9)}${out.color.dim(out.typed(`opsloop explain ${resource}`))}`,
    ]);
  const more = episodes.length - EXHAUSTED_MAX;
  return more > 0 ? [...lines, `${' '.repeat(9)}and ${more} more`] : lines;
}

/** Rules that only watch or try a version: what they would have done, and what to type next. */
function trialLines({ out }: Context, trials: readonly AgreementView[]): string[] {
  return trials.flatMap((view) => {
    const { rule, version, rollout } = view;
    const share = rollout?.version === undefined || rollout.percent === 0 ? 'watches' : `on ${rollout.percent} %`;
    return [
      `${out.color.yellow('trial'.padEnd(8))} ${rule}@${version} ${share}: ${figuresText(view)}`,
      `${' '.repeat(9)}${out.color.dim(out.typed(`opsloop rules agreement ${rule}`))}`,
    ];
  });
}

function paint(out: Context['out'], level: StatusLevel, text: string): string {
  if (level === 'ok') return out.color.green(text);
  return level === 'waiting' ? out.color.yellow(text) : out.color.red(text);
}
