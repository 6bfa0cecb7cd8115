/** `opsloop schema`: the reference of a part of a document, from its JSON Schema. */
import { OpsError } from '@opsloop/contracts';
import { describeSchema, documentSchema, editorSchema, SCHEMA_KINDS } from '@opsloop/dsl';
import type { SchemaMember } from '@opsloop/dsl';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

export function registerSchema(program: Command, streams: Streams): void {
  program
    .command('schema')
    .description('the reference of a document or a part of it, such as flow.forEach.batch')
    .argument('[path]', `kind, then members: ${SCHEMA_KINDS.join(', ')}`)
    .option('--raw', 'print the JSON Schema of the kind; without a path the one of all kinds, for editors')
    .action((path: string | undefined, options: { raw?: boolean }, command: Command) =>
      show(contextOf(command, streams), path, options),
    );
}

function show(context: Context, path: string | undefined, options: { raw?: boolean }): void {
  const { out } = context;
  if (options.raw === true) {
    out.line(JSON.stringify(path === undefined ? editorSchema() : known(() => documentSchema(path)), null, 2));
    return;
  }
  if (path === undefined) {
    const kinds = SCHEMA_KINDS.map((kind) => ({ kind, description: describeSchema(kind).description }));
    out.result(kinds, () => {
      out.table(
        ['KIND', 'WHAT IT IS'],
        kinds.map(({ kind, description }) => [kind, description]),
      );
      out.next('opsloop schema flow', 'opsloop schema flow.forEach.batch');
    });
    return;
  }
  const part = known(() => describeSchema(path));
  out.result(part, () => {
    out.line(`${out.color.bold(path)}${part.type === '' || part.type === 'object' ? '' : `  ${part.type}`}`);
    if (part.description !== '') out.line(part.description);
    if (part.example !== undefined) out.line(`example: ${JSON.stringify(part.example)}`);
    if (part.members.length > 0) {
      out.line();
      members(context, part.members);
    }
    if (part.verbs !== undefined) {
      out.line('\nA step has an id and exactly one of these verbs:');
      members(context, part.verbs);
    }
    const deeper =
      part.verbs?.find(({ name }) => name === 'forEach') ?? part.members.find(({ type }) => type === 'object');
    out.next(deeper === undefined ? 'opsloop validate DIR' : `opsloop schema ${path}.${deeper.name}`);
  });
}

/** Longest example that stays on its line. */
const EXAMPLE_MAX = 60;

function members({ out }: Context, list: readonly SchemaMember[]): void {
  out.table(
    ['MEMBER', 'TYPE', 'DEFAULT', 'WHAT IT IS', 'EXAMPLE'],
    list.map(({ name, type, required, default: fallback, description, example }) => [
      required ? `${name} *` : name,
      type,
      fallback === undefined ? '' : typeof fallback === 'string' ? fallback : JSON.stringify(fallback),
      description.replace(/[.;]? [Dd]efault [^.;]+$/, ''),
      example === undefined ? '' : short(JSON.stringify(example)),
    ]),
  );
  if (list.some(({ required }) => required)) out.line('* required');
}

function short(text: string): string {
  return text.length <= EXAMPLE_MAX ? text : `${text.slice(0, EXAMPLE_MAX)}…`;
}

function known<T>(ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    if (error instanceof OpsError) throw new CliError(error.detail, EXIT.usage);
    throw error;
  }
}
