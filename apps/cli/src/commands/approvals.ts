import type { ApprovalView, JsonObject } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';
import { inputOf } from './runs.js';

interface AnswerOptions {
  reason: string;
  form?: string[];
}

interface ListOptions {
  status?: string;
  run?: string;
  mine?: boolean;
  limit: string;
}

export function registerApprovals(program: Command, streams: Streams): void {
  for (const answer of ['approve', 'reject'] as const) {
    const command = program
      .command(answer)
      .description(answer === 'approve' ? 'say yes to what a flow asks' : 'say no to what a flow asks')
      .argument('<id>', 'of the approval; "opsloop approvals ls" lists them')
      .requiredOption('--reason <text>', 'kept in the timeline of the run');
    if (answer === 'approve')
      command.option(
        '--form <k=v|json|@file>',
        'the form: key=value (JSON or text), @file (JSON or YAML), @- for stdin; repeatable',
        (value: string, all: string[] = []) => [...all, value],
      );
    command.action((id: string, options: AnswerOptions, self: Command) =>
      give(contextOf(self, streams), id, answer, options),
    );
  }
  const approvals = program.command('approvals').description('what flows ask people');
  approvals
    .command('ls')
    .description('open ones, newest first')
    .option('--status <status>', 'open, approved, rejected, timed-out, withdrawn, cancelled or all', 'open')
    .option('--run <id>')
    .option('--mine', 'only those that I may answer and have not')
    .option('--limit <n>', 'most items', '20')
    .action((options: ListOptions, command: Command) => list(contextOf(command, streams), options));
  approvals
    .command('show')
    .description('one approval: what is asked, who may answer, who did')
    .argument('<id>')
    .action((id: string, _options: object, command: Command) => show(contextOf(command, streams), id));
}

async function give(context: Context, id: string, answer: 'approve' | 'reject', options: AnswerOptions): Promise<void> {
  const form: JsonObject | undefined =
    options.form === undefined ? undefined : await inputOf(options.form, context.streams, '--form');
  const approval = await context
    .client()
    .answerApproval(id, { answer, reason: options.reason, ...(form === undefined ? {} : { form }) });
  const { out } = context;
  out.result(approval, () => {
    const more = approval.needed - approval.approvals;
    out.line(
      approval.status === 'open'
        ? `"${approval.title}": your answer counts; ${more} more ${more === 1 ? 'approval is' : 'approvals are'} needed`
        : `"${approval.title}" is ${out.status(approval.status)}`,
    );
    out.next(`opsloop runs show ${approval.run}`);
  });
}

async function list(context: Context, options: ListOptions): Promise<void> {
  const { status, run, mine, limit } = options;
  const page = await context.client().listApprovals({
    limit,
    ...(status === undefined || status === 'all' ? {} : { status }),
    ...(run === undefined ? {} : { run }),
    ...(mine === true ? { mine: 'true' } : {}),
  });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('nobody is asked anything');
    else
      out.table(
        ['ID', 'TITLE', 'STATUS', 'ANSWERS', 'WHO', 'UNTIL', 'RUN'],
        page.items.map((one) => [
          one.id,
          one.title,
          out.status(one.status),
          `${one.approvals}/${one.needed}`,
          whoOf(one),
          shortTime(one.expiresAt),
          one.run,
        ]),
      );
    const open = page.items.find((one) => one.status === 'open');
    out.next(open === undefined ? 'opsloop approvals ls --status all' : `opsloop approvals show ${open.id}`);
  });
}

async function show(context: Context, id: string): Promise<void> {
  const approval = await context.client().getApproval(id);
  const { out } = context;
  out.result(approval, () => {
    out.line(
      `${out.color.bold(approval.title)}  ${out.status(approval.status)}  ${approval.approvals}/${approval.needed}`,
    );
    out.line(
      `run       ${approval.run} (${approval.flow}), at ${approval.path}, by ${approval.initiator.kind} ${approval.initiator.name}`,
    );
    out.line(
      `who       ${whoOf(approval)}${approval.approvers.excludeInitiator === true ? ', not the initiator' : ''}`,
    );
    out.line(
      `until     ${approval.expiresAt}, then ${approval.onTimeout}${approval.escalatedAt === undefined ? '' : ' (escalated)'}`,
    );
    if (approval.reason !== undefined) out.line(`because   ${approval.reason}`);
    if (approval.details !== undefined) out.line(`details   ${JSON.stringify(approval.details, null, 2)}`);
    if (approval.form !== undefined) out.line(`form      ${JSON.stringify(approval.form)}`);
    for (const { by, answer, at, reason, pending } of approval.answers)
      out.line(
        `${shortTime(at).padEnd(9)} ${by} ${answer === 'approve' ? 'approved' : 'rejected'}${reason === undefined ? '' : `: ${reason}`}${pending === true ? ' (not yet handed over)' : ''}`,
      );
    if (approval.status !== 'open') out.next(`opsloop runs show ${approval.run}`);
    else {
      const form = approval.form === undefined ? '' : ' --form key=value';
      out.next(`opsloop approve ${id}${form} --reason …`, `opsloop reject ${id} --reason …`);
    }
  });
}

function whoOf({ approvers }: Pick<ApprovalView, 'approvers'>): string {
  const { users = [], groups = [] } = approvers;
  return [...groups, ...users].join(', ') || 'anybody';
}
