import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

interface Filter {
  source?: string;
  code?: string;
  cause?: string;
  since?: string;
  until?: string;
  kind?: string;
}

/** `opsloop events dead` and `opsloop events requeue`. */
export function registerDeadLetters(events: Command, streams: Streams): void {
  withFilter(
    events
      .command('dead')
      .description(
        'deliveries that no event could be made of, with the cause; --handler: events that an app could not handle',
      )
      .argument('[id]', 'one of them, with what was sent')
      .option('--limit <n>', 'most items', '20')
      .option('--delete', 'delete the one that is named'),
  ).action((id: string | undefined, options: Filter & { limit: string; delete?: boolean }, command: Command) => {
    const context = contextOf(command, streams);
    if (id === undefined) return list(context, options);
    return options.delete === true ? remove(context, id) : show(context, id);
  });
  withFilter(
    events
      .command('requeue')
      .description('send dead letters on again, through their source as it is now')
      .argument('[id]', 'one of them; without it those that fit the filter')
      .option('--all', 'all there are'),
  ).action((id: string | undefined, options: Filter & { all?: boolean }, command: Command) => {
    const context = contextOf(command, streams);
    return id === undefined ? requeueMany(context, options) : requeue(context, id);
  });
}

function withFilter(command: Command): Command {
  return command
    .option('--source <name>')
    .option('--code <code>', 'such as validation')
    .option('--cause <pattern>', '* matches anything')
    .option('--since <time>', 'a time, or a duration back from now such as 1h')
    .option('--until <time>')
    .option('--handler', 'events that an app could not handle');
}

function queryOf(options: Filter & { handler?: boolean }): Record<string, string> {
  const { source, code, cause, since, until, handler } = options;
  const given = { source, code, cause, since, until, ...(handler === true ? { kind: 'handler' } : {}) };
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Room for one line of a cause. */
const CAUSE_CHARS = 90;

async function list(context: Context, options: Filter & { limit: string }): Promise<void> {
  const page = await context.client().listDeadLetters({ ...queryOf(options), limit: options.limit });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) return out.line('no dead letters');
    out.table(
      ['ID', 'SOURCE', 'CODE', 'TIMES', 'LAST', 'CAUSE'],
      page.items.map((one) => [
        one.id,
        one.source,
        one.code,
        String(one.times),
        shortTime(one.lastAt),
        one.cause.length > CAUSE_CHARS ? `${one.cause.slice(0, CAUSE_CHARS - 1)}…` : one.cause,
      ]),
    );
    out.next(`opsloop events dead ${page.items[0]!.id}`);
  });
}

async function show(context: Context, id: string): Promise<void> {
  const letter = await context.client().getDeadLetter(id);
  const { out } = context;
  out.result(letter, () => {
    out.line(`${letter.id}  ${letter.code}: ${letter.cause}`);
    out.line(`from ${letter.source}, ${letter.times} times, first ${letter.receivedAt}, last ${letter.lastAt}`);
    for (const { pointer, message } of letter.errors) out.line(`  ${pointer || '/'} ${message}`);
    for (const [name, value] of Object.entries(letter.headers ?? {})) out.line(`${name}: ${value}`);
    if (letter.body !== undefined) out.line(`\n${letter.body}`);
    out.next(`opsloop events requeue ${id}`);
  });
}

async function remove(context: Context, id: string): Promise<void> {
  await context.client().deleteDeadLetter(id);
  context.out.result({ deleted: id }, () => context.out.line(`dead letter ${id} is deleted`));
}

async function requeue(context: Context, id: string): Promise<void> {
  const answer = await context.client().requeueDeadLetter(id);
  const { out } = context;
  out.result(answer, () => {
    out.line(`${answer.items.length} events came of it`);
    const first = answer.items[0];
    if (first !== undefined) out.next(`opsloop explain ${first.eventId}`);
  });
}

async function requeueMany(context: Context, options: Filter & { all?: boolean }): Promise<void> {
  const filter = queryOf(options);
  if (Object.keys(filter).length === 0 && options.all !== true)
    throw new CliError(
      'name one dead letter, say which with --source, --code, --cause, --since, --until, or --all',
      EXIT.usage,
    );
  const { out } = context;
  let requeued = 0;
  let answer;
  do {
    answer = await context.client().requeueDeadLetters(filter);
    requeued += answer.requeued;
    // Those that failed stay at the head of the list: going on would only meet them again.
  } while (answer.more && answer.requeued > 0 && answer.failed.length === 0);
  const { failed } = answer;
  out.result({ requeued, failed, more: answer.more }, () => {
    out.line(`${requeued} sent on, ${failed.length} failed again`);
    for (const one of failed) out.line(`  ${one.id}  ${one.code}: ${one.cause}`);
    out.next(failed[0] === undefined ? 'opsloop events ls --since 1m' : `opsloop events dead ${failed[0].id}`);
  });
  if (failed.length > 0) throw new CliError(`${failed.length} dead letters could not be made into events`, EXIT.failed);
}
