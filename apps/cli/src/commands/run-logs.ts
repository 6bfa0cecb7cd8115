import type { LogEntry } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

interface LogOptions {
  follow?: boolean;
  step?: string;
}

export function registerLogs(runs: Command, streams: Streams): void {
  runs
    .command('logs')
    .description('what its steps said: lines of scripts and of atoms')
    .argument('<id>')
    .option('-f, --follow', 'go on with the lines to come, until the run has ended')
    .option('--step <path>', 'of one step only, as "opsloop runs show" names it')
    .action((id: string, options: LogOptions, command: Command) => logs(contextOf(command, streams), id, options));
}

/** With `--json` one line of JSON per line, so that what follows can begin before the end. */
async function logs(context: Context, id: string, { follow, step }: LogOptions): Promise<void> {
  const { out } = context;
  const client = context.client();
  const query = step === undefined ? {} : { step };
  const lines =
    follow === true
      ? client.followLogs(id, query)
      : client.http.all<LogEntry>(`/v1/runs/${encodeURIComponent(id)}/logs`, query);
  let count = 0;
  for await (const line of lines) {
    count += 1;
    out.line(out.json ? JSON.stringify(line) : textOf(context, line, step === undefined));
  }
  if (out.json) return;
  if (count === 0) out.line('no lines: scripts say theirs on stdout and stderr, atoms with log()');
  out.next(`opsloop runs show ${id}`);
}

function textOf({ out }: Context, { at, step, attempt, stream, text }: LogEntry, withStep: boolean): string {
  const where = withStep ? `${step}${attempt > 1 ? ` (${attempt})` : ''} | ` : '';
  return `${shortTime(at)} ${where}${stream === 'stderr' ? out.color.red(text) : text}`;
}
