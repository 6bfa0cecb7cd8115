import type { Json } from '@opsloop/contracts';
import { expressionError } from './finding.js';

/** Top-level names → values that one evaluation sees, e.g. `{ event, resource, config }`. */
export type Scope = Readonly<Record<string, unknown>>;

/** Depth of the deepest value: bodies are refused above 32, a journal nests a few of them. */
const DEPTH_MAX = 128;

class Given {
  constructor(value: object) {
    return value;
  }
}

/**
 * Values made here are frozen for ever, so making one again is a look, not a copy. They are known by a private member:
 * entries of a WeakSet cost more to make than the copy itself, and the collector visits each.
 */
class Made extends Given {
  readonly #made = true;

  static has(value: object): boolean {
    return #made in value;
  }
}

/**
 * A deeply frozen copy without prototypes. Make it once, when a value enters the scope (an event arrives, a step
 * ends), and share it between all evaluations: they can neither change it nor find a way from it to `Object`.
 */
export function toScopeValue(value: unknown): unknown {
  return freeze(value, 0);
}

function freeze(value: unknown, depth: number): unknown {
  if (value === null || typeof value !== 'object' || Made.has(value)) return value;
  if (depth > DEPTH_MAX) throw expressionError(`a value is nested deeper than ${DEPTH_MAX}`);
  let copy: object;
  if (Array.isArray(value)) {
    copy = value.map((item) => freeze(item, depth + 1));
  } else {
    const members = Object.create(null) as Record<string, unknown>;
    for (const key of Object.keys(value)) members[key] = freeze((value as Record<string, unknown>)[key], depth + 1);
    copy = members;
  }
  new Made(copy);
  return Object.freeze(copy);
}

/** Counts what a result holds, so that one expression cannot fill the memory. */
export interface SizeMeter {
  add(size: number): void;
}

/** The way back: a plain, mutable JSON value. A key `__proto__` stays data. Non-finite numbers are errors. */
export function toPlainJson(value: unknown, meter?: SizeMeter, depth = 0): Json {
  if (value === undefined) return null;
  if (typeof value === 'number' && !Number.isFinite(value)) throw expressionError('a number is not finite');
  if (typeof value === 'string') meter?.add(value.length);
  if (value === null || typeof value !== 'object') return value as Json;
  if (depth > DEPTH_MAX) throw expressionError(`a value is nested deeper than ${DEPTH_MAX}`);
  meter?.add(8);
  if (Array.isArray(value)) return value.map((item) => toPlainJson(item, meter, depth + 1));
  const copy: Record<string, Json> = {};
  for (const key of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    const plain = toPlainJson(member, meter, depth + 1);
    if (key === '__proto__')
      Object.defineProperty(copy, key, { value: plain, enumerable: true, writable: true, configurable: true });
    else copy[key] = plain;
  }
  return copy;
}

/** `'up'`, `3`, `null`, `['a']`: how values stand in explanations and in the text form. */
export function kindOf(value: unknown): 'null' | 'boolean' | 'number' | 'text' | 'list' | 'object' {
  if (value === null || value === undefined) return 'null';
  if (typeof value === 'string') return 'text';
  if (Array.isArray(value)) return 'list';
  return typeof value === 'object' ? 'object' : (typeof value as 'boolean' | 'number');
}
