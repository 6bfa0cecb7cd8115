/** OpenAPI operations → http atoms. */
import type { AtomDocument, Json, JsonObject } from '@opsloop/contracts';

export interface ImportOptions {
  /** First word of the names; default the API's title. */
  prefix?: string;
  url?: string;
  owner?: string;
}

export interface Imported {
  atoms: AtomDocument[];
  /** What a person has to look at. */
  notes: string[];
}

const METHODS = ['get', 'head', 'put', 'post', 'delete', 'patch', 'options'] as const;
/** A schema deeper than this is cut: what lies below is any JSON. Recursive schemas end here. */
const DEPTH_MAX = 12;
/** Names of atoms have at most six words. */
const WORDS_MAX = 6;

interface Operation {
  method: (typeof METHODS)[number];
  path: string;
  spec: JsonObject;
  parameters: JsonObject[];
}

interface Parameter {
  /** Name in the input. */
  key: string;
  name: string;
  in: string;
  required: boolean;
  schema: JsonObject;
}

/** One atom per operation, in the order of the description; names are unique. */
export function atomsOf(api: JsonObject, options: ImportOptions): Imported {
  const info = objectOf(api['info']);
  const prefix = wordOf(options.prefix ?? textOf(info['title'], 'api'));
  const notes: string[] = [];
  const base = baseOf(api, options, prefix, notes);
  const taken = new Set<string>();
  const atoms = operationsOf(api).map((operation) => {
    const name = uniqueName(nameOf(prefix, operation), taken);
    return atomOf(name, operation, { api, base, prefix, notes, ...options });
  });
  if (atoms.length === 0) notes.push('the description holds no operation');
  if (atoms.some((atom) => atom.effect !== 'read'))
    notes.push(
      'Changes are declared with idempotency "none": such a step gets one attempt. Where the API honours an Idempotency-Key, write "native".',
    );
  return { atoms, notes: [...new Set(notes)] };
}

function operationsOf(api: JsonObject): Operation[] {
  return Object.entries(objectOf(api['paths'])).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const spec = objectOf(item)[method];
      if (spec === undefined) return [];
      const shared = listOf(objectOf(item)['parameters']);
      const own = listOf(objectOf(spec)['parameters']);
      const isOwn = (p: JsonObject): boolean => own.some((o) => o['name'] === p['name'] && o['in'] === p['in']);
      return [{ method, path, spec: objectOf(spec), parameters: [...shared.filter((p) => !isOwn(p)), ...own] }];
    }),
  );
}

interface Around extends ImportOptions {
  api: JsonObject;
  base: string;
  prefix: string;
  notes: string[];
}

function atomOf(name: string, operation: Operation, around: Around): AtomDocument {
  const { method, path, spec } = operation;
  const parameters = parametersOf(operation);
  const body = bodyOf(operation);
  const effect =
    method === 'get' || method === 'head' || method === 'options' ? 'read' : method === 'delete' ? 'destroy' : 'mutate';
  const query = queryOf(parameters);
  const headers = { ...headersOf(parameters), ...authOf(spec, around) };
  const { code, schema } = answerOf(spec);
  const title = textOf(spec['summary'], `${method.toUpperCase()} ${path}`).slice(0, 500);
  const description = spec['description'];
  if (parameters.some((p) => p.in === 'cookie')) around.notes.push(`${name}: its cookies are left out`);
  return {
    dsl: 'opsloop/v1',
    kind: 'atom',
    name,
    version: '1.0.0',
    title,
    ...(around.owner === undefined ? {} : { owner: around.owner }),
    ...(typeof description === 'string' && description !== '' ? { description: description.slice(0, 4_000) } : {}),
    effect,
    idempotency: effect === 'read' ? 'native' : 'none',
    input: { schema: inputOf(parameters, body) },
    ...(schema === undefined ? {} : { output: { schema } }),
    http: {
      method: method.toUpperCase(),
      url: `${around.base}${urlOf(path, parameters)}`,
      ...(Object.keys(query).length === 0 ? {} : { query }),
      ...(Object.keys(headers).length === 0 ? {} : { headers }),
      ...(body === undefined ? {} : { body: body.required ? '${input.body}' : '${input.body?}' }),
      ...(code === undefined ? {} : { expect: code }),
      ...(schema === undefined ? {} : { output: '${response.body}' }),
    },
    timeout: { startToClose: '30s' },
  } as AtomDocument;
}

// ---------------------------------------------------------------- names

/** `petstore` + `getPetById` → `petstore.get-pet-by-id`. */
function nameOf(prefix: string, { method, path, spec }: Operation): string {
  const id = spec['operationId'];
  if (typeof id === 'string' && wordOf(id) !== '') return `${prefix}.${wordOf(id)}`;
  const words = path
    .split('/')
    .filter((part) => part !== '' && !part.startsWith('{'))
    .map(wordOf)
    .filter((w) => w !== '');
  return [prefix, ...words.slice(0, WORDS_MAX - 2), method].join('.');
}

function uniqueName(name: string, taken: Set<string>): string {
  let unique = name.slice(0, 115);
  for (let n = 2; taken.has(unique); n += 1) unique = `${name.slice(0, 115)}-${n}`;
  taken.add(unique);
  return unique;
}

/** Lower case with hyphens, beginning with a letter. */
function wordOf(text: string): string {
  const word = text
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '');
  return word.slice(0, 60);
}

// ---------------------------------------------------------------- address

function baseOf(api: JsonObject, { url }: ImportOptions, prefix: string, notes: string[]): string {
  const server = objectOf(listOf(api['servers'])[0] ?? {});
  const old = typeof api['host'] === 'string' ? `https://${api['host']}${textOf(api['basePath'], '')}` : undefined;
  let found = url ?? (typeof server['url'] === 'string' ? server['url'] : old) ?? '';
  for (const [name, variable] of Object.entries(objectOf(server['variables'] ?? {})))
    found = found.replaceAll(`{${name}}`, String(objectOf(variable)['default'] ?? ''));
  if (/^https?:\/\//.test(found)) return found.replace(/\/+$/, '');
  notes.push(`The description names no absolute address: put { "url": "https://…" } into a config named "${prefix}".`);
  return `\${config.${prefix}.url}${found.replace(/\/+$/, '')}`;
}

function urlOf(path: string, parameters: readonly Parameter[]): string {
  return path.replace(/\{([^}]+)\}/g, (_all, name: string) => {
    const parameter = parameters.find((p) => p.in === 'path' && p.name === name);
    return parameter === undefined ? name : placeOf(parameter);
  });
}

/** What need not be given is left out by the call when it is not. */
function queryOf(parameters: readonly Parameter[]): Record<string, string> {
  const query = parameters.filter((p) => p.in === 'query');
  return Object.fromEntries(query.map((p) => [p.name, p.required ? wholeOf(p) : wholeOf(p).replace('}', '?}')]));
}

function wholeOf({ key }: Parameter): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `\${input.${key}}` : `\${input["${key}"]}`;
}

function placeOf({ key }: Parameter): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `\${input.${key}|string}` : `\${input["${key}"]|string}`;
}

// ---------------------------------------------------------------- input

function parametersOf({ parameters }: Operation): Parameter[] {
  const keys = new Set<string>(['body']);
  return parameters.flatMap((p): Parameter[] => {
    const place = textOf(p['in'], '');
    if (!['path', 'query', 'header', 'cookie'].includes(place)) return [];
    const name = textOf(p['name'], '');
    const required = place === 'path' || p['required'] === true;
    if (place === 'header' && /^(accept|content-type|authorization|idempotency-key)$/i.test(name)) return [];
    if (place === 'header' && !required) return [];
    const key = keys.has(name) ? `${place}-${name}` : name;
    keys.add(key);
    const { schema, type, format, enum: values } = p;
    const own = schema ?? {
      ...(type === undefined ? {} : { type }),
      ...(format === undefined ? {} : { format }),
      ...(values === undefined ? {} : { enum: values }),
    };
    const description = p['description'];
    return [
      {
        key,
        name,
        in: place,
        required,
        schema: { ...schemaOf(own), ...(typeof description === 'string' ? { description } : {}) },
      },
    ];
  });
}

function bodyOf({ spec, parameters }: Operation): { required: boolean; schema: JsonObject } | undefined {
  const old = parameters.find((p) => p['in'] === 'body');
  if (old !== undefined) return { required: old['required'] === true, schema: schemaOf(old['schema']) };
  if (spec['requestBody'] === undefined) return undefined;
  const body = objectOf(spec['requestBody']);
  const content = objectOf(body['content']);
  const media = Object.keys(content).find((type) => /[/+]json\b/.test(type));
  return {
    required: body['required'] === true,
    schema: media === undefined ? {} : schemaOf(objectOf(content[media])['schema']),
  };
}

function inputOf(parameters: readonly Parameter[], body: ReturnType<typeof bodyOf>): JsonObject {
  const sent = parameters.filter((p) => p.in !== 'cookie');
  const required = [...sent.filter((p) => p.required).map((p) => p.key), ...(body?.required === true ? ['body'] : [])];
  return {
    type: 'object',
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
    properties: {
      ...Object.fromEntries(sent.map((p) => [p.key, p.schema])),
      ...(body === undefined ? {} : { body: body.schema }),
    },
  };
}

function headersOf(parameters: readonly Parameter[]): Record<string, string> {
  return Object.fromEntries(parameters.filter((p) => p.in === 'header').map((p) => [p.name.toLowerCase(), placeOf(p)]));
}

// ---------------------------------------------------------------- answer and authentication

function answerOf(spec: JsonObject): { code?: number[]; schema?: JsonObject } {
  const answers = objectOf(spec['responses'] ?? {});
  const good = Object.keys(answers).filter((code) => /^2\d\d$/.test(code));
  if (good.length === 0) return {};
  const code = good.map(Number).sort((a, b) => a - b);
  const answer = objectOf(answers[String(code[0])]);
  const content = objectOf(answer['content'] ?? {});
  const media = Object.keys(content).find((type) => /[/+]json\b/.test(type));
  const found = media === undefined ? answer['schema'] : objectOf(content[media])['schema'];
  return found === undefined ? { code } : { code, schema: schemaOf(found) };
}

/** The first way to authenticate that a header can carry; its secret is named after the API. */
function authOf(spec: JsonObject, { api, prefix, notes }: Around): Record<string, string> {
  const needs = listOf(spec['security'] ?? api['security']);
  const known = objectOf(objectOf(api['components'] ?? {})['securitySchemes'] ?? api['securityDefinitions'] ?? {});
  for (const name of needs.flatMap((need) => Object.keys(need))) {
    const scheme = objectOf(known[name] ?? {});
    const secret = `${prefix}-${wordOf(name) || 'token'}`.slice(0, 60);
    const type = textOf(scheme['type'], '');
    const bearer =
      type === 'oauth2' ||
      type === 'openIdConnect' ||
      (type === 'http' && /^bearer$/i.test(textOf(scheme['scheme'], '')));
    const header =
      bearer || type === 'basic' || type === 'http'
        ? 'authorization'
        : scheme['in'] === 'header'
          ? textOf(scheme['name'], '').toLowerCase()
          : '';
    if (header === '') continue;
    const kind = bearer
      ? 'a bearer token'
      : header === 'authorization' && type !== 'apiKey'
        ? 'base64 of user:password'
        : 'an API key';
    notes.push(`Keep the secret "${secret}" (${kind}): opsloop secrets put ${secret}`);
    const value = `\${secrets.${secret}}`;
    return { [header]: bearer ? `Bearer ${value}` : kind.startsWith('base64') ? `Basic ${value}` : value };
  }
  if (needs.some((need) => Object.keys(need).length > 0))
    notes.push('An operation authenticates in a way that no header carries; add it to its atom.');
  return {};
}

// ---------------------------------------------------------------- schemas

/** Members that mean the same in JSON Schema 2020-12. Patterns are left out: what they cost is not known. */
const KEPT = new Set([
  'type',
  'enum',
  'const',
  'format',
  'description',
  'default',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minProperties',
  'maxProperties',
  'required',
]);

/** An OpenAPI schema as JSON Schema: `nullable` becomes a type, unknown members go, depth is bounded. */
function schemaOf(value: Json | undefined, depth = 0): JsonObject {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || depth > DEPTH_MAX) return {};
  const schema: JsonObject = {};
  for (const [key, member] of Object.entries(value)) {
    if (KEPT.has(key) && !(key.startsWith('exclusive') && typeof member === 'boolean')) schema[key] = member;
    else if (key === 'properties')
      schema[key] = Object.fromEntries(
        Object.entries(objectOf(member)).map(([name, sub]) => [name, schemaOf(sub, depth + 1)]),
      );
    else if (key === 'items') schema[key] = schemaOf(member, depth + 1);
    else if (key === 'additionalProperties')
      schema[key] = typeof member === 'boolean' ? member : schemaOf(member, depth + 1);
    else if (key === 'allOf' || key === 'anyOf' || key === 'oneOf')
      schema[key] = listOf(member).map((sub) => schemaOf(sub, depth + 1));
  }
  if (value['nullable'] === true && typeof schema['type'] === 'string') {
    schema['type'] = [schema['type'], 'null'];
    if (Array.isArray(schema['enum'])) schema['enum'] = [...schema['enum'], null];
  }
  return schema;
}

function objectOf(value: Json | undefined): JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {};
}

function listOf(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.map(objectOf) : [];
}

function textOf(value: Json | undefined, otherwise: string): string {
  return typeof value === 'string' && value !== '' ? value : otherwise;
}
