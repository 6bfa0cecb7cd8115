/**
 * Whether the answer of a worker of others fits the schema of its atom, told inside the workflow: in a fan-out, asking
 * an activity for it cost 0.4 of the time by hand and doubled the worker's CPU. The validator interprets the schema;
 * compiling one, as the services do, costs 20 ms in this sandbox and makes code from text.
 */
import { Validator } from '@cfworker/json-schema';
import type { Json, JsonObject } from '@opsloop/contracts';

/** By the schema object, of which a run has one per atom. A schema that cannot be judged here has none. */
const validators = new WeakMap<object, Validator | null>();

/**
 * True: it fits. False: it does not, or only the services can tell; their judgement has the last word and the texts
 * for it. So what is judged here may be stricter than theirs (they fill in defaults first), and never more lenient.
 */
export function surelyFits(schema: JsonObject, answer: Json): boolean {
  try {
    let validator = validators.get(schema);
    if (validator === undefined) {
      validator = isJudgedOtherwise(schema) ? null : new Validator(schema, '2020-12');
      validators.set(schema, validator);
    }
    return validator !== null && validator.validate(answer).valid;
  } catch {
    // A reference to nowhere, or in circles. A throw here would hold the whole run; the services answer it as an error.
    return false;
  }
}

/**
 * Each validator has its own idea of an e-mail address, and divides fractions in its own way: 0.3 is a multiple of 0.1
 * here, and not for the services. Answers seldom ask for either.
 */
const OTHERWISE = new Set(['format', 'multipleOf']);

/** Also true for a member that is called so, which then costs an activity and is right. */
function isJudgedOtherwise(value: Json): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(isJudgedOtherwise);
  return Object.entries(value).some(([key, member]) => OTHERWISE.has(key) || isJudgedOtherwise(member));
}
