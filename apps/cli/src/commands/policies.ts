import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { readDocuments } from '../documents/read-documents.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';
import { addLookups } from './documents.js';
import { inputOf } from './runs.js';

interface TestOptions {
  input?: string[];
  tier: string;
  at?: string;
  as?: string;
  rule?: string;
  file?: string[];
}

const more = (value: string, all: string[] = []): string[] => [...all, value];

export function registerPolicies(program: Command, streams: Streams): void {
  const policies = program.command('policies').description('what control must respect: test, lint, versions');
  addLookups(policies, streams, 'policy');
  policies
    .command('test')
    .description('what the policies would say to a start; nothing is started')
    .argument('<flow>', 'flow or atom, with an optional @range')
    .option('-i, --input <k=v|@file>', 'input, as for run; repeatable', more)
    .option('--tier <tier>', 'P0 to P4', 'P3')
    .option('--at <time>', 'ISO time, to try a freeze that is not in force now')
    .option('--as <kind:name>', 'who would ask, such as rule:fleet/down or token:ci; default: you')
    .option('--rule <name>', 'the rule that would ask')
    .option('-f, --file <file>', 'policies that are not in force yet; repeatable', more)
    .action((flow: string, options: TestOptions, command: Command) => test(contextOf(command, streams), flow, options));
  policies
    .command('lint')
    .description('where the policies in force contradict each other; exit 1 when one can never be satisfied')
    .action((_options: object, command: Command) => lint(contextOf(command, streams)));
  policies
    .command('versions')
    .description('what a policy said before')
    .argument('<name>')
    .action((name: string, _options: object, command: Command) => versions(contextOf(command, streams), name));
  program
    .command('forecast')
    .description('what admission would say to a start now: policies, locks, room, freezes, people')
    .argument('<flow>', 'flow or atom, with an optional @range')
    .option('-i, --input <k=v|@file>', 'input, as for run; repeatable', more)
    .option('--tier <tier>', 'P0 to P4', 'P3')
    .action((flow: string, options: TestOptions, command: Command) =>
      forecast(contextOf(command, streams), flow, options),
    );
}

const nameOf = (ref: string): { flow: string; version?: string } => {
  const [flow, version] = ref.split('@', 2);
  return { flow: flow!, ...(version === undefined ? {} : { version }) };
};

async function test(context: Context, ref: string, o: TestOptions): Promise<void> {
  const input = await inputOf(o.input ?? [], context.streams, '--input');
  const [kind, name] = o.as === undefined ? [] : [o.as.slice(0, o.as.indexOf(':')), o.as.slice(o.as.indexOf(':') + 1)];
  const documents = readDocuments(o.file ?? [], context.streams.cwd)
    .filter((d) => d.kind === 'policy')
    .map((d) => d.document);
  const answer = await context.client().testPolicies({
    ...nameOf(ref),
    input,
    tier: o.tier,
    ...(kind === undefined || name === undefined ? {} : { initiator: { kind, name } }),
    ...(o.rule === undefined ? {} : { rule: o.rule }),
    ...(o.at === undefined ? {} : { at: o.at }),
    ...(documents.length === 0 ? {} : { policies: documents }),
  });
  const { out } = context;
  out.result(answer, () => {
    out.line(
      `${ref} on ${answer.targets.join(', ') || 'no target'} at ${answer.at}: ${answer.said}${answer.reason === undefined ? '' : `, ${answer.reason}`}`,
    );
    out.table(
      ['POLICY', 'TYPE', 'LAYER', 'SAYS', 'SEES'],
      answer.policies.flatMap((p) =>
        p.lines.length === 0
          ? [
              [
                p.name,
                p.type,
                p.layer,
                p.matches ? 'ok' : '-',
                p.why ?? (p.next === undefined ? '' : `next at ${p.next}`),
              ],
            ]
          : p.lines.map((l) => [p.name, p.type, p.layer, l.said, l.saw]),
      ),
    );
    for (const f of answer.findings) out.line(`${f.severity}: ${f.policy}: ${f.message}`);
    out.next(`opsloop forecast ${ref}`);
  });
}

async function lint(context: Context): Promise<void> {
  const { items } = await context.client().lintPolicies();
  const { out } = context;
  out.result({ items }, () => {
    if (items.length === 0) out.line('the policies in force do not contradict each other');
    for (const f of items) out.line(`${f.severity}: ${f.policy}: ${f.message}`);
    out.next('opsloop policies test FLOW');
  });
  const wrong = items.filter((f) => f.severity === 'error').length;
  if (wrong > 0)
    throw new CliError(`${wrong} of the policies can never be satisfied`, EXIT.failed, [], undefined, true);
}

async function versions(context: Context, name: string): Promise<void> {
  const page = await context.client().policyVersions(name);
  const { out } = context;
  out.result(page, () =>
    out.table(
      ['SINCE', 'BY', 'IN FORCE', 'DIGEST'],
      page.items.map((d) => [d.createdAt, d.createdBy, d.live ? 'yes' : '', d.digest.slice(0, 12)]),
    ),
  );
}

async function forecast(context: Context, ref: string, o: TestOptions): Promise<void> {
  const input = await inputOf(o.input ?? [], context.streams, '--input');
  const answer = await context.client().forecast({ ...nameOf(ref), input, tier: o.tier });
  const { out } = context;
  out.result(answer, () => {
    out.line(`${ref}: ${answer.forecast ?? answer.verdict}`);
    out.table(
      ['CHECK', 'SAYS', 'SEES'],
      (answer.consulted ?? []).map((c) => [c.policy, c.said, c.saw]),
    );
    out.next(`opsloop run ${ref}`);
  });
}
