/**
 * jsep with the tokens and the binding strengths of our text form. jsep splits, climbs precedences and builds the tree;
 * what it does not keep is added here: where each part stands, which parts stood in parentheses, `not` that binds more
 * weakly than a comparison, texts with JSON's escapes, and errors that say what to write instead.
 */
import { OpsError } from '@opsloop/contracts';
import jsep from 'jsep';
import { LOGIC_DEPTH_MAX } from './operators.js';
import { COMPARISONS, STRENGTH } from './print-logic.js';

/** A part of the tree, as jsep makes it, with its column. */
export interface Node {
  type: string;
  /** Where it begins, parentheses included. */
  at: number;
  /** Where it begins inside its parentheses. */
  own?: number;
  /** It stood in parentheses of its own. */
  group?: boolean;
  value?: unknown;
  raw?: string;
  name?: string;
  operator?: string;
  argument?: Node;
  left?: Node;
  right?: Node;
  elements?: Node[];
  arguments?: Node[];
  callee?: Node;
  object?: Node;
  property?: Node;
  computed?: boolean;
}

/** The class behind jsep; its typings know the function only. */
interface Gobbler {
  index: number;
  readonly expr: string;
  readonly code: number;
  gobbleExpression(): Node | undefined;
  gobbleBinaryExpression(): Node | undefined;
  gobbleBinaryOp(): string | false;
  gobbleToken(): Node | undefined | false;
  gobbleTokenProperty(node: Node): Node;
}
const { Jsep } = jsep as unknown as {
  Jsep: { new (expr: string): Gobbler; prototype: Gobbler; literals: Record<string, unknown>; this_str: string };
};

/** Parentheses and calls: as deep as the expression may be, with room for grouping. */
const NESTING_MAX = LOGIC_DEPTH_MAX * 2;
/** Sticky, without nested repetition: linear in the length of the text. */
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const TEXT = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/sy;
const QUOTED = /`[^`]*`/y;
const NOT = /not(?![A-Za-z0-9_])/y;
const OPERATOR = /===|!==|==|!=|<=|>=|\?\?|[<>+\-*/%]|(?:and|or|in)(?![A-Za-z0-9_])/y;
const SPACE = /\s/;
const OPERATOR_STRENGTH = new Map<string, number>([
  ['or', STRENGTH.or],
  ['and', STRENGTH.and],
  ...[...COMPARISONS].map((op): [string, number] => [op, STRENGTH.compare]),
  ['??', STRENGTH.default],
  ['+', STRENGTH.add],
  ['-', STRENGTH.add],
  ['*', STRENGTH.multiply],
  ['/', STRENGTH.multiply],
  ['%', STRENGTH.multiply],
]);

/** jsep keeps its operators process-wide, so they are set when this module loads and never again. */
jsep.removeAllBinaryOps();
jsep.removeAllUnaryOps();
for (const [op, strength] of OPERATOR_STRENGTH) jsep.addBinaryOp(op, strength);
for (const sign of ['-', '+']) jsep.addUnaryOp(sign);
jsep.removeIdentifierChar('$');
// A word of JavaScript, here a name like any other; no name has a space in it.
Jsep.this_str = ' ';

/** Throws `expression` with the column. */
export function failAt(text: string, at: number, message: string): never {
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  const column = at - before.lastIndexOf('\n');
  const place = line === 1 ? `column ${column}` : `line ${line}, column ${column}`;
  throw new OpsError('expression', `${place} of "${text.slice(0, 120)}": ${message}`);
}

function advice(text: string, at: number): string {
  if (at >= text.length) return 'something is missing at the end';
  const rest = text.slice(at, at + 2);
  if (rest === '&&') return 'write "and" instead of "&&"';
  if (rest === '||') return 'write "or" instead of "||"';
  if (rest[0] === '!') return 'write "not" instead of "!"';
  if (rest[0] === '=') return 'write "==" to compare';
  if (rest[0] === '$') return 'conditions name paths without "${…}"';
  if (rest[0] === '?') return 'write if(condition, then, else) instead of "? :"';
  if (rest[0] === "'" || rest[0] === '"') return 'this text is not closed';
  if (/[A-Za-z0-9_()[\],.<>+\-*/%]/.test(rest[0]!)) return `"${rest[0]}" was not expected here`;
  return `"${rest[0]}" is not part of the language`;
}

class TextParser extends (Jsep as unknown as new (expr: string) => Gobbler) {
  private depth = 0;
  /** Operators that bind no tighter than this end the operand of a `not`. */
  private floor = 0;

  whole(): Node {
    const node = this.expression();
    if (this.index < this.expr.length) {
      const rest = this.match(NAME) ?? this.match(NUMBER) ?? this.match(TEXT);
      this.fail(
        rest === undefined
          ? advice(this.expr, this.index)
          : `"${rest.slice(0, 40)}" was not expected here; is an "and" or "or" missing?`,
      );
    }
    return node;
  }

  private fail(message: string, at = this.index): never {
    failAt(this.expr, at, message);
  }

  /** jsep's own complaints, in our words. */
  throwError(_message: string): never {
    this.fail(advice(this.expr, this.index));
  }

  /** jsep's plug-ins are process-wide; none of them has a say here. */
  runHook(_name: string, node: Node): Node {
    return node;
  }

  searchHook(): undefined {
    return undefined;
  }

  gobbleSpaces(): void {
    while (this.index < this.expr.length && SPACE.test(this.expr[this.index]!)) this.index += 1;
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.index;
    return pattern.exec(this.expr)?.[0];
  }

  private expression(): Node {
    const { floor } = this;
    this.floor = 0;
    const node = this.gobbleBinaryExpression();
    this.floor = floor;
    this.gobbleSpaces();
    return node ?? this.fail(advice(this.expr, this.index));
  }

  override gobbleExpression(): Node {
    return this.expression();
  }

  override gobbleBinaryOp(): string | false {
    this.gobbleSpaces();
    const op = this.match(OPERATOR);
    if (op === undefined || OPERATOR_STRENGTH.get(op)! <= this.floor) return false;
    this.index += op.length;
    return op;
  }

  override gobbleToken(): Node {
    this.gobbleSpaces();
    const at = this.index;
    this.depth += 1;
    if (this.depth > NESTING_MAX) this.fail(`nested deeper than ${NESTING_MAX}`);
    const node = this.token() || this.fail(advice(this.expr, this.index));
    this.depth -= 1;
    node.at ??= at;
    return node;
  }

  private token(): Node | undefined | false {
    const at = this.index;
    const quoted = this.match(QUOTED);
    if (quoted !== undefined) return this.gobbleTokenProperty(this.quoted(quoted, at));
    // Checked before jsep, which would take `.5` and `5.` as numbers.
    if (this.expr[at] === '.') return undefined;
    if (this.match(NOT) === undefined) return super.gobbleToken();
    this.index += 'not'.length;
    const { floor } = this;
    this.floor = STRENGTH.not - 1;
    const argument = this.gobbleBinaryExpression()!;
    this.floor = floor;
    return { type: 'UnaryExpression', operator: 'not', argument, at };
  }

  /** `` `?:`(…) ``: an operator whose name is no name, called like a function. */
  private quoted(text: string, at: number): Node {
    this.index += text.length;
    this.gobbleSpaces();
    if (this.expr[this.index] !== '(') this.fail('"(" was expected');
    return { type: 'Quoted', name: text.slice(1, -1), at };
  }

  override gobbleTokenProperty(node: Node): Node {
    // The start of the innermost part is the start of the whole: `a` of `a.b.c(…)`.
    node.at ??= this.startOf(node);
    const start = node.at;
    const whole = super.gobbleTokenProperty(node);
    for (let part = whole; part !== node; part = (part.object ?? part.callee)!) part.at ??= start;
    return whole;
  }

  private startOf({ name = '', raw = '' }: Node): number {
    return this.index - (raw.length || name.length);
  }

  gobbleNumericLiteral(): Node {
    const raw = this.match(NUMBER)!;
    const at = this.index;
    this.index += raw.length;
    return { type: 'Literal', value: Number(raw), raw, at };
  }

  gobbleStringLiteral(): Node {
    const raw = this.match(TEXT);
    if (raw === undefined) this.fail(advice(this.expr, this.index));
    const at = this.index;
    const value = unquote(raw, () => this.fail('\\u needs four hexadecimal digits', at));
    this.index += raw.length;
    return { type: 'Literal', value, raw, at };
  }

  gobbleIdentifier(): Node {
    const name = this.match(NAME);
    const at = this.index;
    if (name === undefined) {
      const afterDot = /\.\s*$/.test(this.expr.slice(0, at));
      this.fail(afterDot ? 'a name must follow the dot; other keys are written ["…"]' : advice(this.expr, at));
    }
    this.index += name.length;
    return { type: 'Identifier', name, at };
  }

  gobbleGroup(): Node {
    const at = this.index;
    this.index += 1;
    const inner = this.expression();
    if (this.expr[this.index] !== ')') this.unclosed(')');
    this.index += 1;
    // A copy: the group begins earlier than what is in it.
    return { ...inner, at, own: inner.own ?? inner.at, group: true };
  }

  gobbleArray(): Node {
    const at = this.index;
    this.index += 1;
    return { type: 'ArrayExpression', elements: this.gobbleArguments(']'.charCodeAt(0)), at };
  }

  gobbleArguments(termination: number): Node[] {
    const close = String.fromCharCode(termination);
    const items: Node[] = [];
    this.gobbleSpaces();
    if (this.expr[this.index] === close) {
      this.index += 1;
      return items;
    }
    for (;;) {
      items.push(this.expression());
      const next = this.expr[this.index];
      if (next !== ',' && next !== close) this.unclosed(close);
      this.index += 1;
      if (next === close) return items;
    }
  }

  private unclosed(close: string): never {
    this.fail(`"${close}" was expected${this.index >= this.expr.length ? ', but the text ends' : ''}`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };

function unquote(raw: string, wrong: () => never): string {
  return raw.slice(1, -1).replace(/\\(u[0-9a-fA-F]{4}|.)/gs, (_, code: string) => {
    if (code.length === 5) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    if (code === 'u') wrong();
    return ESCAPES[code] ?? code;
  });
}

/** The tree of a text. Throws `expression`. */
export function parseText(text: string): Node {
  return new TextParser(text).whole();
}
