import { mkdirSync, writeFileSync, existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';
import { addLookups } from './documents.js';
import { atomsOf } from '../openapi/import-openapi.pure.js';
import { readOpenapi } from '../openapi/read-openapi.js';

interface ImportOptions {
  prefix?: string;
  out: string;
  url?: string;
  owner?: string;
  force?: boolean;
}

export function registerAtoms(program: Command, streams: Streams): void {
  const atoms = program.command('atoms').description('try atoms, and make them from API descriptions');
  addLookups(atoms, streams, 'atom');
  atoms
    .command('verify')
    .description('try an atom of any language on its worker: key, fence, dry run, cancel')
    .argument('<name>', 'atom name, with @range for another version than the newest')
    .action((name: string, _options: object, command: Command) => verify(contextOf(command, streams), name));
  atoms
    .command('import')
    .description('one http atom per operation of an OpenAPI description (3.x or Swagger 2.0, JSON or YAML)')
    .argument('<file>', 'openapi.json')
    .option('--prefix <word>', 'first word of the names; default from the title')
    .option('-o, --out <dir>', 'where the files are written', 'atoms')
    .option('--url <url>', 'address of the API, instead of the first server')
    .option('--owner <team>', 'owner of the atoms')
    .option('--force', 'overwrite files that are there')
    .action((file: string, options: ImportOptions, command: Command) =>
      importAtoms(contextOf(command, streams), file, options),
    );
}

async function verify(context: Context, reference: string): Promise<void> {
  const [name = '', version] = reference.split('@', 2);
  const { out } = context;
  if (!out.json) out.line(`trying ${reference} on its worker …`);
  const answer = await context.client().verifyAtom(name, version);
  out.result(answer, () => {
    out.table(
      ['CHECK', 'RESULT', 'WHAT WAS SEEN'],
      answer.checks.map(({ check, status, detail }) => [check, colored(context, status), detail]),
    );
    for (const { check, status, remedy } of answer.checks)
      if (status !== 'passed' && remedy !== undefined && remedy !== 'nothing to do') out.line(`${check}: ${remedy}`);
    out.next(answer.passed ? `opsloop run ${name} -i key=value` : `opsloop atoms verify ${reference}`);
  });
  if (!answer.passed)
    throw new CliError(
      `${answer.atom} ${answer.version} does not do what flows rely on`,
      EXIT.failed,
      [],
      answer,
      true,
    );
}

function colored({ out }: Context, status: string): string {
  if (status === 'passed') return out.color.green(status);
  return status === 'failed' ? out.color.red(status) : out.color.yellow(status);
}

async function importAtoms(context: Context, file: string, options: ImportOptions): Promise<void> {
  const { out, streams } = context;
  const api = await readOpenapi(resolve(streams.cwd, file), file);
  const { atoms, notes } = atomsOf(api, {
    ...(options.prefix === undefined ? {} : { prefix: options.prefix }),
    ...(options.url === undefined ? {} : { url: options.url }),
    ...(options.owner === undefined ? {} : { owner: options.owner }),
  });
  const folder = resolve(streams.cwd, options.out);
  const files = atoms.map((atom) => ({ atom, path: join(folder, `atom.${atom.name}.json`) }));
  const there = files.filter(({ path }) => existsSync(path));
  if (there.length > 0 && options.force !== true)
    throw new CliError(
      `${there.length} of these files are there already, such as ${there[0]!.path}; --force overwrites them`,
      EXIT.usage,
    );
  mkdirSync(folder, { recursive: true });
  for (const { atom, path } of files) writeFileSync(path, `${JSON.stringify(atom, null, 2)}\n`);
  out.result({ files: files.map(({ path }) => path), notes }, () => {
    for (const note of notes) out.line(note);
    out.table(
      ['ATOM', 'EFFECT', 'CALL'],
      atoms.map((atom) => [atom.name, atom.effect, `${atom.http?.method ?? ''} ${String(atom.http?.url ?? '')}`]),
    );
    out.next(`opsloop validate ${options.out}`, `opsloop apply -f ${options.out}`);
  });
}
