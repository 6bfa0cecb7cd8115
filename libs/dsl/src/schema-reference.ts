/** The JSON Schemas as what people read: a reference by path, and one schema for editors. */
import { OpsError, VERBS, type Json, type JsonObject } from '@opsloop/contracts';
import { SCHEMAS } from './generated/schemas.js';
import { isObject } from './normalise.js';
import { near } from './near.js';

export interface SchemaMember {
  name: string;
  type: string;
  required: boolean;
  description: string;
  default?: Json;
  example?: Json;
}

export interface SchemaPart {
  path: string;
  title?: string;
  description: string;
  type: string;
  example?: Json;
  members: SchemaMember[];
  /** Of a flow: what a step may do. */
  verbs?: SchemaMember[];
}

const parsed = new Map<string, JsonObject>();

/** JSON Schema 2020-12 of a kind. Shared: not to be changed. */
export function documentSchema(kind: string): JsonObject {
  let schema = parsed.get(kind);
  if (schema === undefined) {
    const text = Object.hasOwn(SCHEMAS, kind) ? SCHEMAS[kind] : undefined;
    if (text === undefined) throw unknown(kind, kind, Object.keys(SCHEMAS));
    parsed.set(kind, (schema = JSON.parse(text) as JsonObject));
  }
  return schema;
}

export const SCHEMA_KINDS: readonly string[] = Object.keys(SCHEMAS);

function unknown(path: string, name: string, known: readonly string[]): OpsError {
  const close = near(name, new Set(known)) ?? known.find((one) => one.toLowerCase() === name.toLowerCase());
  const hint = close === undefined ? '' : close.startsWith('did') ? `; ${close}` : `; did you mean "${close}"?`;
  return new OpsError(
    'not-found',
    `"${path}" leads to nothing: there is no "${name}"${hint} There is ${known.join(', ')}`,
  );
}

/** A property with what it refers to: what it says itself wins. */
function merged(schema: Json | undefined, root: JsonObject): JsonObject {
  if (!isObject(schema)) return {};
  const ref = schema['$ref'];
  if (typeof ref !== 'string') return schema;
  const target = (root['$defs'] as JsonObject)[ref.split('/').at(-1)!];
  const { $ref: _ref, ...own } = schema;
  return { ...merged(target, root), ...own };
}

/** The object that holds members: of a list its items, of a choice between text and object the object. */
function holder(schema: JsonObject, root: JsonObject): JsonObject {
  if (isObject(schema['properties'])) return schema;
  if (schema['items'] !== undefined) return holder(merged(schema['items'], root), root);
  for (const key of ['then', 'else']) {
    const branch = merged(schema[key], root);
    if (isObject(branch['properties']) || branch['items'] !== undefined) return holder(branch, root);
  }
  return schema;
}

/** `flow.forEach.batch` → its reference. Lists are passed through: `rule.branches.ladder.within`. */
export function describeSchema(path: string): SchemaPart {
  const [kind = '', ...names] = path.split('.');
  const root = documentSchema(kind);
  const defs = (root['$defs'] ?? {}) as JsonObject;
  let at = root;
  for (const [i, name] of names.entries()) {
    const inside = holder(at, root);
    const properties = (inside['properties'] ?? {}) as JsonObject;
    const step = kind === 'flow' ? defs[`step-${name}`] : undefined;
    if (i === 0 && step !== undefined) at = verb(name, merged(step, root), root);
    else if (i === 0 && defs[`${kind}-${name}`] !== undefined) at = merged(defs[`${kind}-${name}`], root);
    else if (Object.hasOwn(properties, name)) at = merged(properties[name], root);
    else if (isObject(defs[name]) && i === 0) at = merged(defs[name], root);
    else throw unknown(path, name, [...Object.keys(properties), ...(i === 0 ? choices(kind, defs) : [])]);
  }
  const inside = holder(at, root);
  const example = Array.isArray(at['examples']) ? at['examples'][0] : undefined;
  return {
    path,
    ...(typeof at['title'] === 'string' ? { title: at['title'] } : {}),
    description: String(at['description'] ?? ''),
    type: typeOf(at, root),
    ...(example === undefined ? {} : { example }),
    members: membersOf(inside, root),
    ...(kind === 'flow' && names.length === 0 ? { verbs: verbsOf(defs, root) } : {}),
  };
}

function choices(kind: string, defs: JsonObject): string[] {
  if (kind === 'flow') return [...VERBS];
  return Object.keys(defs)
    .filter((name) => name.startsWith(`${kind}-`))
    .map((name) => name.slice(kind.length + 1));
}

/** A verb with members of its own shows those; one that is a text shows the members of its step. */
function verb(name: string, step: JsonObject, root: JsonObject): JsonObject {
  const own = merged((step['properties'] as JsonObject)[name], root);
  return isObject(own['properties']) && name !== 'set' ? own : step;
}

function verbsOf(defs: JsonObject, root: JsonObject): SchemaMember[] {
  return VERBS.map((name) => {
    const step = merged(defs[`step-${name}`], root);
    return member(name, (step['properties'] as JsonObject)[name], false, root);
  });
}

function membersOf(schema: JsonObject, root: JsonObject): SchemaMember[] {
  const required = (schema['required'] ?? []) as string[];
  let properties = (schema['properties'] ?? {}) as JsonObject;
  // A policy has its members in the schema of its type.
  if (Object.keys(properties).length === 1 && Array.isArray(schema['allOf'])) {
    const all = schema['allOf'].map((one) => merged((one as JsonObject)['then'], root)['properties'] as JsonObject);
    properties = Object.assign({}, ...all.reverse(), properties) as JsonObject;
  }
  return Object.entries(properties).map(([name, one]) => member(name, one, required.includes(name), root));
}

function member(name: string, schema: Json | undefined, required: boolean, root: JsonObject): SchemaMember {
  const full = merged(schema, root);
  const example = Array.isArray(full['examples']) ? full['examples'][0] : undefined;
  const description = String(full['description'] ?? '');
  const written = /[Dd]efault ([^.;,]+)/.exec(description)?.[1];
  const fallback = full['default'] ?? written;
  return {
    ...{ name, type: typeOf(full, root), required, description },
    ...(fallback === undefined ? {} : { default: fallback }),
    ...(example === undefined ? {} : { example }),
  };
}

function typeOf(schema: JsonObject, root: JsonObject): string {
  if (schema['const'] !== undefined) return JSON.stringify(schema['const']);
  if (Array.isArray(schema['enum'])) return schema['enum'].map((one) => JSON.stringify(one)).join(' | ');
  if (schema['title'] === 'Template') return 'template';
  if (schema['title'] === 'Condition') return 'condition';
  if (schema['title'] === 'Duration') return 'duration';
  if (schema['title'] === 'Reference') return 'name@range';
  const types = [schema['type'] ?? []].flat() as string[];
  if (types[0] === 'array') {
    const items = typeOf(merged(schema['items'], root), root);
    return items === '' || items === 'any' ? 'list' : `list of ${items}`;
  }
  const bounds = [
    schema['minimum'] === undefined ? '' : `≥ ${String(schema['minimum'])}`,
    schema['maximum'] === undefined ? '' : `≤ ${String(schema['maximum'])}`,
  ].filter(Boolean);
  const text = types.map((type) => (type === 'string' ? 'text' : type)).join(' | ');
  return [text === '' ? 'any' : text, ...bounds].join(' ');
}

/** All kinds in one schema, which an editor needs no second file for. */
export function editorSchema(): JsonObject {
  const defs: JsonObject = {};
  for (const kind of SCHEMA_KINDS) {
    const { $defs, $id: _id, $schema: _schema, ...schema } = moved(documentSchema(kind), kind) as JsonObject;
    defs[kind] = schema;
    for (const [name, def] of Object.entries(($defs ?? {}) as JsonObject)) defs[`${kind}.${name}`] = def;
  }
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'A document of opsloop',
    type: 'object',
    required: ['dsl', 'kind'],
    properties: {
      dsl: { const: 'opsloop/v1' },
      kind: { enum: [...SCHEMA_KINDS], description: 'What this document is' },
    },
    allOf: SCHEMA_KINDS.map((kind) => ({
      if: { properties: { kind: { const: kind } }, required: ['kind'] },
      then: { $ref: `#/$defs/${kind}` },
    })),
    $defs: defs,
  };
}

/** A copy whose references lead to the definitions of its kind. */
function moved(value: Json, kind: string): Json {
  if (Array.isArray(value)) return value.map((item) => moved(item, kind));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [
      key,
      key === '$ref' && typeof one === 'string' ? one.replace('#/$defs/', `#/$defs/${kind}.`) : moved(one, kind),
    ]),
  );
}
