import { durationMs, isDuration } from '@opsloop/contracts';
import ipaddr from 'ipaddr.js';
import semver from 'semver';
import { here } from './evaluation.js';
import { expressionError } from './finding.js';
import { ownMember, parsePath, PathSyntaxError, readPath } from './path.js';
import { compilePattern, compileWildcard, PatternError, searchPattern, type Pattern } from './pattern.js';
import { kindOf } from './scope-value.js';

/** What json-logic-js calls: the data in scope is `this`, the evaluated arguments follow. */
export type OwnOperation = (this: unknown, ...args: unknown[]) => unknown;

export function need(op: string, value: unknown, kind: 'number' | 'text' | 'list' | 'scalar'): void {
  const is = kindOf(value);
  const ok = kind === 'scalar' ? is === 'number' || is === 'text' || is === 'boolean' : is === kind;
  if (!ok)
    throw expressionError(
      `"${op}" needs a ${kind === 'scalar' ? 'text, number or boolean' : kind}, not ${said(value)}`,
    );
  if (is === 'number' && !Number.isFinite(value as number))
    throw expressionError(`"${op}" got a number that is not finite`);
}

function said(value: unknown): string {
  const is = kindOf(value);
  if (is === 'null') return 'null (is the path right, and the value there?)';
  return is === 'text'
    ? `the text '${(value as string).slice(0, 40)}'`
    : is === 'number' || is === 'boolean'
      ? `the ${is} ${String(value)}`
      : `a ${is}`;
}

export function finite(op: string, value: number): number {
  if (!Number.isFinite(value)) throw expressionError(`"${op}" gives a number that is not finite`);
  return value;
}

const num = (op: string, value: unknown): number => (need(op, value, 'number'), value as number);
const text = (op: string, value: unknown): string => (need(op, value, 'text'), value as string);

/** Reads a path of the expression. Only paths that parse and own members exist; the rest is null, as in JSONLogic. */
function read(data: unknown, path: unknown): unknown {
  if (path === undefined || path === null || path === '') return data;
  if (typeof path !== 'string' && typeof path !== 'number')
    throw expressionError(`a path must be a text, not ${said(path)}`);
  try {
    return readPath(data, parsePath(String(path)));
  } catch (error) {
    if (error instanceof PathSyntaxError)
      throw expressionError(`the path "${String(path).slice(0, 80)}" ${error.message}`);
    throw error;
  }
}

/** Equality by value; null equals null only; different kinds are an error, since one of both sides is not what its author thinks. */
function same(op: string, a: unknown, b: unknown): boolean {
  const left = kindOf(a);
  const right = kindOf(b);
  if (left === 'null' || right === 'null') return left === right;
  if (left !== right) throw expressionError(`"${op}" compares ${said(a)} with ${said(b)}; they can never be equal`);
  return deepEqual(a, b);
}

export function deepEqual(a: unknown, b: unknown): boolean {
  here().step();
  if (Object.is(a, b) || a === b) return true;
  if (kindOf(a) !== kindOf(b) || a === null || typeof a !== 'object') return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b as object).length) return false;
  return keys.every(
    (key) =>
      Object.hasOwn(b as object, key) &&
      deepEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
  );
}

type Order = (a: number | string, b: number | string) => boolean;

/** Numbers order with numbers, texts with texts. `null < 1` would be true in JavaScript: a missing metric that fires. */
function ordered(op: string, order: Order): OwnOperation {
  return (...args) => {
    const kind = kindOf(args[0]);
    for (const value of args) {
      need(op, value, kind === 'text' ? 'text' : 'number');
    }
    return args.slice(1).every((right, i) => order(args[i] as number, right as number));
  };
}

function missing(data: unknown, paths: readonly unknown[]): unknown[] {
  return paths.filter((path) => {
    here().step();
    const value = read(data, path);
    return value === undefined || value === null || value === '';
  });
}

function isIn(needle: unknown, hay: unknown): boolean {
  if (hay === null || hay === undefined) return false;
  if (typeof hay === 'string') return hay.includes(text('in', needle));
  need('in', hay, 'list');
  return (hay as unknown[]).some((item) => deepEqual(item, needle));
}

/** The documented cast: unary plus makes a number of a numeric text. Sums take numbers only. */
function plus(...args: unknown[]): number {
  if (args.length === 1 && typeof args[0] === 'string' && /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(args[0]))
    return finite('+', Number(args[0]));
  return finite(
    '+',
    args.reduce<number>((sum, value) => sum + num('+', value), 0),
  );
}

function substr(source: unknown, start: unknown, length?: unknown): string {
  const from = num('substr', start);
  const whole = text('substr', source);
  const begin = from < 0 ? Math.max(whole.length + from, 0) : from;
  if (length === undefined) return whole.slice(begin);
  const count = num('substr', length);
  return count < 0 ? whole.slice(begin, Math.max(whole.length + count, begin)) : whole.slice(begin, begin + count);
}

function seconds(value: unknown): number {
  const given = text('seconds', value);
  if (isDuration(given)) return durationMs(given) / 1_000;
  const at = /^\d{4}-\d{2}-\d{2}T/.test(given) ? Date.parse(given) : Number.NaN;
  if (Number.isNaN(at))
    throw expressionError(`"seconds" needs a duration such as 5m or an ISO time, not '${given.slice(0, 40)}'`);
  return at / 1_000;
}

function inCidr(ip: unknown, cidr: unknown): boolean {
  const address = text('ipInCidr', ip);
  const range = text('ipInCidr', cidr);
  // Four decimal parts: `10.1`, `012.1.1.1` and `0xa000001` mean something else to whoever wrote them.
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address))
    throw expressionError(`'${address.slice(0, 45)}' is not an IP address`);
  if (!ipaddr.IPv4.isValidCIDRFourPartDecimal(range) && !ipaddr.IPv6.isValidCIDR(range))
    throw expressionError(`'${range.slice(0, 45)}' is not a CIDR range`);
  const [base, bits] = ipaddr.parseCIDR(range);
  const parsed = ipaddr.process(address);
  return parsed.kind() === base.kind() && parsed.match(base, bits);
}

function semverIn(version: unknown, range: unknown): boolean {
  const parsed = semver.parse(text('semver', version));
  if (parsed === null) throw expressionError(`'${String(version).slice(0, 40)}' is not a semantic version`);
  const wanted = semver.validRange(text('semver', range));
  if (wanted === null) throw expressionError(`'${String(range).slice(0, 40)}' is not a version range`);
  return semver.satisfies(parsed, wanted);
}

function length(value: unknown): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length;
  if (kindOf(value) === 'object') return Object.keys(value as object).length;
  throw expressionError(`"length" needs a list, a text or an object, not ${said(value)}`);
}

function keysOf(value: unknown): string[] {
  if (kindOf(value) !== 'object') throw expressionError(`"keys" needs an object, not ${said(value)}`);
  const keys = Object.keys(value as object).sort();
  here().step(keys.length);
  return keys;
}

function getMember(value: unknown, key: unknown, otherwise: unknown = null): unknown {
  if (typeof key !== 'string' && typeof key !== 'number') throw expressionError(`"get" needs a key, not ${said(key)}`);
  return ownMember(value, String(key)) ?? otherwise;
}

const list = (op: string, value: unknown): unknown[] => (need(op, value, 'list'), value as unknown[]);

/** Searches by a pattern; what is wrong with the pattern is an error of the expression. */
function found(op: string, value: unknown, compile: () => Pattern): boolean {
  const searched = text(op, value);
  try {
    return searchPattern(compile(), searched, (count) => here().step(count));
  } catch (error) {
    if (error instanceof PatternError) throw expressionError(`the pattern of "${op}" ${error.message}`);
    throw error;
  }
}

function percentOf(part: unknown, total: unknown): number {
  if (num('percentOf', total) === 0) throw expressionError('"percentOf" got 0 as the total');
  return finite('percentOf', (num('percentOf', part) / (total as number)) * 100);
}

function now(): string {
  const value = readPath(here().scope, ['flow', 'now']) ?? ownMember(here().scope, 'now');
  if (typeof value !== 'string') throw expressionError('"now" has no meaning here: it is the time of the flow');
  return value;
}

/** Own operators by name. Every one is bounded by the size of its arguments. */
export const OWN_OPERATIONS: Readonly<Record<string, OwnOperation>> = {
  var: function (path, otherwise = null) {
    return read(this, path) ?? otherwise;
  },
  root: (path, otherwise = null) => read(here().scope, path) ?? otherwise,
  missing: function (...args) {
    return missing(this, Array.isArray(args[0]) ? args[0] : args);
  },
  missing_some: function (count, paths) {
    need('missing_some', paths, 'list');
    const lacking = missing(this, paths as unknown[]);
    return (paths as unknown[]).length - lacking.length >= num('missing_some', count) ? [] : lacking;
  },
  '==': (a, b) => same('==', a, b),
  '!=': (a, b) => !same('!=', a, b),
  '===': (a, b) => deepEqual(a, b),
  '!==': (a, b) => !deepEqual(a, b),
  '<': ordered('<', (a, b) => a < b),
  '<=': ordered('<=', (a, b) => a <= b),
  '>': ordered('>', (a, b) => a > b),
  '>=': ordered('>=', (a, b) => a >= b),
  in: isIn,
  '+': plus,
  substr,
  length,
  keys: keysOf,
  get: getMember,
  ceil: (value) => Math.ceil(num('ceil', value)),
  floor: (value) => Math.floor(num('floor', value)),
  round: (value) => Math.round(num('round', value)),
  '??': (...args) => args.find((value) => value !== null && value !== undefined) ?? null,
  startsWith: (value, start) => text('startsWith', value).startsWith(text('startsWith', start)),
  endsWith: (value, end) => text('endsWith', value).endsWith(text('endsWith', end)),
  like: (value, wildcard) => found('like', value, () => compileWildcard(text('like', wildcard))),
  matches: (value, pattern, flags = '') =>
    found('matches', value, () => compilePattern(text('matches', pattern), text('matches', flags))),
  overlaps: (a, b) => list('overlaps', a).some((item) => isIn(item, list('overlaps', b))),
  subset: (a, b) => list('subset', a).every((item) => isIn(item, list('subset', b))),
  intersect: (a, b) => list('intersect', a).filter((item) => isIn(item, list('intersect', b))),
  without: (a, b) => list('without', a).filter((item) => !isIn(item, list('without', b))),
  lower: (value) => text('lower', value).toLowerCase(),
  semver: semverIn,
  ipInCidr: inCidr,
  seconds,
  now,
  percentOf,
};
