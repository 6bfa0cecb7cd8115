/**
 * The text form of conditions (flow-language section 2.2) → JSONLogic: jsep parses (see `text-parser.ts`), here its
 * tree becomes JSONLogic, and what the tree allows but the language does not is refused with its column and a remedy.
 */
import { OpsError, type Json } from '@opsloop/contracts';
import { OPERATORS } from './operators.js';
import { formatPath, PROTOTYPE_NAMES } from './path.js';
import { build, COMPARISONS, WORDS } from './print-logic.js';
import { failAt, parseText, type Node } from './text-parser.js';

/** An expression that a person writes; longer ones are generated and can be sent as JSONLogic. */
const TEXT_MAX = 20_000;
const INTEGER = /^\d+$/;

/** Parses the text form to JSONLogic. Throws `expression` with the column and a remedy. */
export function parseLogic(text: string): Json {
  if (text.length > TEXT_MAX) throw new OpsError('expression', `the condition is longer than ${TEXT_MAX} characters`);
  return new Translation(text).of(parseText(text));
}

/** What is stored of a condition: JSONLogic, whatever form it was written in. */
export function normaliseCondition(condition: Json): Json {
  return typeof condition === 'string' ? parseLogic(condition) : condition;
}

class Translation {
  constructor(private readonly source: string) {}

  of(node: Node): Json {
    switch (node.type) {
      case 'Literal':
        return node.value as Json;
      case 'ArrayExpression':
        return node.elements!.map((item) => this.of(item));
      case 'UnaryExpression':
        return this.unary(node);
      case 'BinaryExpression':
        return this.binary(node);
      case 'CallExpression':
        return this.call(node);
      default:
        return { var: formatPath(this.path(node)) };
    }
  }

  private unary(node: Node): Json {
    const argument = node.argument!;
    if (node.operator === 'not') return build('!', [this.of(argument)]);
    // A sign right before its digits belongs to the number.
    const isNumber = argument.type === 'Literal' && typeof argument.value === 'number' && argument.group !== true;
    if (node.operator === '-' && isNumber && argument.at === (node.own ?? node.at) + 1)
      return -(argument.value as number);
    return build(node.operator!, [this.of(argument)]);
  }

  /** `a and b and c` is one operation with three arguments; `1 < x < 3` too; `a - b - c` nests to the left. */
  private binary(node: Node): Json {
    // Long sums lean to the left: walked in a loop, so that their length is not a depth of calls.
    const spine: Node[] = [];
    let first: Node = node;
    while (first.type === 'BinaryExpression' && (spine.length === 0 || first.group !== true)) {
      spine.push(first);
      first = first.left!;
    }
    let value = this.of(first);
    for (let at = spine.length - 1; at >= 0;) {
      const { operator: op } = spine[at]!;
      const most = OPERATORS.get(op!)!.arity[1];
      const args = [value];
      while (at >= 0 && spine[at]!.operator === op && args.length < most) {
        args.push(this.of(spine[at]!.right!));
        at -= 1;
      }
      const next = spine[at];
      if (next !== undefined && COMPARISONS.has(op!) && COMPARISONS.has(next.operator!)) {
        const column = this.source.lastIndexOf(next.operator!, next.right!.at - 1);
        this.fail(column, `"${op}" and "${next.operator}" cannot be chained; use parentheses or "and"`);
      }
      value = build(op!, args);
    }
    return value;
  }

  private call(node: Node): Json {
    const callee = node.callee!;
    const op = callee.name ?? '';
    const known = callee.type === 'Identifier' && WORDS.has(op) ? undefined : OPERATORS.get(op);
    if ((callee.type !== 'Identifier' && callee.type !== 'Quoted') || callee.group === true || known === undefined)
      this.fail(
        callee.at,
        `"${this.source.slice(callee.at, this.source.indexOf('(', callee.at + 1))}" is not a function of the language`,
      );
    const args = node.arguments!.map((argument) => this.of(argument));
    if (args.length < known.arity[0] || args.length > known.arity[1])
      this.fail(callee.at, `"${op}" does not take ${args.length} arguments`);
    return build(op, args);
  }

  /** The segments of `a.b[0]["any key"]`. */
  private path(node: Node): string[] {
    const segments: string[] = [];
    let at: Node = node;
    while (at.type === 'MemberExpression') {
      segments.unshift(this.segment(at.property!, at.computed === true));
      at = at.object!;
      if (at.group === true) this.fail(at.at, 'a path begins with a name, not with parentheses; use get(…, …)');
    }
    if (at.type !== 'Identifier') this.fail(at.at, 'a path begins with a name; use get(…, …)');
    if (WORDS.has(at.name!)) this.fail(at.at, `"${at.name}" was not expected here`);
    segments.unshift(at.name!);
    const wrong = segments.find((segment) => PROTOTYPE_NAMES.has(segment));
    if (wrong !== undefined) this.fail(at.at, `"${wrong}" is never data`);
    return segments;
  }

  private segment(property: Node, computed: boolean): string {
    if (!computed) return property.name!;
    const { type, value, raw = '', group } = property;
    if (type === 'Literal' && group !== true) {
      if (typeof value === 'string') return value;
      if (typeof value === 'number' && INTEGER.test(raw)) return raw;
    }
    this.fail(property.at, 'an index or a quoted key must stand in [ ]');
  }

  private fail(at: number, message: string): never {
    failAt(this.source, at, message);
  }
}
