/** Checks a value against the JSON Schema that an author wrote, fills in its defaults, and says what is wrong where. */
import type { FieldError, Json, JsonObject } from '@opsloop/contracts';
import { digestOf } from '@opsloop/contracts';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;
/** Compiled validators that are kept; a schema costs about a millisecond to compile and a few KB to keep. */
const CACHE_MAX = 500;
/** An answer that lists more mistakes than this helps nobody. */
const ERRORS_MAX = 50;

const cache = new Map<string, ValidateFunction>();

function newAjv(): Ajv2020 {
  // Schemas of authors are data, not ours: unknown keywords are ignored, `$data` and remote references do not exist.
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false, validateFormats: true, addUsedSchema: false, logger: false });
  addFormats(ajv);
  return ajv;
}

function validatorOf(schema: JsonObject): ValidateFunction {
  const key = digestOf(schema);
  const known = cache.get(key);
  if (known !== undefined) return known;
  const validate = newAjv().compile(schema);
  if (cache.size >= CACHE_MAX) cache.clear();
  cache.set(key, validate);
  return validate;
}

/** The schema's own mistakes, or an empty list. */
export function schemaErrors(schema: JsonObject): FieldError[] {
  try {
    validatorOf(schema);
    return [];
  } catch (error) {
    return [{ pointer: '', message: error instanceof Error ? error.message : String(error) }];
  }
}

/** `value` is the input with the schema's defaults; `errors` is empty when it may be used. */
export function validateInput(schema: JsonObject, input: Json): { errors: FieldError[]; value: Json } {
  const value = structuredClone(input);
  const validate = validatorOf(schema);
  if (validate(value) === true) return { errors: [], value };
  return { errors: (validate.errors ?? []).slice(0, ERRORS_MAX).map(fieldError), value };
}

function fieldError(error: ErrorObject): FieldError {
  const { instancePath, keyword, params, message = 'is wrong' } = error;
  const member = (params as { missingProperty?: string; additionalProperty?: string; unevaluatedProperty?: string });
  if (keyword === 'required') return { pointer: instancePath, message: `"${member.missingProperty}" is missing` };
  const extra = member.additionalProperty ?? member.unevaluatedProperty;
  if (extra !== undefined) return { pointer: `${instancePath}/${extra.replaceAll('~', '~0').replaceAll('/', '~1')}`, message: 'is not a known member; remove it or correct its name' };
  if (keyword === 'enum') return { pointer: instancePath, message: `must be one of ${(params as { allowedValues: unknown[] }).allowedValues.map((v) => JSON.stringify(v)).join(', ')}` };
  return { pointer: instancePath, message };
}
