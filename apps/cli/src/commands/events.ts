import { randomUUID } from 'node:crypto';
import type { EventView, Json, JsonObject } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';
import { registerDeadLetters } from './dead-letters.js';
import { inputOf } from './runs.js';

interface SendOptions {
  type?: string;
  subject?: string;
  source: string;
  id?: string;
  data?: string[];
}

interface ReplayOptions {
  type?: string;
  subject?: string;
  source?: string;
  since?: string;
  until?: string;
  dryRun?: boolean;
  yes?: boolean;
  active?: boolean;
}

const collect = (value: string, all: string[] = []): string[] => [...all, value];

export function registerEvents(program: Command, streams: Streams): void {
  const events = program.command('events').description('send, list and replay events; what could not be worked on');
  events
    .command('send')
    .description('send one event')
    .requiredOption('--type <type>', 'such as fleet.service.state; types that end in .state report their subject')
    .option('--subject <path>', 'the resource it is about')
    .option('--source <uri>', 'who says so', '/opsloop-cli')
    .option('--id <id>', 'identity together with the source (random)')
    .option('-d, --data <k=v|json|@file>', 'data: key=value, a JSON object or @file, repeatable', collect)
    .action((options: SendOptions, command: Command) => send(contextOf(command, streams), options));
  events
    .command('ls')
    .description('newest first')
    .option('--type <pattern>', '* matches anything')
    .option('--subject <pattern>')
    .option('--source <pattern>')
    .option('--since <time>', 'a time, or a duration back from now such as 1h')
    .option('--until <time>')
    .option('--unmapped', 'only those for which no resource was found')
    .option('--limit <n>', 'most items', '20')
    .action((options: Record<string, string | boolean>, command: Command) =>
      list(contextOf(command, streams), options),
    );
  events
    .command('replay')
    .description('send stored events again under new ids: decided, nothing started, unless --active')
    .argument('[eventId]', 'one event; without it those that fit the filter')
    .option('--type <pattern>', '* matches anything')
    .option('--subject <pattern>')
    .option('--source <pattern>')
    .option('--since <time>', 'a time, or a duration back from now such as 1h')
    .option('--until <time>')
    .option('--dry-run', 'only count them')
    .option('--yes', 'with --active and a filter: do not ask first, and say how many')
    .option('--active', 'let them start work')
    .action((eventId: string | undefined, options: ReplayOptions, command: Command) =>
      eventId === undefined
        ? replayMany(contextOf(command, streams), options)
        : replay(contextOf(command, streams), eventId, options.active === true),
    );
  registerDeadLetters(events, streams);
}

async function send(context: Context, options: SendOptions): Promise<void> {
  const data: Json | undefined =
    options.data === undefined ? undefined : await inputOf(options.data, context.streams, '--data');
  const event: JsonObject = {
    specversion: '1.0',
    id: options.id ?? randomUUID(),
    source: options.source,
    type: options.type!,
    ...(options.subject === undefined ? {} : { subject: options.subject }),
    ...(data === undefined ? {} : { data }),
  };
  const answer = await context.client().sendEvent(event);
  const item = answer.items[0];
  if (item === undefined) throw new CliError('the server accepted no event');
  context.out.result(answer, () => {
    context.out.line(item.duplicate ? `event ${item.eventId} was there already` : `event ${item.eventId} is accepted`);
    context.out.next(`opsloop explain ${item.eventId}`);
  });
}

async function list(context: Context, options: Record<string, string | boolean>): Promise<void> {
  const page = await context.client().listEvents(options);
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no events');
    else
      out.table(
        ['EVENT', 'TYPE', 'SUBJECT', 'SOURCE', 'RECEIVED', 'DATA'],
        page.items.map((event) => [
          event.eventId,
          event.type,
          subjectText(event),
          event.source,
          shortTime(event.receivedAt),
          dataText(event),
        ]),
      );
    out.next(page.items[0] === undefined ? 'opsloop events send --type …' : `opsloop explain ${page.items[0].eventId}`);
  });
}

const subjectText = (event: EventView): string => event.subject ?? (event.unmapped === undefined ? '' : 'unmapped');

/** Room for one state, not for a whole alert. */
const DATA_CHARS = 60;

function dataText(event: EventView): string {
  const text = event.dataOmitted === true ? '(large)' : JSON.stringify(event.data ?? null);
  return text.length > DATA_CHARS ? `${text.slice(0, DATA_CHARS - 1)}…` : text;
}

async function replay(context: Context, eventId: string, active: boolean): Promise<void> {
  const answer = await context.client().replayEvent(eventId, active ? 'active' : 'shadow');
  const item = answer.items[0];
  if (item === undefined) throw new CliError('the server accepted no event', EXIT.failed);
  context.out.result(answer, () => {
    context.out.line(`replayed as ${item.eventId}${active ? '' : ' (shadow: decided, nothing starts)'}`);
    context.out.next(`opsloop explain ${item.eventId}`);
  });
}

async function replayMany(context: Context, options: ReplayOptions): Promise<void> {
  const { dryRun, yes, active, ...filter } = options;
  if (Object.keys(filter).length === 0)
    throw new CliError('name one event, or say which with --type, --subject, --source, --since, --until', EXIT.usage);
  const client = context.client();
  const { out } = context;
  const { matched = 0 } = await client.replayEvents({ filter: { ...filter }, dryRun: true });
  if (dryRun === true || matched === 0) {
    out.result({ matched }, () => out.line(`${matched} events fit`));
    return;
  }
  if (active === true && yes !== true)
    throw new CliError(`${matched} events fit, and each may start work; repeat with --yes to let them`, EXIT.usage);
  const mode = active === true ? 'active' : 'shadow';
  let replayed = 0;
  let cursor: string | undefined;
  do {
    const page = await client.replayEvents({
      filter: { ...filter },
      mode,
      ...(cursor === undefined ? { expectedCount: matched } : { cursor }),
    });
    replayed += page.replayed;
    cursor = page.nextCursor;
    if (cursor !== undefined) out.note(`${replayed} of ${matched}`);
  } while (cursor !== undefined);
  out.result({ matched, replayed, mode }, () => {
    out.line(`${replayed} events replayed${active === true ? '' : ' (shadow: decided, nothing starts)'}`);
    out.next('opsloop events ls --since 1m');
  });
}
