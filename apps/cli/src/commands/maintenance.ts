import type { JsonObject } from '@opsloop/contracts';
import { durationMs, isDuration } from '@opsloop/contracts';
import type { MaintenanceView } from '@opsloop/api-client';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

interface StartOptions {
  for: string;
  rule?: string[];
  name?: string;
  reason: string;
}

const collect = (value: string, all: string[] = []): string[] => [...all, value];

export function registerMaintenance(program: Command, streams: Streams): void {
  const maintenance = program.command('maintenance').description('when automation leaves resources alone');
  maintenance
    .command('ls')
    .description('windows, with the stretch that is open and the next one')
    .action((_options: object, command: Command) => list(contextOf(command, streams)));
  maintenance
    .command('start')
    .description('leave resources alone from now on; what is still wrong at the end is looked at once')
    .argument('<pattern...>', 'resource paths; * matches anything')
    .requiredOption('--for <duration>', 'how long, for example 2h')
    .requiredOption('--reason <text>', 'stands in every explanation')
    .option('--rule <pattern>', 'only for these rules, repeatable', collect)
    .option('--name <domain/name>', 'default: ops/ and the present time')
    .action((patterns: string[], options: StartOptions, command: Command) =>
      start(contextOf(command, streams), patterns, options),
    );
  maintenance
    .command('end')
    .description('end the stretch that is open now; what is still wrong is looked at once')
    .argument('<name>')
    .requiredOption('--reason <text>')
    .action((name: string, options: { reason: string }, command: Command) =>
      end(contextOf(command, streams), name, options.reason),
    );
}

async function list(context: Context): Promise<void> {
  const page = await context.client().listMaintenance({ limit: 200 });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no maintenance windows');
    else out.table(['NAME', 'SCOPE', 'NOW', 'NEXT', 'REASON'], page.items.map(rowOf));
    out.next('opsloop maintenance start PATTERN --for 2h --reason …');
  });
}

function rowOf({ name, body, open, next }: MaintenanceView): (string | undefined)[] {
  const { scope, reason } = body as { scope: Record<string, unknown>; reason?: string };
  const parts = Object.entries(scope).map(([key, value]) =>
    Array.isArray(value) ? `${key} ${value.join(',')}` : `${key} ${JSON.stringify(value)}`,
  );
  const until = open === undefined ? '' : `open until ${shortTime(open.until)}`;
  return [name, parts.join(' and '), until, shortTime(next?.from), reason];
}

async function start(context: Context, paths: string[], options: StartOptions): Promise<void> {
  if (!isDuration(options.for)) throw new CliError(`--for ${options.for} is no duration such as 2h`, EXIT.usage);
  const from = new Date();
  const name = options.name ?? `ops/${from.toISOString().slice(0, 19).replaceAll(/[:T]/g, '-')}`;
  const document: JsonObject = {
    ...{ dsl: 'opsloop/v1', kind: 'maintenance', name },
    scope: { paths, ...(options.rule === undefined ? {} : { rules: options.rule }) },
    during: { from: from.toISOString(), until: new Date(from.getTime() + durationMs(options.for)).toISOString() },
    reason: options.reason,
  };
  const answer = await context.client().putDocument('maintenance', name, document);
  const { out } = context;
  out.result(answer, () => {
    out.line(`${paths.join(', ')} left alone for ${options.for}; what is still wrong then is looked at once`);
    out.next(`opsloop maintenance end ${name} --reason …`);
  });
}

async function end(context: Context, name: string, reason: string): Promise<void> {
  const answer = await context.client().endMaintenance(name, reason);
  const { out } = context;
  out.result(answer, () => {
    out.line(`${name} is over; what is still wrong is looked at now`);
    out.next('opsloop incidents ls --state open');
  });
}
