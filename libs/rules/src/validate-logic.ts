import type { Json } from '@opsloop/contracts';
import { finding, pointerTo, type Finding } from './finding.js';
import { LOGIC_DEPTH_MAX, LOGIC_NODES_MAX, OPERATORS, operationOf } from './operators.js';
import { parsePath, PathSyntaxError, PROTOTYPE_NAMES } from './path.js';
import { compilePattern, compileWildcard, PatternError } from './pattern.js';

/** Findings of one expression: more say nothing new, and a generated one could have thousands. */
const FINDINGS_MAX = 20;

interface Walk {
  findings: Finding[];
  nodes: number;
}

/**
 * Checks an expression before anything evaluates it: exactly one known operator per object, arity, depth ≤ 32, nodes
 * ≤ 2,000, readable paths, no division by a literal 0. An expression without findings cannot become data by accident
 * (a two-key object would be truthy: a rule that always fires).
 */
export function validateLogic(logic: Json): Finding[] {
  const walk: Walk = { findings: [], nodes: 0 };
  visit(logic, '', 1, walk);
  return walk.findings;
}

function visit(logic: unknown, pointer: string, depth: number, walk: Walk): void {
  walk.nodes += 1;
  if (walk.findings.length >= FINDINGS_MAX) return;
  if (walk.nodes > LOGIC_NODES_MAX) {
    if (walk.nodes === LOGIC_NODES_MAX + 1) {
      walk.findings.push(
        finding(
          'OPS1404',
          '',
          `the expression has more than ${LOGIC_NODES_MAX} nodes`,
          'compute a part in an earlier step, or use a table',
        ),
      );
    }
    return;
  }
  if (depth > LOGIC_DEPTH_MAX) {
    walk.findings.push(finding('OPS1403', pointer, `the expression is nested deeper than ${LOGIC_DEPTH_MAX}`));
    return;
  }
  if (typeof logic === 'number' && !Number.isFinite(logic))
    walk.findings.push(finding('OPS1405', pointer, 'a number must be finite'));
  if (logic === undefined || typeof logic === 'function')
    walk.findings.push(finding('OPS1400', pointer, 'is not a JSON value'));
  if (logic === null || typeof logic !== 'object') return;
  if (Array.isArray(logic)) {
    logic.forEach((item, i) => visit(item, pointerTo(pointer, i), depth + 1, walk));
    return;
  }
  visitOperation(logic, pointer, depth, walk);
}

function visitOperation(logic: object, pointer: string, depth: number, walk: Walk): void {
  const operation = operationOf(logic);
  if (operation === undefined) {
    const keys = Object.keys(logic);
    const said =
      keys.length === 0
        ? 'an empty object is no expression'
        : `an operation has exactly one operator, this object has ${keys.length}: ${keys.slice(0, 5).join(', ')}`;
    walk.findings.push(
      finding('OPS1401', pointer, said, 'combine several conditions with {"and": […]} or {"or": […]}'),
    );
    return;
  }
  const { op, args } = operation;
  const known = OPERATORS.get(op);
  if (known === undefined || PROTOTYPE_NAMES.has(op)) {
    walk.findings.push(
      finding('OPS1402', pointerTo(pointer, op), `"${op.slice(0, 40)}" is not an operator`, nearest(op)),
    );
    return;
  }
  const [least, most] = known.arity;
  if (args.length < least || args.length > most) {
    const wanted = least === most ? `${least}` : args.length < least ? `at least ${least}` : `at most ${most}`;
    walk.findings.push(
      finding(
        'OPS1406',
        pointerTo(pointer, op),
        `"${op}" takes ${wanted} argument${wanted.endsWith(' 1') || wanted === '1' ? '' : 's'}, not ${args.length}`,
      ),
    );
    return;
  }
  checkPath(op, args, pointerTo(pointer, op), walk);
  checkPattern(op, args, pointerTo(pointer, op), walk);
  if ((op === '/' || op === '%') && args[1] === 0)
    walk.findings.push(finding('OPS1407', pointerTo(pointer, op), 'divides by 0'));
  const value = (logic as Record<string, unknown>)[op];
  if (Array.isArray(value)) value.forEach((item, i) => visit(item, `${pointerTo(pointer, op)}/${i}`, depth + 1, walk));
  else visit(value, pointerTo(pointer, op), depth + 1, walk);
}

function checkPath(op: string, args: readonly unknown[], pointer: string, walk: Walk): void {
  if (op !== 'var' && op !== 'root' && op !== 'missing') return;
  for (const path of op === 'missing' ? args.flat() : args.slice(0, 1)) {
    if (typeof path !== 'string' || path === '') continue;
    try {
      parsePath(path);
    } catch (error) {
      if (!(error instanceof PathSyntaxError)) throw error;
      walk.findings.push(finding('OPS1408', pointer, `the path "${path.slice(0, 80)}" ${error.message}`));
    }
  }
}

/** A pattern that stands there is compiled now: nobody should learn at three in the morning that it has no end. */
function checkPattern(op: string, [, pattern, flags = '']: readonly unknown[], pointer: string, walk: Walk): void {
  if ((op !== 'like' && op !== 'matches') || typeof pattern !== 'string' || typeof flags !== 'string') return;
  try {
    if (op === 'like') compileWildcard(pattern);
    else compilePattern(pattern, flags);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    walk.findings.push(finding('OPS1415', `${pointer}/1`, `the pattern '${pattern.slice(0, 80)}' ${error.message}`));
  }
}

/** Says what was probably meant: a wrong case, or the name that another language uses. */
function nearest(op: string): string {
  const aliases: Record<string, string> = {
    '&&': 'and',
    '||': 'or',
    not: '!',
    eq: '==',
    ne: '!=',
    len: 'length',
    count: 'length',
    contains: 'in',
    regex: 'matches',
    matchregex: 'matches',
    matchwildcard: 'like',
    overlap: 'overlaps',
    subsetOf: 'subset',
    log: 'nothing: it printed to the process',
    method: 'nothing: it ran code',
  };
  if (Object.hasOwn(aliases, op)) return `use ${aliases[op]}`;
  const same = [...OPERATORS.keys()].find((name) => name.toLowerCase() === op.toLowerCase());
  return same === undefined
    ? 'the operators are those of JSONLogic and the functions of the flow language'
    : `use "${same}"`;
}
