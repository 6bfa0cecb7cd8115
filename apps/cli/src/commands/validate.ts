/** `opsloop validate`: documents of a folder as one, without a server; with `--server` against its catalog as well. */
import { validateTogether } from '@opsloop/dsl';
import type { DocumentFindings } from '@opsloop/dsl';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { placeLines } from '../documents/place-lines.js';
import { readDocuments, readTests } from '../documents/read-documents.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

interface ValidateOptions {
  file?: string[];
  server?: boolean;
  strict?: boolean;
}

type Finding = DocumentFindings['findings'][number];

/** A finding with the document it is about. */
export interface ShownFinding extends Finding {
  place: string;
  kind: string;
  name: string;
  line?: number;
}

/** One document with where it was read. */
interface Candidate {
  body: unknown;
  place: string;
}

/** Documents that the server checks together in one request, by its limit. */
const TOGETHER_MAX = 500;

export function registerValidate(program: Command, streams: Streams): void {
  program
    .command('validate')
    .description('check documents together, references included, before anything runs; needs no server')
    .argument('[path...]', 'files and folders; default: here')
    .option('-f, --file <path...>', 'the same')
    .option('--server', 'also against the documents that the server has')
    .option('--strict', 'take warnings for mistakes')
    .action((paths: string[], options: ValidateOptions, command: Command) =>
      validate(contextOf(command, streams), [...paths, ...(options.file ?? [])], options),
    );
}

async function validate(context: Context, given: string[], options: ValidateOptions): Promise<void> {
  const { out, streams } = context;
  const paths = given.length === 0 ? ['.'] : given;
  const candidates = candidatesOf(paths, streams.cwd);
  const bodies = candidates.map(({ body }) => body);
  const documents =
    options.server === true ? await onServer(context, bodies) : offline(validateTogether(bodies, { complete: true }));
  const findings = documents.flatMap(({ kind, name, findings: found }, i) =>
    found.map((one): ShownFinding => ({ place: candidates[i]!.place, kind, name, ...one })),
  );
  placeLines(findings, streams.cwd);
  const errors = findings.filter(({ severity }) => severity === 'error');
  const warnings = findings.length - errors.length;
  const valid = errors.length === 0 && (options.strict !== true || warnings === 0);
  out.result({ valid, documents: documents.length, findings }, () => {
    for (const one of findings) showFinding(context, one);
    if (!valid) return;
    const said = warnings === 0 ? '' : `, with ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`;
    out.line(`${documents.length} documents are valid${said}`);
    out.next(`opsloop apply -f ${paths.join(' ')}`);
  });
  if (valid) return;
  const count = `${errors.length} ${errors.length === 1 ? 'mistake' : 'mistakes'}`;
  const more = warnings === 0 ? '' : `, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`;
  throw new CliError(`${count}${more} in ${documents.length} documents`, EXIT.failed, [], undefined, true);
}

function candidatesOf(paths: readonly string[], cwd: string): Candidate[] {
  // Tests alone are fine too, so that a folder with tests only can be named.
  const tests = paths.flatMap((path) => {
    try {
      return readTests([path], cwd);
    } catch {
      // A file that holds no test is one of documents, or unreadable, which is said below.
      return [];
    }
  });
  const testFiles = new Set(tests.map(({ place }) => place.replace(/#\d+$/, '')));
  const others = paths.filter((path) => !testFiles.has(path.replace(/^\.\//, '')));
  const documents = others.length === 0 ? [] : readDocuments(others, cwd);
  return [
    ...documents.map(({ document, place }) => ({ body: document, place })),
    ...tests.map(({ test, place }) => ({ body: test, place })),
  ];
}

/** Without a server nobody knows what it has: what does not lead to one of the documents may lead there. */
export function offline(documents: readonly DocumentFindings[]): DocumentFindings[] {
  return documents.map((document) => {
    const findings = document.findings.map((one): Finding =>
      ['OPS1010', 'OPS1011', 'OPS1017'].includes(one.code)
        ? {
            ...one,
            severity: 'warning',
            message: one.message.replace(/^no (published )?(flow|atom|table) /, 'none of these documents '),
            hint: one.message.includes('; there is ')
              ? `${one.hint}; or ask the server: opsloop validate --server`
              : 'name its folder as well, or ask the server: opsloop validate --server',
          }
        : one,
    );
    return { ...document, findings, valid: !findings.some(({ severity }) => severity === 'error') };
  });
}

async function onServer(context: Context, bodies: readonly unknown[]): Promise<DocumentFindings[]> {
  if (bodies.length > TOGETHER_MAX)
    throw new CliError(
      `${bodies.length} documents; the server checks ${TOGETHER_MAX} at once: name a part of them`,
      EXIT.usage,
    );
  return (await context.client().validate(bodies)).documents as DocumentFindings[];
}

/** `flow.yaml:12 error OPS1505 …`, with what to do below it. */
export function showFinding({ out }: Context, one: ShownFinding): void {
  const { place, line, severity, code, pointer, message, hint, step } = one;
  const at = `${place}${line === undefined ? '' : `:${line}`}`;
  const mark = severity === 'error' ? out.color.red('error') : out.color.yellow('warning');
  const where = `${pointer === '' ? '(document)' : pointer}${step === undefined ? '' : ` (${step})`}`;
  out.line(`${out.color.bold(at)} ${mark} ${code} ${where}`);
  out.line(`  ${message}`);
  if (hint !== undefined) out.line(out.color.dim(`  ${hint}`));
}
