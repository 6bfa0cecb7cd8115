/**
 * The one door to json-logic-js. An expression is checked, translated once into a guarded form, and then evaluated by
 * json-logic-js: it walks the tree and computes the standard operators; guards stand around each of them, and the
 * operators that compare loosely, walk prototypes or print are replaced by ours. Everything fails closed: an
 * expression that cannot be evaluated throws `expression`, it never becomes null, NaN or a truthy object.
 */
import { OpsError, type Json } from '@opsloop/contracts';
import jsonLogic from 'json-logic-js';
import { compileLogic, type Reference, type Run } from './compile.js';
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

type Operation = (this: unknown, ...args: unknown[]) => unknown;

interface Engine extends Reference {
  add_operation(name: string, operation: Operation): void;
}
const engine = jsonLogic as unknown as Engine;
const registered = new Map<string, Operation>();

function add(name: string, operation: Operation): void {
  registered.set(name, operation);
  engine.add_operation(name, operation);
}

/** json-logic-js keeps its operations process-wide, so they are registered when this module loads and never again. */
function register(): void {
  for (const [name, operation] of Object.entries(OWN_OPERATIONS)) {
    add(OWN + name, function (...args) {
      here().step();
      return counted(operation.apply(this, args));
    });
  }
  add(GUARD, (value, op, kind) => {
    here().step();
    if (kind !== 'any') need(op as string, value, kind as Exclude<ArgumentKind, 'any'>);
    return value;
  });
  add(LIST, (value, op) => {
    here().step();
    if (kindOf(value) !== 'null') need(op as string, value, 'list');
    return value;
  });
  add(RESULT, (value, op) => (typeof value === 'number' ? finite(op as string, value) : counted(value)));
  add(TURN, (value, nodes) => {
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

/**
 * `strict`: what documents are evaluated with. `compat`: standard operators coerce as json-logic-js does (`1 == '1'`),
 * for rules that were written elsewhere; all bounds and the closed list of operators hold there as well.
 */
export type LogicMode = 'strict' | 'compat';

/** Standard operators that strict mode replaces or restricts, because they coerce. */
const COERCING: ReadonlySet<string> = new Set([
  '==',
  '!=',
  '===',
  '!==',
  '<',
  '<=',
  '>',
  '>=',
  'in',
  '+',
  '-',
  '*',
  '/',
  '%',
  'min',
  'max',
  'cat',
  'substr',
]);

/** Expressions that were checked, ready to run. Keyed by identity: stored documents are never edited in place. */
const compiled: Readonly<Record<LogicMode, WeakMap<object, Run>>> = {
  strict: new WeakMap(),
  compat: new WeakMap(),
};

function prepare(logic: Json, mode: LogicMode): Run {
  if (logic === null || typeof logic !== 'object') {
    if (typeof logic === 'number' && !Number.isFinite(logic)) throw expressionError('a number must be finite');
    return () => logic;
  }
  const known = compiled[mode].get(logic);
  if (known !== undefined) return known;
  const errors = validateLogic(logic);
  if (errors.length > 0) {
    throw new OpsError('expression', errors[0]!.message, {
      errors: errors.map(({ pointer, message }) => ({ pointer, message })),
    });
  }
  const run = compileLogic(guard(logic, mode), registered, engine);
  compiled[mode].set(logic, run);
  return run;
}

/** The same by json-logic-js alone, uncompiled: what the compiled form is compared with. */
export function referenceLogic(logic: Json, scope: Scope, mode: LogicMode = 'strict'): unknown {
  return runWith(new Evaluation(scope), () => engine.apply(guard(logic, mode), scope));
}

function nodesOf(logic: unknown): number {
  if (logic === null || typeof logic !== 'object') return 1;
  return 1 + Object.values(logic).reduce<number>((sum, value) => sum + nodesOf(value), 0);
}

function guard(logic: unknown, mode: LogicMode): unknown {
  if (Array.isArray(logic)) return logic.map((item) => guard(item, mode));
  const operation = operationOf(logic);
  if (operation === undefined) return logic;
  const { op, args } = operation;
  const known = OPERATORS.get(op)!;
  const guarded = (values: readonly unknown[]): unknown[] => values.map((value) => guard(value, mode));
  if (known.iterator) {
    const [list, body, ...rest] = args;
    const turn = { [TURN]: [guard(body, mode), nodesOf(body)] };
    return { [op]: [{ [LIST]: [guard(list, mode), op] }, turn, ...guarded(rest)] };
  }
  if (known.by === 'control') return { [op]: guarded(args) };
  const coerces = mode === 'compat' && COERCING.has(op);
  if (known.by === 'own' && !coerces) return { [OWN + op]: guarded(args) };
  const takes = coerces ? 'any' : (known.takes ?? 'any');
  // One list stands inside a list, or JSONLogic would take it for the list of arguments.
  return { [RESULT]: [{ [op]: guarded(args).map((arg) => ({ [GUARD]: [arg, op, takes] })) }, op] };
}

function evaluate(logic: Json, scope: Scope, evaluation: Evaluation, mode: LogicMode = 'strict'): unknown {
  const run = prepare(logic, mode);
  try {
    return runWith(evaluation, () => run(scope));
  } catch (error) {
    if (error instanceof OpsError) throw error;
    throw new OpsError('expression', error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Evaluates an expression to plain JSON. Throws `expression` when it cannot. */
export function evaluateLogic(logic: Json, scope: Scope, mode?: LogicMode): Json {
  const evaluation = new Evaluation(scope);
  return toPlainJson(evaluate(logic, scope, evaluation, mode), evaluation);
}

/** Evaluates a condition. The result must be a boolean: `1`, `"yes"` or null are errors, never "true enough". */
export function evaluateCondition(logic: Json, scope: Scope): boolean {
  const result = evaluate(logic, scope, new Evaluation(scope));
  if (typeof result === 'boolean') return result;
  throw expressionError(
    `the condition gives a ${kindOf(result)}, not true or false; compare it with something, or write {"!!": …}`,
  );
}
