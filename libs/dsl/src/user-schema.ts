/**
 * JSON Schemas that people write into documents (`input.schema`, `output.schema`). A compiler trusts schemas as code,
 * so these are taken for hostile: closed list of keywords, bounded size and depth, no references to elsewhere, and no
 * pattern whose matching time can explode.
 */
import { OpsError, type FieldError, type Json, type JsonObject } from '@opsloop/contracts';
import { finding, pointerTo, PROTOTYPE_NAMES, type Finding } from '@opsloop/rules';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
// The formats alone: the plugin around them loads a second Ajv, for keywords that are not taken here.
import { fullFormats } from 'ajv-formats/dist/formats.js';
import safeRegex from 'safe-regex2';
import { isPlainKeyword, misfit } from './user-schema-keywords.js';

/** A schema of a form or an atom has tens of members; 32 KB and 2,000 nodes compile in well under 50 ms. */
const BYTES_MAX = 32 * 1024;
const NODES_MAX = 2_000;
const DEPTH_MAX = 24;
/** Length of a text that a pattern may be tried on follows from `maxLength` of request bodies; the pattern itself is short. */
const PATTERN_MAX = 200;
const ERRORS_MAX = 20;

/** Keywords that hold one schema, a list or a map of schemas, or plain data. */
const ONE = new Set([
  'items',
  'contains',
  'additionalProperties',
  'unevaluatedProperties',
  'unevaluatedItems',
  'propertyNames',
  'not',
  'if',
  'then',
  'else',
]);
const LIST = new Set(['prefixItems', 'allOf', 'anyOf', 'oneOf']);
const MAP = new Set(['properties', 'patternProperties', 'dependentSchemas', '$defs']);
const DATA = new Set(['enum', 'const', 'default', 'examples']);

/** What is wrong with a schema of a user, before any compiler sees it. */
export function schemaFindings(schema: unknown, pointer: string): Finding[] {
  const findings: Finding[] = [];
  const bad = (at: string, message: string, hint?: string): void =>
    void findings.push(finding('OPS1301', at, message, hint));
  let nodes = 0;
  const visit = (value: unknown, at: string, depth: number): void => {
    if (findings.length >= ERRORS_MAX || ++nodes > NODES_MAX) return;
    if (depth > DEPTH_MAX) return bad(at, `the schema is nested deeper than ${DEPTH_MAX}`);
    if (typeof value === 'boolean') return;
    if (value === null || typeof value !== 'object' || Array.isArray(value))
      return bad(at, 'a schema is an object, true or false');
    for (const [key, member] of Object.entries(value)) visitKeyword(key, member, pointerTo(at, key), depth);
  };
  const visitKeyword = (key: string, member: unknown, at: string, depth: number): void => {
    if (ONE.has(key)) return visit(member, at, depth + 1);
    if (LIST.has(key)) {
      if (!Array.isArray(member)) return bad(at, 'must be a list of schemas');
      return member.forEach((item, i) => visit(item, pointerTo(at, i), depth + 1));
    }
    if (MAP.has(key)) {
      if (member === null || typeof member !== 'object' || Array.isArray(member))
        return bad(at, 'must be an object of schemas');
      for (const [name, item] of Object.entries(member)) {
        if (PROTOTYPE_NAMES.has(name)) bad(pointerTo(at, name), `a member may not be called "${name}"`);
        if (key === 'patternProperties') patternProblem(name, pointerTo(at, name));
        visit(item, pointerTo(at, name), depth + 1);
      }
      return;
    }
    if (!isPlainKeyword(key))
      return bad(
        at,
        `"${key.slice(0, 40)}" is not a keyword that is supported here`,
        'keywords of JSON Schema 2020-12 without $id, $anchor and $dynamicRef',
      );
    const wanted = misfit(key, member);
    if (wanted !== undefined) {
      findings.push(finding('OPS1302', at, `is no valid JSON Schema: "${key}" takes ${wanted}`));
      return;
    }
    if (key === '$ref' && !(typeof member === 'string' && /^#(\/|$)/.test(member)))
      bad(at, 'references lead into this schema only (#/$defs/…)');
    if (key === 'pattern') patternProblem(member, at);
    if (DATA.has(key)) nodes += JSON.stringify(member)?.length > 4_096 ? NODES_MAX : 1;
  };
  const patternProblem = (pattern: unknown, at: string): void => {
    if (typeof pattern !== 'string') return bad(at, 'must be a text');
    if (pattern.length > PATTERN_MAX) return bad(at, `is longer than ${PATTERN_MAX} characters`);
    const risk = patternRisk(pattern);
    if (risk !== undefined) bad(at, `the pattern "${pattern.slice(0, 60)}" ${risk[0]}`, risk[1]);
  };
  const size = JSON.stringify(schema)?.length ?? 0;
  if (size > BYTES_MAX) bad(pointer, `the schema has ${size} bytes; at most ${BYTES_MAX} are allowed`);
  else visit(schema, pointer, 1);
  if (nodes > NODES_MAX) bad(pointer, `the schema has more than ${NODES_MAX} nodes`);
  return findings;
}

/** Repetitions in one pattern: two that can match the same text already make matching quadratic, each more adds a power. */
const UNBOUNDED_MAX = 2;

/** Why a pattern is not taken, and what to do: matching must take a time that no text of a request body can blow up. */
function patternRisk(pattern: string): [why: string, hint: string] | undefined {
  try {
    new RegExp(pattern, 'u');
  } catch (error) {
    return ['is no regular expression', (error as Error).message.split(': ').at(-1)!.toLowerCase()];
  }
  const outside = pattern.replace(/\\./gs, 'x').replace(/\[[^\]]*\]/g, 'x');
  const slow = 'could take for ever on some texts';
  if (/\\[1-9k]|\(\?[=!<]/.test(pattern)) return [slow, 'leave out back-references and look-around'];
  if (/\|[^()]*\)[*+{]/.test(outside)) return [slow, 'no alternatives (|) under a repetition; list them without it'];
  const unbounded = (outside.match(/[*+]|\{\d+,\}/g) ?? []).length;
  if (unbounded > UNBOUNDED_MAX)
    return [
      `has ${unbounded} repetitions without an end, and at most ${UNBOUNDED_MAX} are taken`,
      'give them an end: {1,9} instead of +, {0,9} instead of *',
    ];
  return safeRegex(pattern, { limit: 10 }) ? undefined : [slow, 'no repetition inside a repetition, and at most ten'];
}

/** True when matching takes a time that a text of a request body cannot blow up. */
export function isSafePattern(pattern: string): boolean {
  return patternRisk(pattern) === undefined;
}

const ajv = new Ajv2020({
  strict: false,
  allErrors: true,
  useDefaults: true,
  $data: false,
  // Its shape is checked before, keyword by keyword.
  meta: false,
  validateSchema: false,
  addUsedSchema: false,
  inlineRefs: false,
  formats: fullFormats,
});

/** Compiled validators, by the schema object. Ajv's own cache would keep every schema for ever, so it is emptied. */
const compiled = new WeakMap<object, ValidateFunction | Finding[]>();

/** Schemas that arrive with a task are new objects each time; compiling one takes some ms. A worker serves some dozen atoms. */
const COMPILED_TEXTS_MAX = 200;
const byText = new Map<string, ValidateFunction | Finding[]>();

function validatorOf(schema: JsonObject): ValidateFunction | Finding[] {
  const known = compiled.get(schema);
  if (known !== undefined) return known;
  const text = JSON.stringify(schema);
  const result = byText.get(text) ?? compile(schema);
  // Taken out and put in again: the first is the one that was not used for longest.
  byText.delete(text);
  byText.set(text, result);
  if (byText.size > COMPILED_TEXTS_MAX) byText.delete(byText.keys().next().value!);
  compiled.set(schema, result);
  return result;
}

function compile(schema: JsonObject): ValidateFunction | Finding[] {
  let result: ValidateFunction | Finding[] = schemaFindings(schema, '');
  if (result.length === 0) {
    try {
      result = ajv.compile(schema);
    } catch (error) {
      result = [
        finding('OPS1302', '', `is no valid JSON Schema: ${error instanceof Error ? error.message : String(error)}`),
      ];
    } finally {
      ajv.removeSchema(schema);
    }
  }
  return result;
}

/** Why an atom may not hand on what its target or worker answered; undefined when it is as the manifest promises. */
export function outputProblem(schema: JsonObject, output: Json, atom: string): OpsError | undefined {
  const { errors } = validateInput(schema, output);
  if (errors.length === 0) return undefined;
  const said = errors.map(({ pointer, message }) => `${pointer || '/'} ${message}`).join('; ');
  return new OpsError('validation', `the output of ${atom} does not match its schema: ${said}`, { errors });
}

/** Findings of a schema, those included that only compiling it shows. */
export function checkUserSchema(schema: JsonObject, pointer: string): Finding[] {
  const result = validatorOf(schema);
  return Array.isArray(result) ? result.map((f) => ({ ...f, pointer: pointer + f.pointer })) : [];
}

/** Checks a value against a schema of a document and fills in its defaults. The value given is never changed. */
export function validateInput(schema: JsonObject, input: Json | undefined): { errors: FieldError[]; value: Json } {
  const value = input === undefined ? {} : structuredCloneJson(input);
  const validate = validatorOf(schema);
  if (Array.isArray(validate))
    throw new OpsError('configuration', `the schema cannot be used: ${validate[0]!.message}`);
  // Defaults are filled into the holder's member, so a default of the whole value works as well.
  if (validate(value)) return { errors: [], value };
  return { errors: fieldErrors(validate.errors ?? []), value };
}

function structuredCloneJson(value: Json): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

/** One error per wrong place, in words of the person who wrote it. */
export function fieldErrors(errors: readonly ErrorObject[]): FieldError[] {
  const seen = new Map<string, FieldError>();
  for (const error of errors) {
    if (['if', 'anyOf', 'oneOf', 'allOf'].includes(error.keyword) && errors.length > 1) continue;
    const one = fieldError(error);
    if (!seen.has(one.pointer)) seen.set(one.pointer, one);
  }
  return [...seen.values()].slice(0, ERRORS_MAX);
}

export function fieldError(error: ErrorObject): FieldError {
  const at = error.instancePath;
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'required':
      return { pointer: pointerTo(at, String(params['missingProperty'])), message: 'is required' };
    case 'additionalProperties':
    case 'unevaluatedProperties': {
      const name = String(params['additionalProperty'] ?? params['unevaluatedProperty']);
      return { pointer: pointerTo(at, name), message: `"${name}" is not known here` };
    }
    case 'enum':
      return {
        pointer: at,
        message: `must be one of ${(params['allowedValues'] as unknown[])
          .map((v) => JSON.stringify(v))
          .join(', ')
          .slice(0, 300)}`,
      };
    case 'const':
      return { pointer: at, message: `must be ${JSON.stringify(params['allowedValue'])}` };
    case 'false schema':
      return { pointer: at, message: 'is not allowed here' };
    default:
      return { pointer: at, message: error.message ?? error.keyword };
  }
}
