import type { Json } from '@opsloop/contracts';
import { evaluateCondition, evaluateLogic } from './evaluate.js';
import { operationOf } from './operators.js';
import { COMPARISONS, printLiteral, printLogic } from './print-logic.js';
import type { Scope } from './scope-value.js';

export interface Explanation {
  result: boolean;
  /** `event.data.state == 'down' was 'up'`: the part that decided, and what was found there. */
  text: string;
  path?: string;
  expected?: Json;
  actual?: Json;
}

/** Longest printed value: an explanation is a line for a person. */
const SHOWN_MAX = 120;

/** Evaluates a condition and names the leaf that decided it. */
export function explainCondition(logic: Json, scope: Scope): Explanation {
  const result = evaluateCondition(logic, scope);
  return describe(deciding(logic, scope, result), scope, result);
}

/** Follows the branch that made an `and` false, an `or` true, a `not` what it is. */
function deciding(logic: Json, scope: Scope, result: boolean): Json {
  const operation = operationOf(logic);
  if (operation === undefined) return logic;
  const args = operation.args as Json[];
  if (operation.op === '!' || operation.op === '!!') {
    const inner = args[0]!;
    const innerOp = operationOf(inner)?.op;
    if (innerOp === undefined || !(['and', 'or', '!', '!!'].includes(innerOp) || COMPARISONS.has(innerOp)))
      return logic;
    return deciding(inner, scope, operation.op === '!' ? !result : result);
  }
  if (operation.op !== 'and' && operation.op !== 'or') return logic;
  // With no single culprit (a true `and`, a false `or`) the whole is the answer, unless it has one part only.
  const decides = operation.op === 'or';
  if (args.length > 1 && result !== decides) return logic;
  const part = args.length === 1 ? args[0]! : args.find((arg) => truth(arg, scope) === decides);
  return part === undefined ? logic : deciding(part, scope, result);
}

function truth(logic: Json, scope: Scope): boolean | undefined {
  const value = evaluateLogic(logic, scope);
  return typeof value === 'boolean' ? value : undefined;
}

function describe(leaf: Json, scope: Scope, result: boolean): Explanation {
  const text = printLogic(leaf);
  const operation = operationOf(leaf);
  if (operation === undefined) return { result, text };
  const args = operation.args as Json[];
  const pathOf = (side: Json | undefined): string | undefined => {
    const read = operationOf(side);
    return read?.op === 'var' && typeof read.args[0] === 'string' ? read.args[0] : undefined;
  };
  if (COMPARISONS.has(operation.op) && args.length === 2) {
    const at = pathOf(args[0]) !== undefined || operationOf(args[1]) === undefined ? 0 : 1;
    const side = args[at]!;
    if (operationOf(side) === undefined) return { result, text };
    const actual = evaluateLogic(side, scope);
    const expected = evaluateLogic(args[1 - at]!, scope);
    const path = pathOf(side);
    return { result, text: `${text} was ${shown(actual)}`, ...(path === undefined ? {} : { path }), expected, actual };
  }
  const path = pathOf(leaf) ?? args.map(pathOf).find((p) => p !== undefined);
  if (path === undefined) return { result, text: `${text} was ${result}` };
  const actual = evaluateLogic({ var: path }, scope);
  return { result, text: `${text} was ${shown(actual)}`, path, actual };
}

function shown(value: Json): string {
  const text =
    value !== null && typeof value === 'object' && !Array.isArray(value) ? JSON.stringify(value) : printLiteral(value);
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
