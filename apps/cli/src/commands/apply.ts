import { ApiProblem } from '@opsloop/api-client';
import type { OpsloopClient } from '@opsloop/api-client';
import { digestOf } from '@opsloop/contracts';
import type { DocumentKind, DocumentView, JsonObject, ResourceView } from '@opsloop/contracts';
import { normaliseDocument } from '@opsloop/dsl';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { checkDocuments, failOnErrors, findingLine } from '../documents/check-documents.pure.js';
import type { PlacedFinding } from '../documents/check-documents.pure.js';
import { blamed, inWriteSets } from '../documents/write-sets.pure.js';
import { inDependencyOrder } from '../documents/order.pure.js';
import { readDocuments } from '../documents/read-documents.js';
import type { LoadedDocument } from '../documents/read-documents.js';
import { CliError, asCliError } from '../errors.js';
import type { Streams } from '../output.js';

interface Applied {
  kind: DocumentKind;
  name: string;
  version?: string;
  place: string;
  change: string;
  /** Of a flow: whether it can start. */
  status?: string;
}

/** Documents that the server checks together in one request, by its limit. */
const TOGETHER_MAX = 500;

export function registerApply(program: Command, streams: Streams): void {
  program
    .command('apply')
    .description('create or change documents of all kinds; all are checked before the first is written')
    .requiredOption('-f, --file <path...>', 'files and folders with JSON or YAML documents')
    .option('--dry-run', 'say what would change, write nothing')
    .option('--publish', 'also publish the flows, so that they can start (default: they stay drafts)')
    .action((options: { file: string[]; dryRun?: boolean; publish?: boolean }, command: Command) =>
      apply(contextOf(command, streams), options),
    );
}

async function apply(
  context: Context,
  options: { file: string[]; dryRun?: boolean; publish?: boolean },
): Promise<void> {
  const documents = inDependencyOrder(readDocuments(options.file, context.streams.cwd));
  const findings = checkDocuments(documents);
  const client = context.client();
  findings.push(...(await checkTogether(client, documents)));
  failOnErrors(findings);
  warn(context, findings);
  const applied: Applied[] = [];
  const dryRun = options.dryRun === true;
  for (const set of dryRun ? documents.map((one) => [one]) : inWriteSets(documents)) {
    try {
      if (dryRun) applied.push(await compare(client, set[0]!));
      else if (set.length === 1) applied.push(await write(client, set[0]!, options.publish === true));
      else applied.push(...(await writeRules(client, set)));
    } catch (error) {
      if (!context.out.json) show(context, applied, dryRun);
      throw stopped(error, blamed(set, error instanceof ApiProblem ? error.errors.map((e) => e.pointer) : []), applied);
    }
  }
  context.out.result({ dryRun: options.dryRun === true, items: applied }, () => {
    show(context, applied, options.dryRun === true);
    nextAfter(context, applied, options);
  });
}

/** Documents by which flows and atoms are judged, and these themselves. */
const TOGETHER: ReadonlySet<string> = new Set(['flow', 'atom', 'config']);

/** References between flows and atoms, including those that are on the server already. */
async function checkTogether(client: OpsloopClient, documents: readonly LoadedDocument[]): Promise<PlacedFinding[]> {
  const offerings = documents.filter(({ kind }) => TOGETHER.has(kind));
  if (offerings.every(({ kind }) => kind === 'config') || offerings.length > TOGETHER_MAX) return [];
  const answer = await client.http.post<{
    documents: { findings: Omit<PlacedFinding, 'place' | 'kind' | 'name'>[] }[];
  }>('/v1/flows/validate', {
    documents: offerings.map(({ document }) => document),
  });
  return answer.documents.flatMap(({ findings }, index) => {
    const { place, kind, name } = offerings[index]!;
    // What is wrong with a config has been said without the server.
    if (kind === 'config') return [];
    return findings.map(({ severity, pointer, message }) => ({ place, kind, name, severity, pointer, message }));
  });
}

async function write(
  client: OpsloopClient,
  { kind, name, version, document, place }: LoadedDocument,
  publish: boolean,
): Promise<Applied> {
  const answer = (await client.putDocument(kind, name, document)) as { change: string; status?: string };
  const applied: Applied = { kind, name, ...(version === undefined ? {} : { version }), place, change: answer.change };
  if (kind !== 'flow' || version === undefined) return applied;
  if (!publish) return { ...applied, status: answer.status ?? 'draft' };
  const act = await client.flowAct('publish', name, version);
  return { ...applied, status: act.status };
}

/** All of them judge from one moment on, or none: no event meets the half of a change. */
async function writeRules(client: OpsloopClient, set: readonly LoadedDocument[]): Promise<Applied[]> {
  const { items } = await client.putRules(set.map(({ document }) => document));
  return set.map(({ kind, name, version, place }, i) => ({
    ...{ kind, name, place, change: items[i]!.change },
    ...(version === undefined ? {} : { version }),
  }));
}

async function compare(
  client: OpsloopClient,
  { kind, name, version, document, place }: LoadedDocument,
): Promise<Applied> {
  const known = { kind, name, ...(version === undefined ? {} : { version }), place };
  try {
    const path = version === undefined || kind === 'atom' ? undefined : version;
    if (kind === 'resource')
      return {
        ...known,
        change: sameResource(document, await client.getDocument<ResourceView>(kind, name))
          ? 'unchanged'
          : 'would change',
      };
    const stored = await client.getDocument<DocumentView>(kind, name, path);
    const digests = [digestOf(document), digestOf(normaliseDocument(document))];
    const same =
      stored.digest !== undefined &&
      digests.includes(stored.digest) &&
      (version === undefined || stored.version === version);
    return { ...known, change: same ? 'unchanged' : 'would change' };
  } catch (error) {
    if (error instanceof ApiProblem && error.code === 'not-found') return { ...known, change: 'would create' };
    throw error;
  }
}

/** Compares what the document says; what it leaves out stays as it is. */
function sameResource(document: JsonObject, view: ResourceView): boolean {
  const { labels = {}, memberOf = [], dependsOn = [], owner = null, state = {} } = document;
  const seen = Object.fromEntries(Object.keys(state as JsonObject).map((key) => [key, view.state[key] ?? null]));
  return (
    digestOf({ labels, memberOf, dependsOn, owner, state }) ===
    digestOf({
      labels: view.labels,
      memberOf: view.memberOf,
      dependsOn: view.dependsOn,
      owner: view.owner ?? null,
      state: seen,
    })
  );
}

function stopped(error: unknown, document: LoadedDocument, applied: readonly Applied[]): CliError {
  const failure = asCliError(error);
  const remedy = error instanceof ApiProblem && error.code === 'version-conflict' ? '; raise its version' : '';
  const done =
    applied.length === 0
      ? 'nothing was written'
      : `${applied.length} documents before it were written; fix this one and apply again`;
  return new CliError(
    `${document.place}: ${document.kind} ${document.name}: ${failure.message}${remedy}; ${done}`,
    failure.exit,
    failure.lines,
    failure.data,
  );
}

function warn(context: Context, findings: readonly PlacedFinding[]): void {
  for (const finding of findings)
    if (finding.severity === 'warning') context.out.note(`warning: ${findingLine(finding)}`);
}

function show(context: Context, applied: readonly Applied[], dryRun: boolean): void {
  const { out } = context;
  if (applied.length === 0) return;
  out.table(
    ['KIND', 'NAME', 'VERSION', 'CHANGE', 'STATUS'],
    applied.map((one) => [
      one.kind,
      one.name,
      one.version,
      out.status(one.change),
      one.status === undefined ? '' : out.status(one.status),
    ]),
  );
  const count = (change: string): number => applied.filter((one) => one.change === change).length;
  if (!dryRun) out.line(`${count('created')} created, ${count('changed')} changed, ${count('unchanged')} unchanged`);
}

function nextAfter({ out }: Context, applied: readonly Applied[], options: { file: string[]; dryRun?: boolean }): void {
  const files = options.file.join(' ');
  const drafts = applied.filter(({ kind, status }) => kind === 'flow' && status === 'draft');
  if (options.dryRun === true) out.next(`opsloop apply -f ${files}`);
  else if (drafts.length === 1)
    out.next(
      `opsloop publish ${drafts[0]!.name}@${drafts[0]!.version ?? ''}   (a flow starts only when it is published)`,
    );
  else if (drafts.length > 1)
    out.next(`opsloop apply -f ${files} --publish   (flows start only when they are published)`);
  else if (applied.some(({ kind }) => kind === 'rule' || kind === 'source'))
    out.next('opsloop events ls', 'opsloop status');
  else out.next(`opsloop get ${applied[0]!.kind}`);
}
