/** `opsloop schedules`: when they fire, what they did, and how to stop one. */
import type { ScheduleState } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';
import { inputOf } from './runs.js';

const REASON = ['--reason <text>', 'kept with it'] as const;

export function registerSchedules(program: Command, streams: Streams): void {
  const at = (command: Command): Context => contextOf(command, streams);
  const schedules = program.command('schedules').description('starts at given times: what comes, what was, pause one');
  schedules
    .command('list')
    .alias('ls')
    .description('each with its next time and what it did last')
    .option('--limit <n>', 'most items', '50')
    .action((options: { limit: string }, command: Command) => list(at(command), options));
  schedules
    .command('next')
    .description('the next times at which it fires')
    .argument('<name>')
    .option('--count <n>', 'how many', '10')
    .action((name: string, { count }: { count: string }, command: Command) => next(at(command), name, count));
  schedules
    .command('firings')
    .description('the times at which it fired, newest first, and what became of each')
    .argument('<name>')
    .option('--limit <n>', 'most items', '20')
    .action((name: string, options: { limit: string }, command: Command) => firings(at(command), name, options));
  schedules
    .command('run')
    .description('start now what it would start at its time')
    .argument('<name>')
    .option('-i, --input <k=v|@file>', 'instead of its own input; repeatable', (value: string, all: string[] = []) => [
      ...all,
      value,
    ])
    .requiredOption(...REASON)
    .action((name: string, options: { input?: string[]; reason: string }, command: Command) =>
      run(at(command), name, options),
    );
  for (const act of ['pause', 'resume'] as const)
    schedules
      .command(act)
      .description(act === 'pause' ? 'nothing of it fires until "schedules resume"' : 'it fires at its next time again')
      .argument('<name>')
      .requiredOption(...REASON)
      .action(async (name: string, { reason }: { reason: string }, command: Command) => {
        const context = at(command);
        const state = await context.client().actOnSchedule(name, act, reason);
        context.out.result(state, () => {
          context.out.line(`schedule ${name}: ${nextText(state)}`);
          context.out.next(
            act === 'pause' ? `opsloop schedules resume ${name} --reason …` : `opsloop schedules next ${name}`,
          );
        });
      });
}

function nextText({ nextAt, paused, problem, enabled }: ScheduleState): string {
  if (problem !== undefined) return `cannot fire: ${problem}`;
  if (paused !== undefined) return `paused by ${paused.by}: ${paused.reason}`;
  if (!enabled) return 'not enabled';
  return nextAt === undefined ? 'never again' : `next ${shortTime(nextAt)}`;
}

async function list(context: Context, options: { limit: string }): Promise<void> {
  const page = await context.client().listSchedules(options);
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no schedules');
    else
      out.table(
        ['NAME', 'WHEN', 'ZONE', 'STARTS', 'NEXT', 'LAST'],
        page.items.map((one) => [
          one.name,
          one.when,
          one.zone,
          one.ref,
          nextText(one),
          one.last === undefined ? '' : `${shortTime(one.last.at)} ${one.last.result}`,
        ]),
      );
    const [first] = page.items;
    out.next(first === undefined ? 'opsloop apply -f schedule.yaml' : `opsloop schedules firings ${first.name}`);
  });
}

async function next(context: Context, name: string, count: string): Promise<void> {
  const answer = await context.client().nextOfSchedule(name, { count });
  context.out.result(answer, () => {
    for (const at of answer.items) context.out.line(at);
    if (answer.items.length === 0) context.out.line('never again');
    context.out.next(`opsloop schedules run ${name} --reason …`);
  });
}

async function firings(context: Context, name: string, options: { limit: string }): Promise<void> {
  const page = await context.client().firingsOfSchedule(name, options);
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('it has not fired yet');
    else
      out.table(
        ['AT', 'RESULT', 'RUN', 'REASON'],
        page.items.map((one) => [shortTime(one.at), one.result, one.run, one.reason]),
      );
    const started = page.items.find((one) => one.run !== undefined);
    out.next(started === undefined ? `opsloop schedules next ${name}` : `opsloop runs show ${started.run}`);
  });
}

async function run(context: Context, name: string, options: { input?: string[]; reason: string }): Promise<void> {
  const input = options.input === undefined ? undefined : await inputOf(options.input, context.streams);
  const answer = await context.client().runSchedule(name, options.reason, input);
  context.out.result(answer, () => {
    context.out.line(`run ${answer.id}: ${answer.verdict}`);
    context.out.next(`opsloop runs show ${answer.id}`);
  });
}
