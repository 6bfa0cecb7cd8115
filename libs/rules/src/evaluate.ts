/**
 * The one door to json-logic-js. An expression is checked, translated once into a guarded form, and then evaluated by
 * json-logic-js: it walks the tree and computes the standard operators; guards stand around each of them, and the
 * operators that compare loosely, walk prototypes or print are replaced by ours. Everything fails closed: an
 * expression that cannot be evaluated throws `expression`, it never becomes null, NaN or a truthy object.
 */
import { OpsError, type Json } from '@opsloop/contracts';
import jsonLogic from 'json-logic-js';
import { Evaluation, here, runWith } from './evaluation.js';
import { expressionError } from './finding.js';
import { finite, need, OWN_OPERATIONS } from './functions.js';
import { operationOf, OPERATORS, type ArgumentKind } from './operators.js';
import { kindOf, toPlainJson, type Scope } from './scope-value.js';
import { validateLogic } from './validate-logic.js';

/** Names of our operators inside json-logic-js. No author can write them: the list of operators is closed. */
const OWN = '\u0000own ';
const GUARD = '\u0000guard';
const LIST = '\u0000list';
const RESULT = '\u0000result';
const TURN = '\u0000turn';

interface Engine {
  add_operation(name: string, operation: (this: unknown, ...args: unknown[]) => unknown): void;
  apply(logic: unknown, data: unknown): unknown;
}
const engine = jsonLogic as unknown as Engine;

/** json-logic-js keeps its operations process-wide, so they are registered when this module loads and never again. */
function register(): void {
  for (const [name, operation] of Object.entries(OWN_OPERATIONS)) {
    engine.add_operation(OWN + name, function (...args) {
      here().step();
      return counted(operation.apply(this, args));
    });
  }
  engine.add_operation(GUARD, (value, op, kind) => {
    here().step();
    if (kind !== 'any') need(op as string, value, kind as Exclude<ArgumentKind, 'any'>);
    return value;
  });
  engine.add_operation(LIST, (value, op) => {
    here().step();
    if (kindOf(value) !== 'null') need(op as string, value, 'list');
    return value;
  });
  engine.add_operation(RESULT, (value, op) =>
    typeof value === 'number' ? finite(op as string, value) : counted(value),
  );
  engine.add_operation(TURN, (value, nodes) => {
    here().step(nodes as number);
    return value;
  });
}
register();

/** Texts made and lists joined count against the size budget; values that are only passed on are shared. */
function counted(value: unknown): unknown {
  if (typeof value === 'string' || Array.isArray(value)) here().add(value.length);
  return value;
}

/** Guarded forms of expressions that were checked. Keyed by identity: stored documents are never edited in place. */
const compiled = new WeakMap<object, unknown>();

function prepare(logic: Json): unknown {
  if (logic === null || typeof logic !== 'object') {
    if (typeof logic === 'number' && !Number.isFinite(logic)) throw expressionError('a number must be finite');
    return logic;
  }
  const known = compiled.get(logic);
  if (known !== undefined) return known;
  const errors = validateLogic(logic);
  if (errors.length > 0) {
    throw new OpsError('expression', errors[0]!.message, {
      errors: errors.map(({ pointer, message }) => ({ pointer, message })),
    });
  }
  const form = guard(logic);
  compiled.set(logic, form);
  return form;
}

function nodesOf(logic: unknown): number {
  if (logic === null || typeof logic !== 'object') return 1;
  return 1 + Object.values(logic).reduce<number>((sum, value) => sum + nodesOf(value), 0);
}

function guard(logic: unknown): unknown {
  if (Array.isArray(logic)) return logic.map(guard);
  const operation = operationOf(logic);
  if (operation === undefined) return logic;
  const { op, args } = operation;
  const known = OPERATORS.get(op)!;
  if (known.iterator) {
    const [list, body, ...rest] = args;
    return { [op]: [{ [LIST]: [guard(list), op] }, { [TURN]: [guard(body), nodesOf(body)] }, ...rest.map(guard)] };
  }
  if (known.by === 'control') return { [op]: args.map(guard) };
  if (known.by === 'own') return { [OWN + op]: args.map(guard) };
  const guarded = args.map((arg) => ({ [GUARD]: [guard(arg), op, known.takes ?? 'any'] }));
  // One list stands inside a list, or JSONLogic would take it for the list of arguments.
  return { [RESULT]: [{ [op]: guarded }, op] };
}

function evaluate(logic: Json, scope: Scope, evaluation: Evaluation): unknown {
  const form = prepare(logic);
  try {
    return runWith(evaluation, () => engine.apply(form, scope));
  } catch (error) {
    if (error instanceof OpsError) throw error;
    throw new OpsError('expression', error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Evaluates an expression to plain JSON. Throws `expression` when it cannot. */
export function evaluateLogic(logic: Json, scope: Scope): Json {
  const evaluation = new Evaluation(scope);
  return toPlainJson(evaluate(logic, scope, evaluation), evaluation);
}

/** Evaluates a condition. The result must be a boolean: `1`, `"yes"` or null are errors, never "true enough". */
export function evaluateCondition(logic: Json, scope: Scope): boolean {
  const result = evaluate(logic, scope, new Evaluation(scope));
  if (typeof result === 'boolean') return result;
  throw expressionError(
    `the condition gives a ${kindOf(result)}, not true or false; compare it with something, or write {"!!": …}`,
  );
}
