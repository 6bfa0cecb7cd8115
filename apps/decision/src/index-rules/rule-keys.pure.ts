/**
 * What of a rule can be looked up instead of tried: its exact and prefix patterns, equalities of `data`, and equalities
 * with which its condition begins. Each key is necessary: where it does not fit, the rule cannot get past `when`.
 */
import type { EventPattern, Json, JsonObject, RuleDocument } from '@opsloop/contracts';
import { operationOf, parsePath } from '@opsloop/rules';

/** One look-up: a place of the event and the values that fit. */
export type Key =
  | { kind: 'equal'; path: readonly string[]; values: readonly Scalar[] }
  | { kind: 'prefix'; field: 'type' | 'source' | 'subject'; prefix: string };

export type Scalar = string | number | boolean;

/** Keys of one entry of `on` together with the condition that follows; an empty list means: always try it. */
export function keysOf(doc: RuleDocument, entry: EventPattern): Key[] {
  const outer = (['type', 'source', 'subject'] as const).flatMap((field) => patternKey(field, entry[field]));
  if (hearsMisses(doc)) return outer;
  return [...outer, ...dataKeys(entry.data ?? {}, ['data']), ...leadingEqualities(doc.when).flatMap(equalityKey)];
}

/**
 * Whether an event that fits type, source and subject but not the rest matters too: it ends a `for` window, it is a turn of `flapping`. Such a rule
 * is a candidate for all of them. Every feature that listens to what does not match belongs into this line.
 */
export function hearsMisses(doc: RuleDocument): boolean {
  return doc.for !== undefined || doc.flapping !== undefined;
}

function patternKey(field: 'type' | 'source' | 'subject', pattern: string | undefined): Key[] {
  if (pattern === undefined) return [];
  const star = pattern.indexOf('*');
  if (star < 0) return [{ kind: 'equal', path: [field], values: [pattern] }];
  return star === 0 ? [] : [{ kind: 'prefix', field, prefix: pattern.slice(0, star) }];
}

function dataKeys(pattern: JsonObject, path: readonly string[]): Key[] {
  return Object.entries(pattern).flatMap(([name, expected]): Key[] => {
    const at = [...path, name];
    if (isScalar(expected)) return [{ kind: 'equal', path: at, values: [expected] }];
    if (Array.isArray(expected))
      return expected.length > 0 && expected.every(isScalar) ? [{ kind: 'equal', path: at, values: expected }] : [];
    return expected === null ? [] : dataKeys(expected, at);
  });
}

/** The comparisons with which a condition begins, as far as they read nothing but the event: exact without the resource. */
export function leadingEqualities(when: Json | undefined): Json[] {
  if (when === undefined) return [];
  const operation = operationOf(when);
  const parts = operation?.op === 'and' ? (operation.args as Json[]) : [when];
  const stop = parts.findIndex((part) => equalityKey(part).length === 0);
  return stop < 0 ? parts : parts.slice(0, stop);
}

/** `event.a.b == 'x'` (either way round) or `event.a.b in ['x', 'y']`. */
function equalityKey(part: Json): Key[] {
  const operation = operationOf(part);
  if (operation === undefined || operation.args.length !== 2) return [];
  const [left, right] = operation.args as [Json, Json];
  if (operation.op === 'in') {
    const path = eventPath(left);
    if (path === undefined || !Array.isArray(right) || right.length === 0 || !right.every(isScalar)) return [];
    return [{ kind: 'equal', path, values: right }];
  }
  if (operation.op !== '==' && operation.op !== '===') return [];
  const path = eventPath(left) ?? eventPath(right);
  const constant = eventPath(left) === undefined ? left : right;
  return path === undefined || !isScalar(constant) ? [] : [{ kind: 'equal', path, values: [constant] }];
}

/** Path inside the event of a plain `var` without a default. */
function eventPath(side: Json): readonly string[] | undefined {
  const operation = operationOf(side);
  if (operation?.op !== 'var' || operation.args.length !== 1 || typeof operation.args[0] !== 'string') return undefined;
  const segments = parsePath(operation.args[0]);
  return segments[0] === 'event' && segments.length > 1 ? segments.slice(1) : undefined;
}

function isScalar(value: unknown): value is Scalar {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
