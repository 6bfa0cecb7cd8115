/** How an offering looks to the people and services that call it. */
import type { AtomDocument, CompiledOffering, Effect, FlowDocument, Json, JsonObject } from '@opsloop/contracts';
import type { StoredOffering } from '../resolve-references/snapshot.pure.js';
import { byVersionDescending } from '../resolve-references/version.pure.js';

export interface OfferingItem {
  /** `domain/name`; an atom is `atom/<atom name>`. */
  name: string;
  kind: 'flow' | 'atom';
  title?: string;
  owner?: string;
  labels?: Record<string, string>;
  version: string;
  effect: Effect;
  builtIn: boolean;
  /** False when something it refers to is gone: it cannot start. */
  startable: boolean;
}

export interface OfferingDetail extends OfferingItem {
  digest: string;
  input: JsonObject;
  examples: { input: Json; output?: Json }[];
  versions: { version: string; status: string; createdAt: string; createdBy: string }[];
  /** What it calls, as written → pinned. */
  calls: Record<string, string>;
  problems: string[];
  curl: string;
}

export interface OfferingFilter {
  q?: string;
  kind?: 'flow' | 'atom';
  owner?: string;
  effect?: Effect;
}

export const catalogName = (stored: { kind: string; name: string }): string =>
  stored.kind === 'atom' ? `atom/${stored.name}` : stored.name;

const ownEffect = (body: FlowDocument | AtomDocument): Effect => (body.kind === 'atom' ? body.effect : 'read');

/** What compiling says of an offering; without `effect` it cannot start. */
export interface Summary {
  effect?: Effect;
}

export function toItem(stored: StoredOffering, summary: Summary): OfferingItem {
  const { title, owner, labels } = stored.body;
  return {
    name: catalogName(stored),
    kind: stored.kind,
    ...(title === undefined ? {} : { title }),
    ...(owner === undefined ? {} : { owner }),
    ...(labels === undefined ? {} : { labels }),
    version: stored.version,
    effect: summary.effect ?? ownEffect(stored.body),
    builtIn: stored.builtIn === true,
    startable: summary.effect !== undefined,
  };
}

/** All given filters but `effect` must hold; `q` is looked for in name, title and owner, whatever the case. */
export function matchesFilter(stored: StoredOffering, filter: OfferingFilter): boolean {
  const { title = '', owner = '' } = stored.body;
  const text = [catalogName(stored), title, owner].join('\n').toLowerCase();
  return (
    (filter.q === undefined || text.includes(filter.q.toLowerCase())) &&
    (filter.kind === undefined || stored.kind === filter.kind) &&
    (filter.owner === undefined || owner === filter.owner)
  );
}

/** Nested schemas that an example is made of; deeper ones become null rather than an endless example. */
const EXAMPLE_DEPTH_MAX = 6;

/** A value that shows what a schema wants: its example, default, const or first enum value, else one by type. */
export function exampleOf(schema: Json | undefined, depth = 0): Json {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema) || depth > EXAMPLE_DEPTH_MAX) return null;
  const given = [
    Array.isArray(schema['examples']) ? schema['examples'][0] : undefined,
    schema['default'],
    schema['const'],
    Array.isArray(schema['enum']) ? schema['enum'][0] : undefined,
  ];
  const first = given.find((v) => v !== undefined);
  if (first !== undefined) return first;
  const type = Array.isArray(schema['type']) ? schema['type'][0] : schema['type'];
  if (type === 'object' || schema['properties'] !== undefined) {
    const required = new Set(Array.isArray(schema['required']) ? schema['required'] : []);
    const properties = Object.entries((schema['properties'] ?? {}) as JsonObject).filter(([key]) => required.has(key));
    return Object.fromEntries(properties.map(([key, value]) => [key, exampleOf(value, depth + 1)]));
  }
  if (type === 'array') return [exampleOf(schema['items'], depth + 1)];
  if (type === 'integer' || type === 'number') return typeof schema['minimum'] === 'number' ? schema['minimum'] : 1;
  if (type === 'boolean') return true;
  return type === 'string' ? 'text' : null;
}

/** Single quotes for a POSIX shell: nothing inside is interpreted. */
const shellQuote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

export function curlOf(publicUrl: string, name: string, input: Json): string {
  return [
    `curl -sS -X POST ${shellQuote(`${publicUrl}/v1/catalog/${name}/runs`)}`,
    `  -H "Authorization: Bearer $OPSLOOP_TOKEN" -H 'Content-Type: application/json'`,
    `  -d ${shellQuote(JSON.stringify({ input }))}`,
  ].join(' \\\n');
}

export function toDetail(
  stored: StoredOffering,
  versions: readonly StoredOffering[],
  compiled: { offering?: CompiledOffering; problems: string[] },
  publicUrl: string,
): OfferingDetail {
  const item = toItem(stored, compiled.offering ?? {});
  const schema = stored.body.input?.schema ?? { type: 'object' };
  const declared = stored.body.kind === 'atom' ? (stored.body.examples ?? []) : [];
  const examples = declared.length > 0 ? declared : [{ input: exampleOf(schema) }];
  const ir = compiled.offering?.compiled;
  const atoms = Object.entries(ir?.atoms ?? {}).map(([ref, atom]) => [ref, `${atom.name}@${atom.version}`]);
  const flows = Object.entries(ir?.flows ?? {}).map(([ref, flow]) => [ref, `${flow.flow.name}@${flow.flow.version}`]);
  return {
    ...item,
    digest: stored.digest,
    input: schema,
    examples,
    versions: [...versions]
      .sort(byVersionDescending)
      .map((v) => ({ version: v.version, status: v.status, createdAt: v.createdAt, createdBy: v.createdBy })),
    calls: Object.fromEntries([...atoms, ...flows]) as Record<string, string>,
    problems: compiled.problems,
    curl: curlOf(publicUrl, item.name, examples[0]?.input ?? {}),
  };
}
