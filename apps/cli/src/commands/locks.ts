import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

export function registerLocks(program: Command, streams: Streams): void {
  const locks = program.command('locks').description('who holds what');
  locks
    .command('ls')
    .description('locks, or those on, above and below a path')
    .argument('[path]')
    .action((path: string | undefined, _options: object, command: Command) => list(contextOf(command, streams), path));
  locks
    .command('break')
    .description('take a lock away from its holder; its writes are refused from then on')
    .argument('<fence>')
    .requiredOption('--reason <text>')
    .action((fence: string, options: { reason: string }, command: Command) =>
      breakLock(contextOf(command, streams), fence, options.reason),
    );
}

async function list(context: Context, path: string | undefined): Promise<void> {
  const page = await context.client().listLocks(path === undefined ? {} : { path });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line(path === undefined ? 'no locks' : `${path} is free`);
    else {
      out.table(
        ['FENCE', 'PATH', 'MODE', 'OWNER', 'STATE', 'SINCE', 'WAITING'],
        page.items.map((one) => [
          one.fence,
          one.path,
          one.mode,
          one.runId ?? one.owner,
          out.status(one.state),
          shortTime(one.since),
          one.waiting,
        ]),
      );
    }
    const holder = page.items.find(({ runId }) => runId !== undefined);
    out.next(holder?.runId === undefined ? 'opsloop runs ls' : `opsloop runs show ${holder.runId}`);
  });
}

async function breakLock(context: Context, fence: string, reason: string): Promise<void> {
  const answer = await context.client().breakLock(fence, reason);
  context.out.result(answer ?? { fence }, () => {
    context.out.line(`lock ${fence} is broken`);
    context.out.next('opsloop locks ls');
  });
}
