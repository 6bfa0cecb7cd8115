/** What kind of value a path or an expression gives, as far as schemas say. Unknown is never wrong. */
import type { Json, JsonObject } from '@opsloop/contracts';
import { operationOf, parsePath, PathSyntaxError } from '@opsloop/rules';
import { isObject } from '../normalise.js';
import type { FlowModel, Node } from './model.js';

export type Kind = 'null' | 'boolean' | 'number' | 'string' | 'array' | 'object';

export interface Shape {
  kinds: ReadonlySet<Kind>;
  /** All values that can occur, when the schema lists them. */
  values?: readonly Json[];
  schema?: JsonObject;
}

const of = (...kinds: Kind[]): Shape => ({ kinds: new Set(kinds) });
const BOOLEAN = of('boolean');
const NUMBER = of('number');
const TEXT = of('string');
const LIST = of('array');

const GIVES: Readonly<Record<string, Shape>> = {
  ...Object.fromEntries(
    ['==', '!=', '===', '!==', '<', '<=', '>', '>=', '!', '!!', 'in', 'all', 'none', 'some'].map((op) => [op, BOOLEAN]),
  ),
  ...Object.fromEntries(
    ['startsWith', 'endsWith', 'ipInCidr', 'like', 'matches', 'overlaps', 'subset'].map((op) => [op, BOOLEAN]),
  ),
  ...Object.fromEntries(
    ['+', '-', '*', '/', '%', 'min', 'max', 'length', 'ceil', 'floor', 'round', 'seconds', 'percentOf'].map((op) => [
      op,
      NUMBER,
    ]),
  ),
  cat: TEXT,
  lower: TEXT,
  now: TEXT,
  keys: LIST,
  filter: LIST,
  map: LIST,
  merge: LIST,
  intersect: LIST,
  without: LIST,
};

export function kindOfValue(value: Json): Kind {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value as Kind;
}

export function shapeOfValue(value: Json): Shape {
  return { kinds: new Set([kindOfValue(value)]), values: [value] };
}

/** Follows references inside a schema; gives up on circles. */
export function resolved(schema: unknown, root: JsonObject): JsonObject | undefined {
  let at: unknown = schema;
  for (let hops = 0; hops < 8; hops += 1) {
    if (!isObject(at)) return undefined;
    const ref = at['$ref'];
    if (typeof ref !== 'string') return at;
    at = ref
      .split('/')
      .slice(1)
      .reduce<unknown>(
        (value, key) => (isObject(value) ? value[key.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined),
        root,
      );
  }
  return undefined;
}

export function shapeOfSchema(schema: JsonObject | undefined): Shape | undefined {
  if (schema === undefined) return undefined;
  if (schema['const'] !== undefined) return shapeOfValue(schema['const']);
  if (Array.isArray(schema['enum']))
    return { kinds: new Set(schema['enum'].map(kindOfValue)), values: schema['enum'], schema };
  const types = [schema['type'] ?? []].flat() as string[];
  if (types.length === 0) return undefined;
  return { kinds: new Set(types.map((type) => (type === 'integer' ? 'number' : type) as Kind)), schema };
}

export type Found =
  { schema: JsonObject; root: JsonObject } | 'unknown' | { absent: string; known: string[]; of?: string };

/** Walks a schema along a path. `absent`: the schema is closed and has no such member. */
export function walkSchema(schema: JsonObject, segments: readonly string[], root: JsonObject = schema): Found {
  let at = resolved(schema, root);
  for (const segment of segments) {
    if (at === undefined) return 'unknown';
    if (/^\d+$/.test(segment) && at['items'] !== undefined) {
      at = resolved(at['items'], root);
      continue;
    }
    const types = [at['type'] ?? []].flat() as string[];
    // A list or a text has no members: `hosts.length` would be null.
    if (types.length > 0 && !types.includes('object') && !('enum' in at))
      return { absent: segment, known: [], of: types.join(' or ') };
    const properties = isObject(at['properties']) ? at['properties'] : {};
    if (Object.hasOwn(properties, segment)) {
      at = resolved(properties[segment], root);
      continue;
    }
    const open = ['patternProperties', 'allOf', 'anyOf', 'oneOf', 'if', '$ref', 'dependentSchemas'].some(
      (k) => k in at!,
    );
    if (at['additionalProperties'] === false && !open && isObject(at['properties']))
      return { absent: segment, known: Object.keys(properties) };
    at = isObject(at['additionalProperties']) ? resolved(at['additionalProperties'], root) : undefined;
  }
  return at === undefined ? 'unknown' : { schema: at, root };
}

const STEP_SHAPES: Readonly<Record<string, Shape>> = {
  status: {
    kinds: new Set(['string']),
    values: ['running', 'waiting', 'paused', 'succeeded', 'failed', 'skipped', 'cancelled'],
  },
  attempts: NUMBER,
  startedAt: TEXT,
  endedAt: TEXT,
  failed: LIST,
};

/** Where the schema of a read is, and the path below it. */
export function schemaOfRead(
  model: FlowModel,
  node: Node,
  segments: readonly string[],
): { schema: JsonObject; rest: readonly string[] } | undefined {
  const [name, second] = segments;
  if (name === 'input') {
    const schema = model.flow.input?.schema;
    return schema === undefined ? undefined : { schema, rest: segments.slice(1) };
  }
  if (name === 'steps' && second !== undefined && segments[2] === 'output') {
    const target = model.byId.get(second);
    // What shapes its output shapes it to something else.
    if (target === undefined || target.step?.output !== undefined) return undefined;
    const schema = target.atom?.output?.schema;
    return schema === undefined ? undefined : { schema, rest: segments.slice(3) };
  }
  return itemSchema(model, node, segments);
}

/** The item of the loop around, when the list is an input of which the schema says what it holds. */
function itemSchema(
  model: FlowModel,
  node: Node,
  segments: readonly string[],
): { schema: JsonObject; rest: readonly string[] } | undefined {
  for (let at: Node | undefined = node; at?.step !== undefined; at = at.parent) {
    if (!('forEach' in at.step) || (at.step.forEach.as ?? 'item') !== segments[0]) continue;
    const list = at.step.forEach.in;
    const path = typeof list === 'string' ? /^\$\{input\.([A-Za-z0-9_]+)\??\}$/.exec(list)?.[1] : undefined;
    const root = model.flow.input?.schema;
    if (path === undefined || root === undefined) return undefined;
    const found = walkSchema(root, [path]);
    if (typeof found !== 'object' || !('schema' in found)) return undefined;
    const items = resolved(found.schema['items'], root);
    return items === undefined ? undefined : { schema: items, rest: segments.slice(1) };
  }
  return undefined;
}

export function shapeOfPath(model: FlowModel, node: Node, segments: readonly string[]): Shape | undefined {
  const [name, second, third] = segments;
  if (name === 'steps' && third !== undefined && segments.length === 3 && Object.hasOwn(STEP_SHAPES, third))
    return STEP_SHAPES[third];
  if (name === 'index' || name === 'iteration') return segments.length === 1 ? NUMBER : undefined;
  if (name === 'batch') return segments.length === 2 ? NUMBER : undefined;
  if (name === 'flow') return segments.length === 2 && second !== 'initiator' ? TEXT : undefined;
  if (name === 'vars' && second !== undefined && !model.written.has(second)) {
    const value = model.flow.vars?.[second];
    const dynamic = typeof value === 'string' ? value.includes('${') : isObject(value);
    return value === undefined || dynamic || segments.length > 2 ? undefined : { kinds: new Set([kindOfValue(value)]) };
  }
  const place = schemaOfRead(model, node, segments);
  if (place === undefined) return undefined;
  const at = walkSchema(place.schema, place.rest);
  return typeof at === 'object' && 'schema' in at ? shapeOfSchema(at.schema) : undefined;
}

/** What an expression gives; `inItem` paths are unknown. */
export function shapeOfLogic(model: FlowModel, node: Node, logic: Json, inItem = false): Shape | undefined {
  const operation = operationOf(logic);
  if (operation === undefined) return isObject(logic) ? undefined : shapeOfValue(logic);
  const { op, args } = operation;
  if ((op === 'var' && !inItem) || op === 'root') {
    if (typeof args[0] !== 'string' || args[0] === '' || args.length > 1) return undefined;
    try {
      return shapeOfPath(model, node, parsePath(args[0]));
    } catch (error) {
      if (error instanceof PathSyntaxError) return undefined;
      throw error;
    }
  }
  if (op === 'and' || op === 'or' || op === '??')
    return union(args.map((arg) => shapeOfLogic(model, node, arg as Json, inItem)));
  if (op === 'if' || op === '?:') {
    const results = args.filter((_, i) => i % 2 === 1 || i === args.length - 1);
    return union(results.map((arg) => shapeOfLogic(model, node, arg as Json, inItem)));
  }
  return Object.hasOwn(GIVES, op) ? GIVES[op] : undefined;
}

function union(shapes: (Shape | undefined)[]): Shape | undefined {
  if (shapes.length === 0 || shapes.some((shape) => shape === undefined)) return undefined;
  return { kinds: new Set(shapes.flatMap((shape) => [...shape!.kinds])) };
}

/** True when no value of the one can be of a kind of the other; null stands for a missing value and never counts. */
export function disjoint(a: Shape | undefined, b: Shape | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  const left = [...a.kinds].filter((kind) => kind !== 'null');
  const right = [...b.kinds].filter((kind) => kind !== 'null');
  return left.length > 0 && right.length > 0 && !left.some((kind) => right.includes(kind));
}

export function said(shape: Shape): string {
  const names: Record<Kind, string> = {
    ...{ null: 'null', boolean: 'true or false', number: 'a number', string: 'a text' },
    ...{ array: 'a list', object: 'an object' },
  };
  return [...shape.kinds].map((kind) => names[kind]).join(' or ');
}
