import type { Json } from '@opsloop/contracts';
import { operationOf } from './operators.js';
import { formatPath, parsePath } from './path.js';

/**
 * Binding strengths of the text form, weakest first. `??` binds tighter than comparisons, so that
 * `machine.load ?? 0 > 3` means what its author means.
 */
export const STRENGTH = {
  or: 1,
  and: 2,
  not: 3,
  compare: 4,
  default: 5,
  add: 6,
  multiply: 7,
  unary: 8,
  atom: 9,
} as const;

export const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '===', '!==', '<', '<=', '>', '>=', 'in']);
export const WORDS: ReadonlySet<string> = new Set(['and', 'or', 'not', 'in', 'true', 'false', 'null']);
export const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const INDEX = /^(0|[1-9]\d{0,8})$/;

/**
 * The canonical spelling of an expression: arguments always as a list, except the path of `var` and `root`, whose
 * paths are spelled as {@link formatPath} does. The parser makes this form, so `parse(print(x))` equals it.
 */
export function canonicalLogic(logic: Json): Json {
  if (Array.isArray(logic)) return logic.map(canonicalLogic);
  const operation = operationOf(logic);
  if (operation === undefined) return logic;
  const args = operation.args.map((arg) => canonicalLogic(arg as Json));
  return build(operation.op, args);
}

export function build(op: string, args: Json[]): Json {
  const [first] = args;
  if ((op === 'var' || op === 'root') && args.length <= 1) {
    if (first === undefined || first === null) return { [op]: '' };
    if (typeof first === 'string' || typeof first === 'number') return { [op]: spelled(String(first)) };
  }
  if ((op === 'var' || op === 'root') && typeof first === 'string') return { [op]: [spelled(first), ...args.slice(1)] };
  return { [op]: args };
}

function spelled(path: string): string {
  try {
    return path === '' ? '' : formatPath(parsePath(path));
  } catch {
    return path;
  }
}

/** Prints an expression in the text form, for explanations, diffs and plans. */
export function printLogic(logic: Json): string {
  return print(canonicalLogic(logic), 0);
}

function print(logic: Json, outer: number): string {
  if (Array.isArray(logic)) return `[${logic.map((item) => print(item, 0)).join(', ')}]`;
  const operation = operationOf(logic);
  if (operation === undefined) return printLiteral(logic);
  const args = operation.args as Json[];
  const [text, strength] = printOperation(operation.op, args);
  return strength <= outer ? `(${text})` : text;
}

function printOperation(op: string, args: Json[]): [text: string, strength: number] {
  const infix = (strength: number, word = op): [string, number] => [
    args.map((arg) => print(arg, strength)).join(` ${word} `),
    strength,
  ];
  if (op === 'var' && args.length === 1 && typeof args[0] === 'string') {
    const path = printPath(args[0]);
    if (path !== undefined) return [path, STRENGTH.atom];
  }
  if ((op === 'and' || op === 'or') && args.length >= 2) return infix(STRENGTH[op]);
  if (COMPARISONS.has(op) && args.length >= 2) return infix(STRENGTH.compare);
  if (op === '??') return infix(STRENGTH.default);
  if ((op === '+' || op === '-') && args.length >= 2) return infix(STRENGTH.add);
  if ((op === '*' && args.length >= 2) || ((op === '/' || op === '%') && args.length === 2))
    return infix(STRENGTH.multiply);
  if (op === '!' && args.length === 1) return [`not ${print(args[0]!, STRENGTH.not - 1)}`, STRENGTH.not];
  if ((op === '-' || op === '+') && args.length === 1) {
    // A digit after the sign would be read as a negative number.
    const inner = print(args[0]!, STRENGTH.unary);
    return [/^[\d+-]/.test(inner) ? `${op}(${inner})` : `${op}${inner}`, STRENGTH.unary];
  }
  const name = NAME.test(op) && !WORDS.has(op) ? op : `\`${op}\``;
  return [`${name}(${args.map((arg) => print(arg, 0)).join(', ')})`, STRENGTH.atom];
}

/** `a.b[0]["any key"]`; undefined when the path needs the form `var('…')`. */
function printPath(path: string): string | undefined {
  if (path === '') return undefined;
  let segments: readonly string[];
  try {
    segments = parsePath(path);
  } catch {
    return undefined;
  }
  const [first, ...rest] = segments;
  if (first === undefined || !NAME.test(first) || WORDS.has(first)) return undefined;
  return (
    first + rest.map((s) => (NAME.test(s) ? `.${s}` : INDEX.test(s) ? `[${s}]` : `[${JSON.stringify(s)}]`)).join('')
  );
}

/** A literal as it stands in the text form: `'up'`, `3`, `true`, `null`, `['a', 'b']`. */
export function printLiteral(value: Json): string {
  if (typeof value === 'string')
    return `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
  if (Array.isArray(value)) return `[${value.map(printLiteral).join(', ')}]`;
  return Object.is(value, -0) ? '0' : JSON.stringify(value);
}
