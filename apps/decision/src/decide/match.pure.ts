/** Stage `on`: which events a rule is about. */
import type { Because, EventMessage, EventPattern, Json, JsonObject } from '@opsloop/contracts';
import { matchesPattern } from '@opsloop/contracts';
import { equalJson } from '../resources/merge.pure.js';
import type { LiveRule, Resource } from '../store/model.js';

/** opsloop's own events must be named in full: a rule on `*` would answer its own runs for ever. */
const OWN_TYPES = 'opsloop.';

export function typeMatches(pattern: string, type: string): boolean {
  if (pattern.includes('*') && type.startsWith(OWN_TYPES)) return false;
  return matchesPattern(pattern, type);
}

/** The same as {@link outerMismatch} without words: the index asks it of each entry that it finds. */
export function outerFits(entry: EventPattern, event: EventMessage): boolean {
  if (entry.type === undefined ? event.type.startsWith(OWN_TYPES) : !typeMatches(entry.type, event.type)) return false;
  if (entry.source !== undefined && !matchesPattern(entry.source, event.source)) return false;
  return entry.subject === undefined || (event.subject !== undefined && matchesPattern(entry.subject, event.subject));
}

/** Whether the event speaks of what the rule watches, whatever it says: only then what does not match tells that it is over. */
export function isAbout(rule: LiveRule, event: EventMessage): boolean {
  return rule.doc.on.some((entry) => outerFits(entry, event));
}

/** All fields of one entry but `data`; says which one does not fit. */
export function outerMismatch(entry: EventPattern, event: EventMessage): Because | undefined {
  if (entry.type !== undefined && !typeMatches(entry.type, event.type))
    return mismatch('event.type', entry.type, event.type);
  // A rule without a type is a rule on every type, so the same care applies.
  if (entry.type === undefined && event.type.startsWith(OWN_TYPES)) return mismatch('event.type', '*', event.type);
  if (entry.source !== undefined && !matchesPattern(entry.source, event.source))
    return mismatch('event.source', entry.source, event.source);
  if (entry.subject !== undefined && !(event.subject !== undefined && matchesPattern(entry.subject, event.subject))) {
    return mismatch('event.subject', entry.subject, event.subject ?? null);
  }
  return undefined;
}

function mismatch(path: string, expected: Json, actual: Json): Because {
  return { text: `${path} == ${print(expected)} was ${print(actual)}`, path, expected, actual };
}

function print(value: Json): string {
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
}

/** Partial match: every key of the pattern; a list means any of its members. */
export function dataMismatch(pattern: JsonObject, data: Json, at = 'event.data'): Because | undefined {
  for (const [key, expected] of Object.entries(pattern)) {
    const path = `${at}.${key}`;
    const actual =
      data !== null && typeof data === 'object' && !Array.isArray(data) && Object.hasOwn(data, key)
        ? data[key]!
        : undefined;
    const because = valueMismatch(expected, actual, path);
    if (because !== undefined) return because;
  }
  return undefined;
}

function valueMismatch(expected: Json, actual: Json | undefined, path: string): Because | undefined {
  if (Array.isArray(expected)) {
    if (actual !== undefined && expected.some((one) => valueMismatch(one, actual, path) === undefined))
      return undefined;
    return {
      text: `${path} in ${JSON.stringify(expected)} was ${print(actual ?? null)}`,
      path,
      expected,
      actual: actual ?? null,
    };
  }
  if (expected !== null && typeof expected === 'object') {
    return dataMismatch(expected, actual ?? null, path);
  }
  if (actual !== undefined && equalJson(expected, actual)) return undefined;
  return mismatch(path, expected, actual ?? null);
}

/** `undefined` = the event matches; else the reason of the entry that came closest (data only differs beats all). */
export function onMismatch(rule: LiveRule, event: EventMessage): Because | undefined {
  let first: Because | undefined;
  let closest: Because | undefined;
  for (const entry of rule.doc.on) {
    const outer = outerMismatch(entry, event);
    if (outer !== undefined) {
      first ??= outer;
      continue;
    }
    const inner = entry.data === undefined ? undefined : dataMismatch(entry.data, event.data);
    if (inner === undefined) return undefined;
    closest ??= inner;
  }
  return closest ?? first ?? { text: 'the rule has no pattern' };
}

/** Whether the rule's pattern is about the *state* of this resource, so that the last known state alone can open an episode. */
export function stateMatchesOn(rule: LiveRule, path: string, state: JsonObject): boolean {
  return rule.doc.on.some(
    (entry) =>
      (entry.type === undefined || entry.type.endsWith('.state') || entry.type.endsWith('*')) &&
      (entry.subject === undefined || matchesPattern(entry.subject, path)) &&
      (entry.data === undefined || dataMismatch(entry.data, state) === undefined),
  );
}

/**
 * The same without `data`: whether the rule looks after this resource at all. One that names no subject looks after what
 * its events have reported: to others that happen to have the same words in their state it has nothing to say.
 */
export function looksAfter(rule: LiveRule, { path, reportedBy }: Pick<Resource, 'path' | 'reportedBy'>): boolean {
  return rule.doc.on.some(({ type, subject }) => {
    if (type !== undefined && !type.endsWith('.state') && !type.endsWith('*')) return false;
    if (subject !== undefined) return matchesPattern(subject, path);
    return type === undefined || reportedBy.some((one) => matchesPattern(type, one));
  });
}
