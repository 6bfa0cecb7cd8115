import { hostname, userInfo } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { LockAnswerView, LockClaim } from '@opsloop/api-client';
import { durationMs, isDuration } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

/** The answer is kept back for this long at most; below the 15 s after which a silent waiter is passed. */
const LONG_POLL = '8s';

export function registerLocks(program: Command, streams: Streams): void {
  const locks = program.command('locks').description('who holds what');
  locks
    .command('ls')
    .description('locks, or those on, above and below a path')
    .argument('[path]')
    .action((path: string | undefined, _options: object, command: Command) => list(contextOf(command, streams), path));
  for (const [parent, name] of [
    [locks, 'take'],
    [program, 'lock'],
  ] as const)
    parent
      .command(name)
      .description('take a lock of your own: nothing else works there until it is given back or its time is over')
      .argument('[paths...]', 'locked exclusively, all or none')
      .option('--shared <path>', 'a path to lock shared; repeatable', (one, all: string[]) => [...all, one], [])
      .option('--ttl <duration>', 'its time; "locks renew" extends it', '1h')
      .option('--wait <duration>', 'how long to stand in the queue', '0s')
      .option('--owner <text>', 'who and why, as others read it')
      .action((paths: string[], options: TakeOptions, command: Command) =>
        take(contextOf(command, streams), paths, options),
      );
  locks
    .command('renew')
    .description('extend a lock that is still held')
    .argument('<fence>')
    .option('--ttl <duration>', 'its time from now on', '1h')
    .action((fence: string, options: { ttl: string }, command: Command) =>
      renew(contextOf(command, streams), fence, options.ttl),
    );
  locks
    .command('release')
    .description('give a lock back; fine when it is gone')
    .argument('<fence>')
    .action((fence: string, _options: object, command: Command) => release(contextOf(command, streams), fence));
  locks
    .command('break')
    .description('take a lock away from its holder; its writes are refused from then on')
    .argument('<fence>')
    .requiredOption('--reason <text>')
    .action((fence: string, options: { reason: string }, command: Command) =>
      breakLock(contextOf(command, streams), fence, options.reason),
    );
}

interface TakeOptions {
  shared: string[];
  ttl: string;
  wait: string;
  owner?: string;
}

async function take(context: Context, paths: readonly string[], options: TakeOptions): Promise<void> {
  const claims: LockClaim[] = [
    ...paths.map((path): LockClaim => ({ path, mode: 'exclusive' })),
    ...options.shared.map((path): LockClaim => ({ path, mode: 'shared' })),
  ];
  if (claims.length === 0) throw new CliError('name at least one path to lock', EXIT.usage);
  if (!isDuration(options.wait)) throw new CliError(`--wait ${options.wait} is no duration`, EXIT.usage);
  const waitMs = durationMs(options.wait);
  const deadline = performance.now() + waitMs;
  const body = {
    claims,
    owner: options.owner ?? `${userInfo().username}@${hostname()}`,
    ttl: options.ttl,
    ...(waitMs === 0 ? {} : { wait: options.wait, longPoll: LONG_POLL }),
  };
  let answer = await context.client().takeLock(body);
  let said = '';
  // The server keeps each answer back until there is a grant, so this asks every few seconds at most.
  while (answer.fence === undefined) {
    const text = `waiting: ${whoWaits(answer)}`;
    if (text !== said) context.out.note((said = text));
    if (performance.now() >= deadline) throw new CliError(`no lock within ${options.wait}`, EXIT.rejected);
    await delay(100);
    answer = await context.client().takeLock(body);
  }
  context.out.result(answer, () => {
    context.out.line(`lock ${answer.fence} until ${shortTime(answer.expiresAt)}`);
    context.out.next(`opsloop locks release ${answer.fence}`, `opsloop locks renew ${answer.fence} --ttl 1h`);
  });
}

function whoWaits({ blockedBy = [], position = 1 }: LockAnswerView): string {
  const [first] = blockedBy;
  const since = first?.since === undefined ? '' : ` since ${shortTime(first.since)}`;
  return `${first === undefined ? 'its turn comes' : `${first.path} is with ${first.owner}${since}`}, place ${position}`;
}

async function renew(context: Context, fence: string, ttl: string): Promise<void> {
  const answer = await context.client().renewLock(fence, ttl);
  context.out.result(answer, () => context.out.line(`lock ${fence} until ${shortTime(answer.expiresAt)}`));
}

async function release(context: Context, fence: string): Promise<void> {
  await context.client().releaseLock(fence);
  context.out.result({ fence }, () => context.out.line(`lock ${fence} is given back`));
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
