import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

interface PutOptions {
  fromFile?: string;
  reason?: string;
}

export function registerSecrets(program: Command, streams: Streams): void {
  const secrets = program.command('secrets').description('values that only the steps that use them ever see');
  secrets
    .command('put')
    .description('keep a secret; the value comes from a file or from standard input, without its last line break')
    .argument('<name>', 'one word: a-z, 0-9 and -')
    .argument('[from]', '- for standard input, which is also the default')
    .option('--from-file <file>', 'a file that holds the value')
    .option('--reason <text>', 'for the audit')
    .action((name: string, from: string | undefined, options: PutOptions, command: Command) =>
      put(contextOf(command, streams), name, from, options),
    );
  secrets
    .command('ls')
    .description('names, versions and who uses them; values are never shown')
    .action((_options: object, command: Command) => list(contextOf(command, streams)));
  secrets
    .command('rm')
    .description('destroy a value; steps that need it fail and say so')
    .argument('<name>')
    .action((name: string, _options: object, command: Command) => remove(contextOf(command, streams), name));
  secrets
    .command('rotate-key')
    .description('take a new key-encryption key into use and wrap the key of every secret with it')
    .option('--reason <text>', 'for the audit')
    .action((options: { reason?: string }, command: Command) => rotate(contextOf(command, streams), options));
}

async function put(context: Context, name: string, from: string | undefined, options: PutOptions): Promise<void> {
  const value = await valueOf(context, name, from, options);
  const answer = await context.client().putSecret(name, value, options.reason);
  const { out } = context;
  out.result(answer, () => {
    out.line(`secret ${name} is kept, version ${answer.version}; calls use it within 30 s`);
    out.next('opsloop secrets ls');
  });
}

async function valueOf(
  { streams, out }: Context,
  name: string,
  from: string | undefined,
  options: PutOptions,
): Promise<string> {
  if (from !== undefined && from !== '-') {
    throw new CliError(
      `a value on the command line stays in the shell's history and in the list of processes; use: opsloop secrets put ${name} --from-file FILE, or write it to standard input`,
      EXIT.usage,
    );
  }
  if (from === '-' && options.fromFile !== undefined)
    throw new CliError('--from-file and - exclude each other', EXIT.usage);
  if (options.fromFile === undefined) {
    if (streams.isTTY && from === undefined) out.note('type the value, then Enter and Ctrl-D');
    return withoutLineBreak(await streams.stdin());
  }
  try {
    return withoutLineBreak(readFileSync(resolve(streams.cwd, options.fromFile), 'utf8'));
  } catch (cause) {
    throw new CliError(`${options.fromFile} cannot be read: ${(cause as Error).message}`, EXIT.usage);
  }
}

/** Editors and `echo` add one that is not part of the value. */
const withoutLineBreak = (text: string): string => text.replace(/\r?\n$/, '');

async function list(context: Context): Promise<void> {
  const page = await context.client().listSecrets({ limit: 500 });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no secrets');
    else
      out.table(
        ['NAME', 'VERSION', 'UPDATED', 'BY', 'USED BY'],
        page.items.map((one) => [
          one.name,
          one.version,
          shortTime(one.updatedAt),
          one.updatedBy,
          one.usedBy.join(', ') || 'nobody',
        ]),
      );
    out.next('opsloop secrets put NAME --from-file FILE');
  });
}

async function remove(context: Context, name: string): Promise<void> {
  await context.client().deleteSecret(name);
  context.out.result({ name, change: 'deleted' }, () => {
    context.out.line(`secret ${name} is destroyed; workers forget it within 30 s`);
    context.out.next('opsloop secrets ls');
  });
}

async function rotate(context: Context, { reason }: { reason?: string }): Promise<void> {
  const answer = await context.client().rotateSecretKey(reason);
  const { out } = context;
  out.result(answer, () => {
    out.line(
      `${answer.made ? 'a new key' : 'the first configured key'}, ${answer.keyId}, is in use; ${answer.rewrapped === 1 ? '1 secret is' : `${answer.rewrapped} secrets are`} wrapped with it`,
    );
    if (answer.retired.length > 0)
      out.line(
        answer.made
          ? `old keys are gone: ${answer.retired.join(', ')}`
          : `no longer needed, take them out of the configuration: ${answer.retired.join(', ')}`,
      );
    out.next('opsloop secrets ls');
  });
}
