/** `opsloop sources`: where events come from, when each was heard last, and what it makes of a delivery. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { DocumentView, JsonObject } from '@opsloop/contracts';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

/** Types that nobody delivers to: they look themselves. */
const LOOKING = ['poll', 'kafka'];

export function registerSources(program: Command, streams: Streams): void {
  const sources = program.command('sources').description('where events come from');
  sources
    .command('ls')
    .description('each source, when it was heard last, and whether it is silent for too long')
    .option('--limit <n>', 'how many', '100')
    .action((options: { limit: string }, command: Command) => list(contextOf(command, streams), options.limit));
  sources
    .command('show')
    .description('one source: its document without secrets, its address, and what of it could not be read')
    .argument('<name>')
    .action((name: string, _options: unknown, command: Command) => show(contextOf(command, streams), name));
  sources
    .command('test')
    .description('what a source would make of a delivery; nothing is stored and no secret is asked')
    .argument('<name>')
    .requiredOption('--body <body>', 'the delivery as it would come: text, @file, or - for standard input')
    .option('--header <name: value>', 'a header of the delivery; repeatable', (text: string, all: string[] = []) => [
      ...all,
      text,
    ])
    .action((name: string, options: { body: string; header?: string[] }, command: Command) =>
      test(contextOf(command, streams), name, options),
    );
}

interface SourceBody {
  type: string;
  expectEvery?: string;
  auth?: { type: string };
}

const bodyOf = (view: DocumentView): SourceBody => view.body as unknown as SourceBody;

function heard({ meta }: DocumentView): string {
  const at = meta?.['lastHeard'];
  return typeof at === 'string' ? shortTime(at) : 'never';
}

function silence({ meta, ...view }: DocumentView, color: Context['out']['color']): string {
  const since = meta?.['staleSince'];
  if (typeof since === 'string') return color.red(`silent since ${shortTime(since)}`);
  const every = bodyOf(view as DocumentView).expectEvery;
  return every === undefined ? '' : `expected every ${every}`;
}

async function list(context: Context, limitText: string): Promise<void> {
  const limit = Number(limitText);
  if (!Number.isInteger(limit) || limit < 1) throw new CliError('--limit must be a whole number from 1', EXIT.usage);
  const page = await context.client().listDocuments<DocumentView>('source', { limit: Math.min(limit, 500) });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no sources');
    else
      out.table(
        ['NAME', 'TYPE', 'AUTH', 'HEARD', ''],
        page.items.map((one) => [
          ...[one.name, bodyOf(one).type, bodyOf(one).auth?.type ?? 'none', heard(one)],
          silence(one, out.color),
        ]),
      );
    if (page.nextCursor !== undefined) out.line(`… more; --limit ${Math.min(limit * 2, 500)} shows them`);
    out.next(page.items.length === 0 ? 'opsloop apply -f DIR' : `opsloop sources show ${page.items[0]!.name}`);
  });
}

async function show(context: Context, name: string): Promise<void> {
  const client = context.client();
  const [view, dead] = await Promise.all([
    client.getDocument<DocumentView>('source', name),
    client.listDeadLetters({ source: name, limit: 5 }).catch(() => ({ items: [] })),
  ]);
  const { out } = context;
  const takes = !LOOKING.includes(bodyOf(view).type);
  out.result({ ...view, deadLetters: dead.items }, () => {
    out.line(stringify(view.body as JsonObject).trimEnd());
    out.line(`heard: ${heard(view)}${view.meta?.['staleSince'] === undefined ? '' : `, ${silence(view, out.color)}`}`);
    if (takes) out.line(`deliver to: POST ${client.http.url}/v1/hooks/${name}`);
    if (dead.items.length > 0) out.line(out.color.red(`could not be read: ${dead.items.length} or more deliveries`));
    out.next(
      ...(dead.items.length > 0 ? [`opsloop events dead --source ${name}`] : []),
      takes ? `opsloop sources test ${name} --body @delivery.json` : 'opsloop events ls',
    );
  });
}

async function test(context: Context, name: string, options: { body: string; header?: string[] }): Promise<void> {
  const { out, streams } = context;
  const body =
    options.body === '-'
      ? await streams.stdin()
      : options.body.startsWith('@')
        ? read(resolve(streams.cwd, options.body.slice(1)))
        : options.body;
  const headers = Object.fromEntries(
    (options.header ?? []).map((text) => {
      const at = text.indexOf(':');
      if (at < 1) throw new CliError(`"${text}" is no header; write "name: value"`, EXIT.usage);
      return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
    }),
  );
  const answer = await context.client().testSource(name, { headers, body });
  out.result(answer, () => {
    if (answer.items.length === 0) out.line('no event: this delivery says nothing that is one');
    for (const { type, subject, time, data, state, unmapped } of answer.items) {
      out.line(`${out.color.bold(type)} about ${subject ?? out.color.red('nothing')} at ${time}`);
      if (unmapped !== undefined) out.line(`  has no resource: ${unmapped}`);
      if (state !== undefined) out.line(`  reports ${JSON.stringify(state)}`);
      out.line(`  ${out.color.dim(JSON.stringify(data))}`);
    }
    if (answer.auth !== 'none') out.line(`a sender has to prove itself by ${answer.auth}; a test does not`);
    out.next('opsloop rules test rule.json --event …');
  });
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new CliError(`--body: ${error instanceof Error ? error.message : String(error)}`, EXIT.usage);
  }
}
