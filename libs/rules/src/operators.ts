/**
 * The closed list of operators (flow-language section 2.6; the list is versioned with `dsl`): how many arguments each
 * takes, what they must be, and who evaluates it. Whatever is not here is an error, at validation and at run time.
 */
export type ArgumentKind = 'any' | 'number' | 'text' | 'scalar' | 'list';

export interface Operator {
  /** Least and most arguments. */
  arity: readonly [number, number];
  /**
   * `control`: json-logic-js walks the arguments itself (lazy); `standard`: json-logic-js computes it, our guards
   * check what goes in and what comes out; `own`: one of our functions, since the standard one is lax or absent.
   */
  by: 'control' | 'standard' | 'own';
  /** Kind of every argument of a standard operator. */
  takes?: ArgumentKind;
  /** Iterators: their second argument sees the item only. */
  iterator?: boolean;
}

/** More arguments than the whole expression may have nodes: no bound of its own. */
const MANY = 2_000;

const table: Record<string, Operator> = {
  // walked by json-logic-js
  if: { arity: [0, MANY], by: 'control' },
  '?:': { arity: [0, MANY], by: 'control' },
  and: { arity: [1, MANY], by: 'control' },
  or: { arity: [1, MANY], by: 'control' },
  filter: { arity: [2, 2], by: 'control', iterator: true },
  map: { arity: [2, 2], by: 'control', iterator: true },
  reduce: { arity: [2, 3], by: 'control', iterator: true },
  all: { arity: [2, 2], by: 'control', iterator: true },
  none: { arity: [2, 2], by: 'control', iterator: true },
  some: { arity: [2, 2], by: 'control', iterator: true },
  // computed by json-logic-js between our guards
  '!': { arity: [1, 1], by: 'standard', takes: 'any' },
  '!!': { arity: [1, 1], by: 'standard', takes: 'any' },
  '*': { arity: [1, MANY], by: 'standard', takes: 'number' },
  '-': { arity: [1, 2], by: 'standard', takes: 'number' },
  '/': { arity: [2, 2], by: 'standard', takes: 'number' },
  '%': { arity: [2, 2], by: 'standard', takes: 'number' },
  min: { arity: [1, MANY], by: 'standard', takes: 'number' },
  max: { arity: [1, MANY], by: 'standard', takes: 'number' },
  cat: { arity: [0, MANY], by: 'standard', takes: 'scalar' },
  merge: { arity: [0, MANY], by: 'standard', takes: 'any' },
  // ours: the standard ones compare loosely, walk prototypes, or do not exist
  var: { arity: [0, 2], by: 'own' },
  root: { arity: [1, 2], by: 'own' },
  missing: { arity: [0, MANY], by: 'own' },
  missing_some: { arity: [2, 2], by: 'own' },
  '==': { arity: [2, 2], by: 'own' },
  '!=': { arity: [2, 2], by: 'own' },
  '===': { arity: [2, 2], by: 'own' },
  '!==': { arity: [2, 2], by: 'own' },
  '<': { arity: [2, 3], by: 'own' },
  '<=': { arity: [2, 3], by: 'own' },
  '>': { arity: [2, 2], by: 'own' },
  '>=': { arity: [2, 2], by: 'own' },
  in: { arity: [2, 2], by: 'own' },
  '+': { arity: [1, MANY], by: 'own' },
  substr: { arity: [2, 3], by: 'own' },
  length: { arity: [1, 1], by: 'own' },
  keys: { arity: [1, 1], by: 'own' },
  get: { arity: [2, 3], by: 'own' },
  ceil: { arity: [1, 1], by: 'own' },
  floor: { arity: [1, 1], by: 'own' },
  round: { arity: [1, 1], by: 'own' },
  '??': { arity: [2, MANY], by: 'own' },
  startsWith: { arity: [2, 2], by: 'own' },
  endsWith: { arity: [2, 2], by: 'own' },
  lower: { arity: [1, 1], by: 'own' },
  like: { arity: [2, 2], by: 'own' },
  matches: { arity: [2, 3], by: 'own' },
  overlaps: { arity: [2, 2], by: 'own' },
  subset: { arity: [2, 2], by: 'own' },
  intersect: { arity: [2, 2], by: 'own' },
  without: { arity: [2, 2], by: 'own' },
  semver: { arity: [2, 2], by: 'own' },
  ipInCidr: { arity: [2, 2], by: 'own' },
  seconds: { arity: [1, 1], by: 'own' },
  now: { arity: [0, 0], by: 'own' },
  percentOf: { arity: [2, 2], by: 'own' },
};

export const OPERATORS: ReadonlyMap<string, Operator> = new Map(Object.entries(table));

/** Deepest nesting and most nodes of one expression; people write tens, so more is generated or an attack. */
export const LOGIC_DEPTH_MAX = 32;
export const LOGIC_NODES_MAX = 2_000;

/** Arguments of `{ op: … }`: JSONLogic lets a single one stand without its list. */
export function argumentsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** The operator and the arguments of an object, or `undefined` when it is a literal. */
export function operationOf(logic: unknown): { op: string; args: readonly unknown[] } | undefined {
  if (logic === null || typeof logic !== 'object' || Array.isArray(logic)) return undefined;
  const keys = Object.keys(logic);
  if (keys.length !== 1) return undefined;
  return { op: keys[0]!, args: argumentsOf((logic as Record<string, unknown>)[keys[0]!]) };
}
