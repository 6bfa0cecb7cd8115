import { ApiProblem } from '@opsloop/api-client';
import type { OpsloopClient } from '@opsloop/api-client';
import type { DecisionView, RunView, TimelineEntry } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

export function registerExplain(program: Command, streams: Streams): void {
  program
    .command('explain')
    .description('why something happened, or did not')
    .argument('<what>', 'an event, decision or run by its id, or a resource by its path')
    .action((what: string, _options: object, command: Command) => explain(contextOf(command, streams), what));
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

async function explain(context: Context, what: string): Promise<void> {
  const client = context.client();
  if (!UUID.test(what)) return explainResource(context, client, what);
  // One id may be a decision and its run at once; the decision tells more of the why.
  const event = await known(client.explainEvent(what));
  if (event !== undefined) {
    context.out.result({ kind: 'event', ...event }, () => {
      context.out.line(event.text);
      const run = event.decisions
        .flatMap(({ admissions }) => admissions)
        .find(({ runId }) => runId !== undefined)?.runId;
      context.out.next(
        run !== undefined
          ? `opsloop runs show ${run}`
          : event.event.subject !== undefined
            ? `opsloop explain ${event.event.subject}`
            : 'opsloop events ls',
      );
    });
    return;
  }
  const [decision, run] = await Promise.all([known(client.getDecision(what)), known(client.getRun(what))]);
  if (decision === undefined && run === undefined) {
    throw new CliError(
      `no event, decision or run has the id ${what}; "opsloop events ls" and "opsloop runs ls" list them`,
    );
  }
  const timeline = run === undefined ? [] : ((await known(client.timeline(what)))?.items ?? []);
  const cause = decision?.eventId === undefined ? undefined : await known(client.explainEvent(decision.eventId));
  context.out.result(
    { kind: decision === undefined ? 'run' : 'decision', decision, run, event: cause, timeline },
    () => {
      if (decision !== undefined) decisionLines(context, decision);
      if (cause !== undefined) context.out.line(cause.text);
      if (run !== undefined) runLines(context, run, timeline);
      context.out.next(
        ...(run === undefined ? [] : [`opsloop runs show ${run.id}`]),
        ...(decision?.targets[0] === undefined ? [] : [`opsloop explain ${decision.targets[0]}`]),
      );
    },
  );
}

async function explainResource(context: Context, client: OpsloopClient, path: string): Promise<void> {
  const answer = await client.explainResource(path);
  context.out.result({ kind: 'resource', ...answer }, () => {
    context.out.line(answer.text);
    const holder = answer.locks.find(({ runId }) => runId !== undefined)?.runId;
    const last = answer.decisions[0];
    context.out.next(
      holder !== undefined
        ? `opsloop runs show ${holder}`
        : last !== undefined
          ? `opsloop explain ${last.id}`
          : `opsloop events ls --subject ${path}`,
    );
  });
}

function decisionLines({ out }: Context, decision: DecisionView): void {
  out.line(`${out.color.bold(`decision ${decision.id}`)} at ${shortTime(decision.at)}`);
  out.line(
    `rule ${decision.rule} ${decision.version}, branch ${decision.branch}, rung ${decision.rung}, tier ${decision.tier} → ${decision.ref}`,
  );
  out.line(
    `targets ${decision.targets.join(', ')}${decision.batches.length > 1 ? ` in ${decision.batches.length} batches` : ''}`,
  );
  for (const admission of decision.admissions) {
    out.line(
      `control: ${out.status(admission.verdict)}${admission.reason === undefined ? '' : ` (${admission.reason})`}`,
    );
    for (const { policy, saw, said } of admission.consulted) out.line(`  ${policy}: ${said} (${saw})`);
  }
}

function runLines({ out }: Context, run: RunView, timeline: readonly TimelineEntry[]): void {
  out.line(
    `run ${run.id}: ${run.flow} ${run.version} ${out.status(run.status)}, by ${run.initiator.kind} ${run.initiator.name}`,
  );
  if (run.admission.reason !== undefined) out.line(`because ${run.admission.reason}`);
  for (const entry of timeline) out.line(`${shortTime(entry.at).padEnd(10)} ${entry.kind.padEnd(9)} ${entry.title}`);
}

/** `undefined` where the server knows no such thing. */
async function known<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof ApiProblem && error.code === 'not-found') return undefined;
    throw error;
  }
}
