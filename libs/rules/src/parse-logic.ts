/**
 * Parser of the text form (flow-language section 2.2). A small Pratt parser of our own: the libraries for such
 * expressions drop parentheses and nest `a and b and c`, so `parse(print(x))` could not give `x` back, they know no
 * chained comparison (`1 < x < 3`), and their errors do not say what an ops expert should write instead.
 */
import { OpsError, type Json } from '@opsloop/contracts';
import { LOGIC_DEPTH_MAX, OPERATORS } from './operators.js';
import { formatPath, PROTOTYPE_NAMES } from './path.js';
import { build, COMPARISONS, STRENGTH, WORDS } from './print-logic.js';

/** An expression that a person writes; longer ones are generated and can be sent as JSONLogic. */
const TEXT_MAX = 20_000;
/** Parentheses and calls: as deep as the expression may be, with room for grouping. */
const NESTING_MAX = LOGIC_DEPTH_MAX * 2;

type Kind = 'number' | 'text' | 'name' | 'quoted' | 'symbol' | 'end';
interface Token {
  kind: Kind;
  text: string;
  at: number;
}

/** Sticky, without nested repetition: linear in the length of the text. */
const TOKENS: readonly [Kind, RegExp][] = [
  ['number', /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y],
  ['name', /[A-Za-z_][A-Za-z0-9_]*/y],
  ['text', /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/sy],
  ['quoted', /`[^`]*`/y],
  ['symbol', /===|!==|==|!=|<=|>=|\?\?|[<>+\-*/%()[\],.]/y],
];

function fail(text: string, at: number, message: string): never {
  throw new OpsError('expression', `column ${at + 1} of "${text.slice(0, 120)}": ${message}`);
}

function tokenise(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && /\s/.test(text[at]!)) at += 1;
    if (at >= text.length) break;
    const token = nextToken(text, at);
    if (token === undefined) fail(text, at, advice(text, at));
    tokens.push(token);
    at += token.text.length;
  }
  tokens.push({ kind: 'end', text: '', at: text.length });
  return tokens;
}

function nextToken(text: string, at: number): Token | undefined {
  for (const [kind, pattern] of TOKENS) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) return { kind, text: found[0], at };
  }
  return undefined;
}

function advice(text: string, at: number): string {
  const rest = text.slice(at, at + 2);
  if (rest === '&&') return 'write "and" instead of "&&"';
  if (rest === '||') return 'write "or" instead of "||"';
  if (rest[0] === '!') return 'write "not" instead of "!"';
  if (rest[0] === '=') return 'write "==" to compare';
  if (rest[0] === '$') return 'conditions name paths without "${…}"';
  if (rest[0] === "'" || rest[0] === '"') return 'this text is not closed';
  return `"${rest[0]}" is not part of the language`;
}

class Parser {
  private at = 0;
  private depth = 0;
  private readonly tokens: Token[];

  constructor(private readonly source: string) {
    this.tokens = tokenise(source);
  }

  whole(): Json {
    const value = this.expression(0);
    const rest = this.peek();
    if (rest.kind !== 'end')
      fail(this.source, rest.at, `"${rest.text}" was not expected here; is an "and" or "or" missing?`);
    return value;
  }

  private peek(): Token {
    return this.tokens[this.at]!;
  }

  private take(): Token {
    return this.tokens[this.at++]!;
  }

  private accept(text: string): boolean {
    const token = this.peek();
    if ((token.kind !== 'symbol' && token.kind !== 'name') || token.text !== text) return false;
    this.at += 1;
    return true;
  }

  private expect(text: string): void {
    if (!this.accept(text))
      fail(
        this.source,
        this.peek().at,
        `"${text}" was expected${this.peek().kind === 'end' ? ', but the text ends' : ''}`,
      );
  }

  private expression(outer: number): Json {
    this.depth += 1;
    if (this.depth > NESTING_MAX) fail(this.source, this.peek().at, `nested deeper than ${NESTING_MAX}`);
    let left = this.prefix();
    for (;;) {
      const op = this.infix();
      if (op === undefined || op.strength <= outer) break;
      left = this.chain(left, op.text, op.strength);
    }
    this.depth -= 1;
    return left;
  }

  private infix(): { text: string; strength: number } | undefined {
    const { kind, text } = this.peek();
    if (kind !== 'symbol' && kind !== 'name') return undefined;
    if (text === 'and' || text === 'or') return { text, strength: STRENGTH[text] };
    if (COMPARISONS.has(text)) return { text, strength: STRENGTH.compare };
    if (text === '??') return { text, strength: STRENGTH.default };
    if (text === '+' || text === '-') return { text, strength: STRENGTH.add };
    if (text === '*' || text === '/' || text === '%') return { text, strength: STRENGTH.multiply };
    return undefined;
  }

  /** `a and b and c` is one operation with three arguments; `1 < x < 3` too; `a - b - c` nests to the left. */
  private chain(left: Json, op: string, strength: number): Json {
    const { at } = this.peek();
    const args = [left];
    const most = OPERATORS.get(op)!.arity[1];
    while (args.length < most && this.accept(op)) args.push(this.expression(strength));
    if (COMPARISONS.has(op)) {
      const next = this.infix();
      if (next?.strength === STRENGTH.compare)
        fail(this.source, this.peek().at, `"${op}" and "${next.text}" cannot be chained; use parentheses or "and"`);
    }
    if (args.length < 2) fail(this.source, at, `"${op}" needs something on its right`);
    return build(op, args);
  }

  private prefix(): Json {
    const token = this.take();
    if (token.kind === 'number') return Number(token.text);
    if (token.kind === 'text') return unquote(this.source, token);
    if (token.kind === 'quoted') return this.call(token.text.slice(1, -1), token);
    if (token.kind === 'name') return this.name(token);
    if (token.text === '(') {
      const inner = this.expression(0);
      this.expect(')');
      return inner;
    }
    if (token.text === '[') return this.list(']');
    if (token.text === '-' || token.text === '+') return this.signed(token);
    fail(
      this.source,
      token.at,
      token.kind === 'end' ? 'something is missing at the end' : `"${token.text}" was not expected here`,
    );
  }

  private signed(sign: Token): Json {
    const next = this.peek();
    if (sign.text === '-' && next.kind === 'number' && next.at === sign.at + 1) return -Number(this.take().text);
    return build(sign.text, [this.expression(STRENGTH.unary - 1)]);
  }

  private name(token: Token): Json {
    if (token.text === 'true') return true;
    if (token.text === 'false') return false;
    if (token.text === 'null') return null;
    if (token.text === 'not') return build('!', [this.expression(STRENGTH.not - 1)]);
    if (WORDS.has(token.text)) fail(this.source, token.at, `"${token.text}" was not expected here`);
    if (this.peek().text === '(' && this.peek().kind === 'symbol') return this.call(token.text, token);
    return this.path(token);
  }

  private call(op: string, token: Token): Json {
    const known = OPERATORS.get(op);
    if (known === undefined || PROTOTYPE_NAMES.has(op))
      fail(this.source, token.at, `"${op}" is not a function of the language`);
    this.expect('(');
    const args = this.list(')');
    if (args.length < known.arity[0] || args.length > known.arity[1])
      fail(this.source, token.at, `"${op}" does not take ${args.length} arguments`);
    return build(op, args);
  }

  private list(close: string): Json[] {
    const items: Json[] = [];
    if (this.accept(close)) return items;
    do items.push(this.expression(0));
    while (this.accept(','));
    this.expect(close);
    return items;
  }

  private path(first: Token): Json {
    const segments = [first.text];
    for (;;) {
      if (this.accept('.')) {
        const next = this.take();
        if (next.kind !== 'name')
          fail(this.source, next.at, 'a name must follow the dot; other keys are written ["…"]');
        segments.push(next.text);
      } else if (this.accept('[')) {
        const key = this.take();
        if (key.kind !== 'text' && !(key.kind === 'number' && /^\d+$/.test(key.text)))
          fail(this.source, key.at, 'an index or a quoted key must stand in [ ]');
        segments.push(key.kind === 'text' ? unquote(this.source, key) : key.text);
        this.expect(']');
      } else break;
    }
    const wrong = segments.find((segment) => PROTOTYPE_NAMES.has(segment));
    if (wrong !== undefined) fail(this.source, first.at, `"${wrong}" is never data`);
    return { var: formatPath(segments) };
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };

function unquote(source: string, token: Token): string {
  return token.text.slice(1, -1).replace(/\\(u[0-9a-fA-F]{4}|.)/gs, (_, code: string) => {
    if (code.length === 5) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    if (code === 'u') fail(source, token.at, '\\u needs four hexadecimal digits');
    return ESCAPES[code] ?? code;
  });
}

/** Parses the text form to JSONLogic. Throws `expression` with the column and a remedy. */
export function parseLogic(text: string): Json {
  if (text.length > TEXT_MAX) throw new OpsError('expression', `the condition is longer than ${TEXT_MAX} characters`);
  return new Parser(text).whole();
}

/** What is stored of a condition: JSONLogic, whatever form it was written in. */
export function normaliseCondition(condition: Json): Json {
  return typeof condition === 'string' ? parseLogic(condition) : condition;
}
