import { DOCUMENT_KINDS } from '@opsloop/contracts';
import type { DocumentKind, DocumentView, Json, ResourceView } from '@opsloop/contracts';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { withConditionsAsText } from '../documents/conditions.pure.js';
import { inReadingOrder } from '../documents/reading-order.pure.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';
import { showFinding } from './validate.js';

const KINDS = Object.keys(DOCUMENT_KINDS) as DocumentKind[];
const LIMIT = '200';

export function registerDocumentCommands(program: Command, streams: Streams): void {
  program
    .command('get')
    .description(`list documents of a kind, or show one as YAML (${KINDS.join(', ')})`)
    .argument('<kind>')
    .argument('[name]', 'name, or name@version')
    .option('--limit <n>', 'most items listed', LIMIT)
    .action((kind: string, name: string | undefined, options: { limit: string }, command: Command) =>
      get(contextOf(command, streams), kind, name, options),
    );
  program
    .command('describe')
    .description('a document with its versions and state, conditions as text')
    .argument('<kind>')
    .argument('<name>')
    .action((kind: string, name: string, _options: object, command: Command) =>
      describe(contextOf(command, streams), kindOf(kind), name),
    );
  program
    .command('delete')
    .description('delete a document; history stays')
    .argument('<kind>')
    .argument('<name>')
    .action((kind: string, name: string, _options: object, command: Command) =>
      remove(contextOf(command, streams), kindOf(kind), name),
    );
  for (const act of ['publish', 'rollback', 'deprecate'] as const) {
    program
      .command(act)
      .description(
        {
          publish: 'let a version of a flow start',
          rollback: 'make an older version of a flow the one in use',
          deprecate: 'take a version of a flow out of use',
        }[act],
      )
      .argument('<flow>', 'domain/name[@version]')
      .option('--reason <text>', 'kept in the audit')
      .action((flow: string, options: { reason?: string }, command: Command) =>
        actOnFlow(contextOf(command, streams), act, flow, options.reason),
      );
  }
  const rules = program.command('rules').description('operational state of rules');
  addLookups(rules, streams, 'rule');
  rules
    .command('mode')
    .description('active decides and starts, shadow only decides, disabled does neither')
    .argument('<name>', 'domain/name')
    .argument('<mode>', 'active, shadow or disabled')
    .requiredOption('--reason <text>', 'kept in the audit')
    .action((name: string, mode: string, options: { reason: string }, command: Command) =>
      ruleMode(contextOf(command, streams), name, mode, options.reason),
    );
}

/** `ls` and `show` of a group of commands, as runs, locks and the others have them: what `get` and `describe` say. */
export function addLookups(group: Command, streams: Streams, kind: DocumentKind): void {
  group
    .command('ls')
    .description(`the same as: opsloop get ${kind}`)
    .option('--limit <n>', 'most items listed', LIMIT)
    .action((options: { limit: string }, command: Command) =>
      get(contextOf(command, streams), kind, undefined, options),
    );
  group
    .command('show')
    .description(`the same as: opsloop describe ${kind} NAME`)
    .argument('<name>')
    .action((name: string, _options: object, command: Command) => describe(contextOf(command, streams), kind, name));
}

/** `rule`, `rules`, `policy`, `policies` → the kind. */
export function kindOf(text: string): DocumentKind {
  const kind = KINDS.find((one) => one === text || DOCUMENT_KINDS[one].route === text);
  if (kind === undefined)
    throw new CliError(`"${text}" is no kind of document; there are ${KINDS.join(', ')}`, EXIT.usage);
  return kind;
}

async function get(
  context: Context,
  kindText: string,
  reference: string | undefined,
  options: { limit: string },
): Promise<void> {
  const kind = kindOf(kindText);
  const [name, version] = reference?.split('@', 2) ?? [];
  const { out } = context;
  const client = context.client();
  if (name !== undefined) {
    const found = await client.getDocument<DocumentView | ResourceView>(kind, name, version);
    out.result(found, () =>
      out.line(stringify(inReadingOrder('body' in found ? found.body : (found as unknown as Json))).trimEnd()),
    );
    if (!out.json) out.next(`opsloop describe ${kind} ${name}`);
    return;
  }
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1) throw new CliError('--limit must be a whole number from 1', EXIT.usage);
  const page = await client.listDocuments<DocumentView & ResourceView>(kind, { limit: Math.min(limit, 500) });
  out.result(page, () => {
    if (page.items.length === 0) out.line(`no ${DOCUMENT_KINDS[kind].route}`);
    else if (kind === 'resource') {
      out.table(
        ['PATH', 'LABELS', 'STATE', 'SEEN'],
        page.items.map((one) => [one.path, pairs(one.labels), pairs(one.state), shortTime(one.observedAt)]),
      );
    } else {
      out.table(
        ['NAME', 'VERSION', 'STATUS', 'BY', 'AT'],
        page.items.map((one) => [
          one.name,
          one.version,
          out.status(String(one.meta?.['mode'] ?? one.status)),
          one.createdBy,
          one.createdBy === 'opsloop' ? 'built in' : shortTime(one.createdAt),
        ]),
      );
    }
    if (page.nextCursor !== undefined) out.line(`… more; --limit ${Math.min(limit * 2, 500)} shows them`);
    out.next(
      page.items.length === 0
        ? 'opsloop apply -f DIR'
        : `opsloop describe ${kind} ${kind === 'resource' ? page.items[0]!.path : page.items[0]!.name}`,
    );
  });
}

async function describe(context: Context, kind: DocumentKind, name: string): Promise<void> {
  const { out } = context;
  const client = context.client();
  const found = await client.getDocument<DocumentView | ResourceView>(kind, name);
  if (!('body' in found)) {
    out.result(found, () => {
      out.line(stringify(found).trimEnd());
      out.next(`opsloop explain ${name}`);
    });
    return;
  }
  const versions = DOCUMENT_KINDS[kind].versioned ? (await client.versions(kind, name)).items : [];
  out.result({ ...found, versions: versions.map(({ body: _body, ...version }) => version) }, () => {
    out.line(out.color.bold(`${kind} ${found.name}${found.version === undefined ? '' : ` ${found.version}`}`));
    out.line(
      `${out.status(found.status)}, by ${found.createdBy}, ${shortTime(found.createdAt)}, digest ${found.digest.slice(0, 12)}`,
    );
    if (found.meta !== undefined && Object.keys(found.meta).length > 0) out.line(`state: ${pairs(found.meta)}`);
    if (versions.length > 1)
      out.line(`versions: ${versions.map((one) => `${one.version ?? ''} ${one.status}`).join(', ')}`);
    out.line();
    out.line(stringify(inReadingOrder(withConditionsAsText(found.body))).trimEnd());
    out.next(...nextFor(kind, found));
  });
}

function nextFor(kind: DocumentKind, found: DocumentView): string[] {
  if (kind === 'flow')
    return [
      found.status === 'draft'
        ? `opsloop publish ${found.name}@${found.version ?? ''}`
        : `opsloop run ${found.name} -i key=value --wait`,
    ];
  if (kind === 'atom') return [`opsloop run ${found.name} -i key=value --wait`];
  if (kind === 'rule') return [`opsloop rules mode ${found.name} shadow --reason …`];
  return [`opsloop get ${kind}`];
}

async function remove(context: Context, kind: DocumentKind, name: string): Promise<void> {
  if (kind === 'flow' || kind === 'atom') {
    throw new CliError(
      `${kind}s are not deleted, since runs refer to them${kind === 'flow' ? `; "opsloop deprecate ${name}@VERSION" takes a version out of use` : ''}`,
      EXIT.usage,
    );
  }
  await context.client().deleteDocument(kind, name);
  context.out.result({ deleted: { kind, name } }, () => {
    context.out.line(`${kind} ${name} is deleted`);
    context.out.next(`opsloop get ${kind}`);
  });
}

async function actOnFlow(
  context: Context,
  act: 'publish' | 'rollback' | 'deprecate',
  flow: string,
  reason: string | undefined,
): Promise<void> {
  const [name = '', given] = flow.split('@', 2);
  const client = context.client();
  const version = given ?? (await chooseVersion(context, act, name));
  const answer = await client.flowAct(act, name, version, reason);
  context.out.result(answer, () => {
    context.out.line(
      `${answer.name} ${answer.version} is ${context.out.status(answer.status)}${answer.changed ? '' : ' already'}`,
    );
    for (const one of answer.warnings ?? []) showFinding(context, { place: flow, kind: 'flow', name, ...one });
    if (answer.deprecated.length > 0) context.out.line(`deprecated: ${answer.deprecated.join(', ')}`);
    context.out.next(act === 'deprecate' ? `opsloop describe flow ${name}` : `opsloop run ${name} -i key=value --wait`);
  });
}

/** Publish: the newest version. Rollback: the published one before the newest published. Deprecate must be told. */
async function chooseVersion(
  context: Context,
  act: 'publish' | 'rollback' | 'deprecate',
  name: string,
): Promise<string> {
  const { items } = await context.client().versions('flow', name);
  const published = items.filter(({ status }) => status === 'published');
  const chosen = act === 'publish' ? items[0] : act === 'rollback' ? published[1] : undefined;
  if (chosen?.version !== undefined) return chosen.version;
  const known = items.map(({ version, status }) => `${version ?? ''} (${status})`).join(', ');
  throw new CliError(
    `say which version to ${act}: opsloop ${act} ${name}@VERSION; there are ${known === '' ? 'none' : known}`,
    EXIT.usage,
  );
}

async function ruleMode(context: Context, name: string, mode: string, reason: string): Promise<void> {
  if (!['active', 'shadow', 'disabled'].includes(mode))
    throw new CliError(`"${mode}" is no mode; it is active, shadow or disabled`, EXIT.usage);
  const rule = await context.client().patchRule(name, { mode, reason });
  context.out.result(rule, () => {
    context.out.line(`rule ${name} is ${context.out.status(mode)}`);
    context.out.next(mode === 'active' ? 'opsloop runs ls' : `opsloop rules mode ${name} active --reason …`);
  });
}

/** `a=1 b=x` for tables. */
export function pairs(value: Record<string, Json> | undefined): string {
  return Object.entries(value ?? {})
    .map(([key, one]) => `${key}=${typeof one === 'string' ? one : JSON.stringify(one)}`)
    .join(' ');
}
