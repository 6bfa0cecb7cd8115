import type { Json, JsonObject } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

/** A person who watches sees a change within two seconds; more often would only flicker. */
const WATCH_MS = 2_000;

export function registerStatus(program: Command, streams: Streams): void {
  program
    .command('status')
    .description('what runs, waits and is held')
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
  const [readiness, state] = await Promise.all([client.readiness(), client.status()]);
  if (watch && streams.isTTY && !out.json) streams.out('\u001b[H\u001b[2J');
  out.result({ ...state, ready: readiness.ready, parts: readiness.parts }, () => {
    out.line(readiness.ready ? out.color.green('ready') : out.color.red('not ready'));
    for (const { name, detail } of readiness.parts.filter(({ ok }) => !ok))
      out.line(`  ${name}: ${detail ?? 'not ready'}`);
    for (const line of statusLines(state)) out.line(line);
    if (!watch) out.next('opsloop runs ls', 'opsloop halts ls');
  });
  if (!readiness.ready && !watch)
    throw new CliError('a part of the stack is not ready', EXIT.failed, [], { ...state, ...readiness }, true);
}

/** Counts side by side, then what stands in the way, each with the command that helps. */
export function statusLines(state: JsonObject): string[] {
  return Object.entries(state).flatMap(([name, value]) => {
    if (Array.isArray(value)) return value.map((item) => `- ${itemText(item)}`);
    return value !== null && typeof value === 'object'
      ? [countsText(value)]
      : name === 'ok'
        ? []
        : [`${name} ${String(value)}`];
  });
}

function countsText(counts: JsonObject): string {
  return Object.entries(counts)
    .map(
      ([name, count]) =>
        `${name.replace('1h', ' in 1h')} ${typeof count === 'object' ? JSON.stringify(count) : String(count)}`,
    )
    .join('   ');
}

function itemText(item: Json): string {
  if (item === null || typeof item !== 'object' || Array.isArray(item)) return JSON.stringify(item);
  const { title, next, ...others } = item;
  return `${typeof title === 'string' ? title : JSON.stringify(others)}${typeof next === 'string' ? `   (${next})` : ''}`;
}
