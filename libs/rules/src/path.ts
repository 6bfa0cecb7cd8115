/**
 * Paths into the scope: `a.b`, `[n]`, `["any key"]`. Templates and the `var` of conditions share this grammar, so a
 * path means the same in both. Reading looks at own properties only: `constructor.constructor` is no way out.
 */

/** Names that lead from a value to its prototype. Refused wherever a path or a member name is written by a person. */
export const PROTOTYPE_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Segments of the longest path: deeper data does not occur (bodies are ≤ 32 deep), so deeper paths are typing errors. */
const SEGMENTS_MAX = 32;
const PATH_CHARS_MAX = 1_000;
const BARE = /^[^.[\]"'\s]+$/;
const INDEX = /^(0|[1-9]\d{0,8})$/;

export type Segments = readonly string[];

/** What is wrong with a path, as the sentence of an error. */
export class PathSyntaxError extends Error {}

/** Conditions read the same paths for every event; the bound keeps out paths that are made of data. */
const parsed = new Map<string, Segments>();
const PARSED_MAX = 10_000;

/** Splits a path, or remembers how. Throws {@link PathSyntaxError} with a sentence that says what is wrong and where. */
export function parsePath(text: string): Segments {
  let segments = parsed.get(text);
  if (segments === undefined) {
    segments = Object.freeze(split(text));
    if (parsed.size < PARSED_MAX) parsed.set(text, segments);
  }
  return segments;
}

function split(text: string): Segments {
  if (text.length > PATH_CHARS_MAX) throw new PathSyntaxError(`is longer than ${PATH_CHARS_MAX} characters`);
  const segments: string[] = [];
  let at = 0;
  while (at < text.length) {
    const [segment, next] = text[at] === '[' ? bracket(text, at) : bare(text, at, segments.length === 0);
    if (PROTOTYPE_NAMES.has(segment)) throw new PathSyntaxError(`names "${segment}", which is never data`);
    segments.push(segment);
    at = next;
  }
  if (segments.length === 0) throw new PathSyntaxError('is empty');
  if (segments.length > SEGMENTS_MAX) throw new PathSyntaxError(`has more than ${SEGMENTS_MAX} parts`);
  return segments;
}

function bare(text: string, from: number, first: boolean): [string, number] {
  const start = first ? from : from + 1;
  if (!first && text[from] !== '.')
    throw new PathSyntaxError(`has "${text[from]}" at ${from + 1} where "." or "[" must stand`);
  let end = start;
  while (end < text.length && text[end] !== '.' && text[end] !== '[') end += 1;
  const segment = text.slice(start, end);
  if (!BARE.test(segment)) {
    if (/[\s+*/<>=!&|()]/.test(segment))
      throw new PathSyntaxError(`has "${segment}", which is no path: there are no operators here`);
    throw new PathSyntaxError(
      segment === '' ? 'has an empty part' : `has "${segment}", which must be written ["${segment}"]`,
    );
  }
  return [segment, end];
}

function bracket(text: string, from: number): [string, number] {
  const quote = text[from + 1];
  if (quote !== '"' && quote !== "'") {
    const end = text.indexOf(']', from);
    const index = end < 0 ? '' : text.slice(from + 1, end);
    if (!INDEX.test(index))
      throw new PathSyntaxError('has a "[" that is followed by neither a number nor a quoted key');
    return [index, end + 1];
  }
  let segment = '';
  let at = from + 2;
  for (; at < text.length && text[at] !== quote; at += 1) {
    if (text[at] === '\\') at += 1;
    segment += text[at] ?? '';
  }
  if (text[at] !== quote || text[at + 1] !== ']') throw new PathSyntaxError('has a ["…"] that is not closed');
  return [segment, at + 2];
}

/** The one spelling of a path in stored documents: dots where they suffice, `["…"]` elsewhere. */
export function formatPath(segments: Segments): string {
  return segments
    .map((segment, i) => {
      if (!BARE.test(segment)) return `["${segment.replace(/["\\]/g, '\\$&')}"]`;
      return i === 0 ? segment : `.${segment}`;
    })
    .join('');
}

/** Own member of a value; `undefined` for everything else, inherited members and `length` of a list included. */
export function ownMember(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object') return undefined;
  if (Array.isArray(value) && !INDEX.test(name)) return undefined;
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

/** Walks own members. `undefined` = missing. */
export function readPath(value: unknown, segments: Segments): unknown {
  let current = value;
  for (const segment of segments) {
    current = ownMember(current, segment);
    if (current === undefined) return undefined;
  }
  return current;
}
