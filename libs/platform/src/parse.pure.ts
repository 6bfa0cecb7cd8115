import { type FieldError, type Json, type JsonObject, OpsError } from '@opsloop/contracts';
import { z } from 'zod';

/** Deepest JSON accepted: no document of ours needs more than 20, and recursive walkers stay far from the stack's end. */
export const JSON_DEPTH_MAX = 32;
/** Most object members and list items of one body; 1 MB of `[1,1,…]` would be 500,000. Sized for 1,000 resources of 100 members. */
export const JSON_NODES_MAX = 100_000;
const NODES_OF_BYTES = 1024 * 1024;
/** Errors listed per problem: enough to fix a document in one go, small enough for any log line. */
const FIELD_ERRORS_MAX = 50;

/** RFC 6901 pointer of a path of member names and indexes. */
export function jsonPointer(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

interface IssueLike {
  message: string;
  path?: readonly (PropertyKey | { key: PropertyKey })[] | undefined;
  code?: string;
  keys?: string[];
}

/** Turns the issues of a schema into field errors; an unknown member is named itself, not its parent. */
export function fieldErrorsOf(issues: readonly IssueLike[], prefix = ''): FieldError[] {
  const errors = issues.flatMap((issue): FieldError[] => {
    const path = (issue.path ?? []).map((part) => (typeof part === 'object' ? part.key : part));
    if (issue.code === 'unrecognized_keys' && issue.keys) {
      return issue.keys.map((key) => ({ pointer: prefix + jsonPointer([...path, key]), message: 'unknown member' }));
    }
    return [{ pointer: prefix + jsonPointer(path), message: issue.message }];
  });
  return errors.slice(0, FIELD_ERRORS_MAX);
}

/** One line that already says what is wrong, for people who read only `detail`. */
export function validationError(what: string, errors: FieldError[]): OpsError {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  const detail = first ? `${what}: ${first.pointer || '/'} ${first.message}${more}` : `${what} is not valid`;
  return new OpsError('validation', detail, { errors });
}

/** Checks a request body against a schema; failure is a `validation` problem with JSON pointers. */
export function parseBody<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw validationError('The body', fieldErrorsOf(result.error.issues));
}

/** Checks query parameters; a parameter given twice is a list and therefore refused by scalar schemas. */
export function parseQuery<S extends z.ZodType>(schema: S, query: unknown): z.output<S> {
  const result = schema.safeParse(query ?? {});
  if (result.success) return result.data;
  throw validationError('The query', fieldErrorsOf(result.error.issues));
}

/** `?limit=&cursor=` of every list. Extend it for filters: `z.strictObject({ ...PageQuery.shape, status: … })`. */
export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  cursor: z.string().min(1).max(2_000).optional(),
});
export type PageQuery = z.infer<typeof PageQuery>;

/** A time of a caller. PostgreSQL knows no year 0, which ISO 8601 allows. */
export const IsoTime = z.iso
  .datetime({ offset: true })
  .refine((text) => !text.startsWith('0000'), { error: 'lies before the year 1' });

/** Opaque to callers: base64url of JSON. */
export function encodeCursor(value: Json): string {
  return Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
}

export function decodeCursor(text: string): Json {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Json;
  } catch {
    throw new OpsError('validation', 'The cursor is not one of ours; take it from nextCursor', {
      errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
    });
  }
}

/**
 * What JSON and URLs can carry and PostgreSQL cannot store: found here it is the caller's mistake, found in the database
 * it would be an error of ours.
 */
export function textProblem(text: string): string | undefined {
  if (text.includes('\u0000')) return 'holds the character NUL';
  // With the flag u, a surrogate that is part of a pair is no character of its own and does not match; most texts have none.
  return /[\ud800-\udfff]/.test(text) && /\p{Surrogate}/u.test(text) ? 'holds half a surrogate pair' : undefined;
}

/** Refuses parameters of a URL that no column can hold. */
export function checkParameters(query: unknown, params: unknown): void {
  for (const [values, prefix] of [
    [query, ''],
    [params, '/path'],
  ] as const)
    for (const [name, value] of Object.entries(values ?? {}))
      for (const text of [value].flat()) {
        const wrong = typeof text === 'string' ? textProblem(text) : undefined;
        if (wrong !== undefined)
          throw validationError('The address', [{ pointer: prefix + jsonPointer([name]), message: wrong }]);
      }
}

/**
 * JSON.parse for strangers: bounded in depth and size, storable, and free of the keys that reach a prototype. `bytesMax`:
 * a route that takes larger bodies takes as many more members.
 */
export function parseJsonBody(text: string, bytesMax = NODES_OF_BYTES): Json {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new OpsError('malformed-json', error instanceof Error ? error.message : 'The body is not valid JSON');
  }
  const bare = leafProblem(value);
  if (bare !== undefined) throw refuse([], bare);
  const most = Math.ceil(JSON_NODES_MAX * Math.max(1, bytesMax / NODES_OF_BYTES));
  checkMembers(value, [], { left: most, most });
  return value;
}

/**
 * Calls itself once per level, and levels are counted first. `path` is one list that grows and shrinks on the way: it is
 * read only when something is refused.
 */
function checkMembers(value: Json, path: PropertyKey[], nodes: { left: number; readonly most: number }): void {
  if (typeof value !== 'object' || value === null) return;
  if (path.length >= JSON_DEPTH_MAX) throw refuse(path, `is nested deeper than ${JSON_DEPTH_MAX} levels`);
  const isList = Array.isArray(value);
  for (const key of Object.keys(value)) {
    if (--nodes.left < 0) throw refuse([], `has more than ${nodes.most} members`);
    const member = (value as JsonObject)[key]!;
    if (!isList && isPrototypeKey(key, member)) throw refuse([...path, key], 'is a prototype key and refused');
    const wrong = isList ? undefined : textProblem(key);
    if (wrong !== undefined) throw refuse(path, `has a member whose name ${wrong}`);
    const leaf = leafProblem(member);
    if (leaf !== undefined) throw refuse([...path, key], leaf);
    if (typeof member !== 'object' || member === null) continue;
    path.push(key);
    checkMembers(member, path, nodes);
    path.pop();
  }
}

function leafProblem(value: Json): string | undefined {
  if (typeof value === 'string') return textProblem(value);
  return typeof value === 'number' && !Number.isFinite(value) ? 'is beyond the range of a double' : undefined;
}

/** `constructor` alone is an ordinary word in labels and messages; with a `prototype` inside it is an attack. */
function isPrototypeKey(key: string, value: Json): boolean {
  if (key === '__proto__') return true;
  return key === 'constructor' && typeof value === 'object' && value !== null && Object.hasOwn(value, 'prototype');
}

function refuse(path: readonly PropertyKey[], message: string): OpsError {
  return validationError('The body', [{ pointer: jsonPointer(path), message }]);
}
