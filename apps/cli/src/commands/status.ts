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

/** One line per member: counts of an object side by side, lists by their length. */
export function statusLines(state: JsonObject): string[] {
  return Object.entries(state).map(([name, value]) => `${name.padEnd(12)} ${valueText(value)}`);
}

function valueText(value: Json): string {
  if (Array.isArray(value)) return String(value.length);
  if (value !== null && typeof value === 'object') {
    const parts = Object.entries(value).map(
      ([key, one]) => `${key} ${one !== null && typeof one === 'object' ? JSON.stringify(one) : String(one)}`,
    );
    return parts.length === 0 ? '-' : parts.join('   ');
  }
  return String(value);
}
