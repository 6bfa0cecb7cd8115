import { VERBS, type DocumentKind, type JsonObject } from '@opsloop/contracts';
import { finding, pointerTo, PROTOTYPE_NAMES, type Finding } from '@opsloop/rules';
import type { ErrorObject, ValidateFunction } from 'ajv/dist/2020.js';
import { SCHEMAS } from './generated/schemas.js';
import { VALIDATORS } from './generated/validators.js';
import { near } from './near.js';
import { describeSchema } from './schema-reference.js';
import { fieldError } from './user-schema.js';

/** A flow of 256 KB has some thousand steps; the other kinds are far smaller. */
const BYTES_MAX = 256 * 1024;
/** Bodies are cut at 32 by the HTTP edge; files get the same room twice, since steps nest by two levels each. */
const DEPTH_MAX = 64;
/** More errors than this are not read; the first ones usually cause the rest. */
const ERRORS_MAX = 50;

/** Pushes an error onto those of a validator. */
type Add = (errors: ErrorObject[] | null, error: ErrorObject) => ErrorObject[];
const add: Add = (errors, error) => {
  if (errors === null) return [error];
  errors.push(error);
  return errors;
};
/** JSON Schema counts characters, not halves of them. */
function charactersOf(text: string): number {
  let count = 0;
  for (let at = 0; at < text.length; at += 1, count += 1) if (text.codePointAt(at)! > 0xffff) at += 1;
  return count;
}
const validators = new Map<string, ValidateFunction>();

/** Made by Ajv when the schemas change: making one takes longer than checking a flow of 500 steps with it. */
function validatorOf(kind: string): ValidateFunction {
  let validate = validators.get(kind);
  if (validate === undefined) {
    const make = new Function('schema', 'add', 'ucs2length', VALIDATORS[kind]!) as (
      schema: unknown,
      add: Add,
      length: typeof charactersOf,
    ) => ValidateFunction;
    validators.set(kind, (validate = make(JSON.parse(SCHEMAS[kind]!), add, charactersOf)));
  }
  return validate;
}

/** What makes a body unfit to be looked at: not an object, too big, too deep, keys that reach a prototype. */
export function shapeFindings(body: unknown): Finding[] {
  if (body === null || typeof body !== 'object' || Array.isArray(body))
    return [finding('OPS1000', '', 'a document is a JSON object')];
  const findings: Finding[] = [];
  const visit = (value: unknown, pointer: string, depth: number): void => {
    if (findings.length > 0 || value === null || typeof value !== 'object') return;
    if (depth > DEPTH_MAX)
      return void findings.push(finding('OPS1004', pointer, `the document is nested deeper than ${DEPTH_MAX}`));
    for (const [key, member] of Object.entries(value)) {
      const at = pointerTo(pointer, key);
      if (PROTOTYPE_NAMES.has(key))
        findings.push(finding('OPS1005', at, `a member may not be called "${key}"`, 'choose another name'));
      else visit(member, at, depth + 1);
    }
  };
  visit(body, '', 1);
  if (findings.length > 0) return findings;
  const bytes = new TextEncoder().encode(JSON.stringify(body)).length;
  return bytes > BYTES_MAX
    ? [
        finding(
          'OPS1006',
          '',
          `the document has ${bytes} bytes; at most ${BYTES_MAX} are allowed`,
          'move a part into a flow of its own and run it',
        ),
      ]
    : [];
}

/** Tests lie beside the documents and are never stored. */
export type TestKind = 'flowtest' | 'ruletest' | 'scenario';

/** Errors of the JSON Schema of a kind: one per mistake, with a remedy. */
export function schemaErrors(kind: DocumentKind | TestKind, body: JsonObject): Finding[] {
  const validate = validatorOf(kind);
  if (validate(body)) return [];
  const findings = new Map<string, Finding>();
  for (const error of validate.errors ?? []) {
    // An `if` only says that its `then` failed, which has said so itself, and better.
    if (error.keyword === 'if' || findings.size >= ERRORS_MAX) continue;
    const { pointer } = fieldError(error);
    if (misspelt(error, validate.errors ?? [])) continue;
    if (findings.has(pointer)) continue;
    const hint = remedy(error) ?? `compare with "opsloop schema ${referenceOf(kind, pointer)}"`;
    findings.set(pointer, { ...finding('OPS1001', pointer, messageOf(error), hint), ...stepAt(body, pointer) });
  }
  return [...findings.values()];
}

/** A required member that is there under a name one slip away: one mistake, which the other error says better. */
function misspelt(error: ErrorObject, all: readonly ErrorObject[]): boolean {
  if (error.keyword !== 'required') return false;
  const missing = new Set([String((error.params as Record<string, unknown>)['missingProperty'])]);
  return all.some((other) => {
    const name = strangeName(other);
    return name !== undefined && other.instancePath === error.instancePath && near(name, missing) !== undefined;
  });
}

function strangeName({ keyword, params }: ErrorObject): string | undefined {
  if (keyword !== 'unevaluatedProperties' && keyword !== 'additionalProperties') return undefined;
  const { unevaluatedProperty, additionalProperty } = params as Record<string, unknown>;
  return String(unevaluatedProperty ?? additionalProperty);
}

/** What a pattern stands for, and what to write. */
const PATTERNS: readonly [RegExp, string, string][] = [
  [/\(ms\|s\|m\|h\|d\)/, 'duration', 'write a duration such as 500ms, 30s, 5m or 1h30m'],
  [/0\|\[1-9\]/, 'semantic version', 'write a semantic version such as 1.0.0'],
  [/\^\[a-z0-9-\]\+\/\[a-z0-9-\]\+\$/, 'name', 'write domain/name with a-z, 0-9 and -'],
  [/\^\[a-z0-9-\]\+\$/, 'name', 'write one word of a-z, 0-9 and -'],
  [/\{1,5\}/, 'name of an atom', 'write word.word, for example fleet.service.restart'],
  [/\[a-zA-Z0-9-\]/, 'id', 'begin with a small letter; letters, digits and - may follow'],
  [/\[a-zA-Z0-9\]/, 'name', 'begin with a small letter; letters and digits may follow'],
  [/\(\\\.\\d\+\)\?%/, 'batch size', 'write a number, or a percentage such as "20%"'],
];

function patternOf(error: ErrorObject): (typeof PATTERNS)[number] | undefined {
  if (error.keyword !== 'pattern') return undefined;
  const written = String((error.params as Record<string, unknown>)['pattern']);
  return PATTERNS.find(([pattern]) => pattern.test(written));
}

const KINDS: Readonly<Record<string, string>> = {
  ...{ object: 'an object', array: 'a list', string: 'a text', number: 'a number', integer: 'a whole number' },
  ...{ boolean: 'true or false', null: 'null' },
};

/** In words of the person who wrote it. */
function messageOf(error: ErrorObject): string {
  const pattern = patternOf(error);
  const short = JSON.stringify(error.data)?.slice(0, 60);
  if (pattern !== undefined) return `${short} is no ${pattern[1]}`;
  if (error.keyword !== 'type') return fieldError(error).message;
  const wanted = [(error.params as { type: string | string[] }).type].flat();
  return `must be ${wanted.map((type) => KINDS[type] ?? type).join(' or ')}, and is ${short}`;
}

/** The part of the reference that a pointer leads to: `/do/4/loop/max` → `flow.loop.max`. */
function referenceOf(kind: string, pointer: string): string {
  const parts = pointer.split('/').slice(1);
  const names = kind === 'flow' ? parts.slice(parts.findLastIndex((part) => /^\d+$/.test(part)) + 1) : parts;
  // A member of what stands in a list, such as a clause of `catch`, is explained under the list.
  const list = parts[parts.length - names.length - 2];
  return (
    explained([kind, ...names.filter((part) => !/^\d+$/.test(part))]) ??
    (list === undefined ? undefined : explained([kind, list, ...names])) ??
    kind
  );
}

/** The longest part of the path that the reference explains; nothing when that is the kind alone. */
function explained(path: string[]): string | undefined {
  for (; path.length > 1; path.pop()) {
    try {
      return describeSchema(path.join('.')).path;
    } catch {
      // Deeper than the reference goes: the part around it.
      continue;
    }
  }
  return undefined;
}

/** Id of the step that a pointer leads into. */
function stepAt(body: JsonObject, pointer: string): { step?: string } {
  let at: unknown = body;
  let step: string | undefined;
  for (const part of pointer.split('/').slice(1)) {
    if (at === null || typeof at !== 'object') break;
    at = (at as Record<string, unknown>)[part.replaceAll('~1', '/').replaceAll('~0', '~')];
    const id = (at as { id?: unknown } | null | undefined)?.id;
    if (typeof id === 'string' && body['kind'] === 'flow') step = id;
  }
  return step === undefined ? {} : { step };
}

/** More names than this are a list that nobody reads. */
const NAMES_SHOWN = 16;

function takes(known: readonly string[]): string {
  return known.length === 0 || known.length > NAMES_SHOWN
    ? 'remove it, or look for a typing error'
    : `it takes ${known.join(', ')}`;
}

/** `foreach` beside `do`: the step looks like a group, and the verb that was meant is none of its members. */
function verbMeant(strange: string, known: readonly string[]): string | undefined {
  return known.includes('id') && known.includes('needs') ? near(strange, new Set(VERBS)) : undefined;
}

function remedy(error: ErrorObject): string | undefined {
  const params = error.params as Record<string, unknown>;
  if (error.keyword === 'pattern') return patternOf(error)?.[2];
  const strange = strangeName(error);
  if (strange !== undefined) {
    const known = Object.keys((error.parentSchema?.['properties'] as object | undefined) ?? {});
    return near(strange, new Set(known)) ?? verbMeant(strange, known) ?? takes(known);
  }
  if (error.keyword === 'enum' && typeof error.data === 'string') {
    const values = (params['allowedValues'] as unknown[]).filter((one) => typeof one === 'string');
    return near(error.data, new Set(values));
  }
  return error.keyword === 'required' ? `add "${String(params['missingProperty'])}"` : undefined;
}
