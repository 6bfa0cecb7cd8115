/** `opsloop runs pause|resume|skip|retry|set-concurrency|abort-item|act`: steering what runs. */
import { randomUUID } from 'node:crypto';
import type { BulkAction, BulkBody, RetryView, RunAct, SteerView } from '@opsloop/api-client';
import type { Json, JsonObject } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

const REASON = ['--reason <text>', 'kept in the timeline'] as const;
const ACTIONS: readonly string[] = ['pause', 'resume', 'cancel', 'terminate', 'retry', 'skip'];

export function registerSteering(runs: Command, streams: Streams): void {
  const at = (command: Command): Context => contextOf(command, streams);
  runs
    .command('pause')
    .description('nothing more of it begins until "runs resume"; what runs ends first')
    .argument('<id>')
    .option('--step <path>', 'only before this step')
    .option('--after-batch [path]', 'only between two batches of a forEach')
    .requiredOption(...REASON)
    .action((id: string, options: PauseOptions, command: Command) =>
      steer(at(command), 'pause', id, { ...pauseOf(options), reason: options.reason }),
    );
  runs
    .command('resume')
    .description('lift all pauses of operators, or one')
    .argument('<id>')
    .option('--step <path>', 'only the pause at this path')
    .requiredOption(...REASON)
    .action((id: string, options: { step?: string; reason: string }, command: Command) =>
      steer(at(command), 'resume', id, {
        ...(options.step === undefined ? {} : { path: options.step }),
        reason: options.reason,
      }),
    );
  runs
    .command('skip')
    .description('a step counts as done, with the output that is given')
    .argument('<id>')
    .argument('<path>', 'as "opsloop runs show" names it')
    .option('--output <json>', 'what later steps see as its output')
    .requiredOption(...REASON)
    .action((id: string, path: string, options: { output?: string; reason: string }, command: Command) =>
      steer(at(command), 'skip', id, {
        path,
        ...(options.output === undefined ? {} : { output: jsonOf(options.output) }),
        reason: options.reason,
      }),
    );
  runs
    .command('set-concurrency')
    .description('how many items of a running forEach are in flight')
    .argument('<id>')
    .argument('<path>', 'of the forEach')
    .argument('<n>', '1 to 500')
    .requiredOption(...REASON)
    .action((id: string, path: string, n: string, { reason }: { reason: string }, command: Command) =>
      steer(at(command), 'set-concurrency', id, { path, concurrency: Number(n), reason }),
    );
  runs
    .command('abort-item')
    .description('one item of a running forEach is undone and counts as failed; the others go on')
    .argument('<id>')
    .argument('<path>', 'of the forEach')
    .argument('<item>', 'its key')
    .requiredOption(...REASON)
    .action((id: string, path: string, item: string, { reason }: { reason: string }, command: Command) =>
      steer(at(command), 'abort-item', id, { path, item, reason }),
    );
  registerAllow(runs, at);
  registerRetry(runs, at);
  registerBulk(runs, at);
}

function registerAllow(runs: Command, at: (command: Command) => Context): void {
  runs
    .command('allow')
    .description('this one run passes the halts that are in its way')
    .argument('<id>')
    .requiredOption(...REASON)
    .action(async (id: string, { reason }: { reason: string }, command: Command) => {
      const context = at(command);
      const answer = await context.client().allowRun(id, reason);
      context.out.result(answer, () => {
        context.out.line(`run ${id} passes ${answer.halts.length === 1 ? 'halt' : 'halts'} ${answer.halts.join(', ')}`);
        context.out.next(`opsloop runs show ${id}`);
      });
    });
}

interface PauseOptions {
  step?: string;
  afterBatch?: string | true;
  reason: string;
}

function pauseOf({ step, afterBatch }: PauseOptions): JsonObject {
  if (step !== undefined && afterBatch !== undefined)
    throw new CliError('--step and --after-batch exclude each other', EXIT.usage);
  if (step !== undefined) return { scope: 'step', path: step };
  if (afterBatch === undefined) return { scope: 'flow' };
  return { scope: 'afterBatch', ...(afterBatch === true ? {} : { path: afterBatch }) };
}

/** JSON where it is JSON, else the text itself. */
function jsonOf(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

async function steer(context: Context, act: RunAct, id: string, body: { reason: string } & JsonObject): Promise<void> {
  const answer = (await context.client().actOnRun(id, act, body)) as unknown as SteerView;
  context.out.result(answer, () => {
    const was = answer.applied ? 'done' : 'it was so already';
    context.out.line(`run ${id}: ${act} ${was}${answer.paused ? '; it is paused' : ''}`);
    context.out.next(answer.paused ? `opsloop runs resume ${id} --reason …` : `opsloop runs show ${id}`);
  });
}

function registerRetry(runs: Command, at: (command: Command) => Context): void {
  runs
    .command('retry')
    .description(
      'a closed run again as a new one: from where it failed, or from a step on; in a running one a step that waits for you',
    )
    .argument('<id>')
    .option('--from <path>', 'the first step that is done again', 'failed')
    .option('--item <key>', 'only this item of the forEach; repeatable', (value: string, all: string[] = []) => [
      ...all,
      value,
    ])
    .option('--key <key>', 'Idempotency-Key: the same key never retries twice')
    .requiredOption(...REASON)
    .action(
      async (
        id: string,
        options: { from: string; item?: string[]; key?: string; reason: string },
        command: Command,
      ): Promise<void> => {
        const context = at(command);
        const body = {
          from: options.from,
          reason: options.reason,
          ...(options.item === undefined ? {} : { items: options.item }),
        };
        const answer = await context.client().retryRun(id, body, { idempotencyKey: options.key ?? randomUUID() });
        context.out.result(answer, () => tell(context, id, answer));
      },
    );
}

function tell({ out }: Context, id: string, answer: RetryView | SteerView): void {
  if ('retryOf' in answer)
    out.line(`run ${id} is retried as run ${answer.id}: ${out.status(answer.status)} (${answer.admission.verdict})`);
  else out.line(`run ${id}: the step is done again`);
  out.next(`opsloop runs show ${answer.id}`);
}

interface BulkOptions {
  flow?: string;
  rule?: string;
  tier?: string;
  under?: string;
  since?: string;
  status?: string;
  step?: string;
  count?: string;
  reason: string;
}

function registerBulk(runs: Command, at: (command: Command) => Context): void {
  runs
    .command('act')
    .description('one act on many runs: without --count it only shows which')
    .argument('<action>', ACTIONS.join(', '))
    .option('--flow <name>')
    .option('--rule <name>')
    .option('--tier <tier>')
    .option('--under <path>', 'that touch this resource or what lies under it')
    .option('--since <time>')
    .option('--status <status>', 'of closed ones: failed, cancelled or terminated')
    .option('--step <path>', 'of a skip: the step')
    .option('--count <n>', 'the number that you saw: acts, and refuses when it is another one now')
    .requiredOption(...REASON)
    .action((action: string, options: BulkOptions, command: Command) => actOnMany(at(command), action, options));
}

async function actOnMany(context: Context, action: string, options: BulkOptions): Promise<void> {
  if (!ACTIONS.includes(action)) throw new CliError(`"${action}" is none of ${ACTIONS.join(', ')}`, EXIT.usage);
  const { count, reason, step, ...filter } = options;
  const body: BulkBody = {
    action: action as BulkAction,
    filter,
    reason,
    ...(step === undefined ? {} : { path: step }),
    ...(count === undefined ? { dryRun: true } : { expectedCount: Number(count) }),
  };
  const answer = await context.client().actOnRuns(body);
  const { out } = context;
  out.result(answer, () => {
    if (count === undefined) {
      for (const run of answer.runs) out.line(`${run.id}  ${run.flow}`);
      out.line(`${action} would act on ${answer.count} run${answer.count === 1 ? '' : 's'}`);
      out.next(`opsloop runs act ${action} … --count ${answer.count} --reason …`);
      return;
    }
    for (const { id, problem } of answer.failed ?? [])
      out.line(`${id}  ${problem.code}: ${problem.detail ?? problem.title}`);
    out.line(`${action}: ${answer.done?.length ?? 0} done, ${answer.failed?.length ?? 0} refused`);
    out.next('opsloop runs ls');
  });
  if ((answer.failed?.length ?? 0) > 0)
    throw new CliError(`${answer.failed!.length} runs refused`, EXIT.failed, [], answer, true);
}
