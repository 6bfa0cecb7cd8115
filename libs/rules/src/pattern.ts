/**
 * Regular expressions that cannot stop a process: a strict subset, matched by walking all states at once (Thompson,
 * Pike), so that the work is at most characters × states, whatever the pattern and the text are. There is no
 * backtracking, hence there are no groups that capture, no back references and no look-around.
 */
import { expressionError } from './finding.js';

/** Longest pattern that a person can still read, and the states that it may become: `{m,n}` copies what it repeats. */
export const PATTERN_CHARS_MAX = 500;
export const PATTERN_STATES_MAX = 500;
/** Longest text that is searched; with all states this is 5 million steps, and far above any field of an event. */
export const PATTERN_TEXT_MAX = 10_000;
/** Repetitions that `{m,n}` may name. */
const REPEAT_MAX = 100;
/** Nested groups: the parser descends by one call each. */
const DEPTH_MAX = 32;
/** Programs kept: rules name some hundred patterns; above it the cache starts anew. */
const CACHE_MAX = 2_000;

type Node =
  | { is: 'set'; ranges: readonly [number, number][]; not: boolean }
  | { is: 'start' | 'end' | 'empty' | 'word' | 'notWord' }
  | { is: 'all' | 'any'; of: Node[] }
  | { is: 'repeat'; of: Node; least: number; most: number };

type State =
  | { op: 'set'; ranges: readonly [number, number][]; not: boolean; next: number }
  | { op: 'split'; next: number; other: number }
  | { op: 'start' | 'end' | 'word' | 'notWord'; next: number }
  | { op: 'match' };

export interface Program {
  states: State[];
  first: number;
  /** Letters in both cases are the same. */
  fold: boolean;
}

/** What is wrong with a pattern, for whoever wrote it. */
export class PatternError extends Error {}

const DIGIT: [number, number][] = [[48, 57]];
const WORD: [number, number][] = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const SPACE: [number, number][] = [
  [9, 13],
  [32, 32],
  [160, 160],
  [8232, 8233],
  [65279, 65279],
];
const NEWLINE: [number, number][] = [
  [10, 10],
  [13, 13],
  [8232, 8233],
];
const LAST = 0x10ffff;

/** All code points that the ranges leave out. */
function inverted(ranges: readonly [number, number][]): [number, number][] {
  const out: [number, number][] = [];
  let from = 0;
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (low > from) out.push([from, low - 1]);
    from = Math.max(from, high + 1);
  }
  if (from <= LAST) out.push([from, LAST]);
  return out;
}

const CLASSES: Readonly<Record<string, [number, number][]>> = {
  d: DIGIT,
  D: inverted(DIGIT),
  w: WORD,
  W: inverted(WORD),
  s: SPACE,
  S: inverted(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11 };

class Parser {
  private at = 0;
  private depth = 0;
  private readonly chars: string[];

  constructor(
    pattern: string,
    private readonly dotAll: boolean,
  ) {
    this.chars = [...pattern];
  }

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.chars.length) throw new PatternError(`has a ")" at ${this.at} that nothing opens`);
    return node;
  }

  private alternatives(): Node {
    const of = [this.sequence()];
    while (this.take('|')) of.push(this.sequence());
    return of.length === 1 ? of[0]! : { is: 'any', of };
  }

  private sequence(): Node {
    const of: Node[] = [];
    while (this.at < this.chars.length && this.peek() !== '|' && this.peek() !== ')') of.push(this.repeated());
    return of.length === 0 ? { is: 'empty' } : { is: 'all', of };
  }

  private repeated(): Node {
    const begin = this.at;
    const one = this.one();
    const bounds = this.bounds();
    if (bounds === undefined) return one;
    // Lazy or greedy: whether it matches is the same.
    this.take('?');
    if (this.bounds() !== undefined) throw new PatternError(`repeats a repetition at ${begin}`);
    if (one.is === 'start' || one.is === 'end' || one.is === 'word' || one.is === 'notWord')
      throw new PatternError(`repeats a place at ${begin}, which has no length`);
    return { is: 'repeat', of: one, ...bounds };
  }

  private bounds(): { least: number; most: number } | undefined {
    if (this.take('*')) return { least: 0, most: Infinity };
    if (this.take('+')) return { least: 1, most: Infinity };
    if (this.take('?')) return { least: 0, most: 1 };
    if (this.peek() !== '{') return undefined;
    const found = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(this.chars.slice(this.at, this.at + 12).join(''));
    if (found === null) throw new PatternError(`has a "{" at ${this.at} that is no repetition; write \\{`);
    this.at += found[0].length;
    const least = Number(found[1]);
    const most = found[2] === undefined ? least : found[3] === '' ? Infinity : Number(found[3]);
    if (least > REPEAT_MAX || (most !== Infinity && most > REPEAT_MAX))
      throw new PatternError(`repeats more than ${REPEAT_MAX} times`);
    if (most < least) throw new PatternError(`repeats ${least} to ${most} times`);
    return { least, most };
  }

  private one(): Node {
    const char = this.chars[this.at++]!;
    if (char === '(') return this.group();
    if (char === '[') return this.set();
    if (char === '.') return { is: 'set', ranges: this.dotAll ? [] : NEWLINE, not: true };
    if (char === '^') return { is: 'start' };
    if (char === '$') return { is: 'end' };
    if (char === '\\') return this.escaped();
    if (char === '*' || char === '+' || char === '?' || char === '{')
      throw new PatternError(`repeats nothing at ${this.at - 1}`);
    return literal(char.codePointAt(0)!);
  }

  private group(): Node {
    this.depth += 1;
    if (this.depth > DEPTH_MAX) throw new PatternError(`is nested deeper than ${DEPTH_MAX}`);
    if (this.peek() === '?') {
      if (this.chars[this.at + 1] !== ':')
        throw new PatternError('has a group with "?": look-around and names are not there; (?: … ) is');
      this.at += 2;
    }
    const inner = this.alternatives();
    if (!this.take(')')) throw new PatternError('has a "(" that nothing closes');
    this.depth -= 1;
    return inner;
  }

  private escaped(): Node {
    const char = this.chars[this.at];
    if (char === 'b' || char === 'B') {
      this.at += 1;
      return { is: char === 'b' ? 'word' : 'notWord' };
    }
    const code = this.escape();
    return typeof code === 'number' ? literal(code) : { is: 'set', ranges: code, not: false };
  }

  /** After a backslash: a code point or a class. */
  private escape(): number | [number, number][] {
    const char = this.chars[this.at++];
    if (char === undefined) throw new PatternError('ends with a backslash');
    if (Object.hasOwn(CLASSES, char)) return CLASSES[char]!;
    if (Object.hasOwn(CONTROLS, char)) return CONTROLS[char]!;
    if (char === 'x' || char === 'u') {
      const digits = char === 'x' ? 2 : 4;
      const hex = this.chars.slice(this.at, this.at + digits).join('');
      if (!new RegExp(`^[0-9a-fA-F]{${digits}}$`).test(hex))
        throw new PatternError(`has a \\${char} without ${digits} hex digits`);
      this.at += digits;
      return Number.parseInt(hex, 16);
    }
    if (/[0-9]/.test(char)) throw new PatternError('has a back reference; there are none');
    if (/[A-Za-z]/.test(char)) throw new PatternError(`has the unknown escape \\${char}`);
    return char.codePointAt(0)!;
  }

  private set(): Node {
    const not = this.take('^');
    const ranges: [number, number][] = [];
    for (let first = true; ; first = false) {
      const char = this.chars[this.at];
      if (char === undefined) throw new PatternError('has a "[" that nothing closes');
      if (char === ']' && !first) break;
      if (char === ']') throw new PatternError('has an empty "[]"');
      const low = this.member();
      const dash = this.peek() === '-' && this.chars[this.at + 1] !== ']' && this.chars[this.at + 1] !== undefined;
      if (!dash) {
        ranges.push(...(typeof low === 'number' ? [[low, low] as [number, number]] : low));
        continue;
      }
      this.at += 1;
      const high = this.member();
      if (typeof low !== 'number' || typeof high !== 'number')
        throw new PatternError('has a class as the end of a range');
      if (high < low) throw new PatternError('has a range that ends before it begins');
      ranges.push([low, high]);
    }
    this.at += 1;
    return { is: 'set', ranges, not };
  }

  private member(): number | [number, number][] {
    const char = this.chars[this.at++]!;
    return char === '\\' ? this.escape() : char.codePointAt(0)!;
  }

  private peek(): string | undefined {
    return this.chars[this.at];
  }

  private take(char: string): boolean {
    if (this.peek() !== char) return false;
    this.at += 1;
    return true;
  }
}

const literal = (code: number): Node => ({ is: 'set', ranges: [[code, code]], not: false });

/** From the end backwards: each piece knows where it goes on. */
class Compiler {
  readonly states: State[] = [{ op: 'match' }];

  compile(node: Node, next: number): number {
    switch (node.is) {
      case 'empty':
        return next;
      case 'set':
        return this.add({ op: 'set', ranges: node.ranges, not: node.not, next });
      case 'start':
      case 'end':
      case 'word':
      case 'notWord':
        return this.add({ op: node.is, next });
      case 'all':
        return [...node.of].reverse().reduce((to, part) => this.compile(part, to), next);
      case 'any':
        return node.of
          .map((part) => this.compile(part, next))
          .reduceRight((other, first) => this.add({ op: 'split', next: first, other }));
      case 'repeat':
        return this.repeat(node, next);
    }
  }

  private repeat({ of, least, most }: Extract<Node, { is: 'repeat' }>, next: number): number {
    let to = next;
    if (most === Infinity) {
      const loop = this.add({ op: 'split', next: 0, other: next });
      (this.states[loop] as { next: number }).next = this.compile(of, loop);
      to = loop;
    } else
      for (let n = least; n < most; n += 1) to = this.add({ op: 'split', next: this.compile(of, to), other: next });
    for (let n = 0; n < least; n += 1) to = this.compile(of, to);
    return to;
  }

  private add(state: State): number {
    if (this.states.length >= PATTERN_STATES_MAX)
      throw new PatternError(`has more than ${PATTERN_STATES_MAX} states; repeat less`);
    return this.states.push(state) - 1;
  }
}

const programs = new Map<string, Program>();

/** Compiles a pattern with the flags `i` (case is the same) and `s` (`.` takes line ends too); throws {@link PatternError}. */
export function compilePattern(pattern: string, flags = ''): Program {
  const key = `${flags}/${pattern}`;
  const known = programs.get(key);
  if (known !== undefined) return known;
  if (pattern.length > PATTERN_CHARS_MAX) throw new PatternError(`is longer than ${PATTERN_CHARS_MAX} characters`);
  if (!/^(i?s?|si)$/.test(flags)) throw new PatternError(`has the flags "${flags.slice(0, 10)}"; there are i and s`);
  const compiler = new Compiler();
  const first = compiler.compile(new Parser(pattern, flags.includes('s')).parse(), 0);
  const program = { states: compiler.states, first, fold: flags.includes('i') };
  if (programs.size >= CACHE_MAX) programs.clear();
  programs.set(key, program);
  return program;
}

const isWord = (code: number | undefined): boolean =>
  code !== undefined && WORD.some(([low, high]) => code >= low && code <= high);

function takes({ ranges, not }: { ranges: readonly [number, number][]; not: boolean }, code: number): boolean {
  for (const [low, high] of ranges) if (code >= low && code <= high) return !not;
  return not;
}

/** With `i` also the other case, where it is one character. */
function cases(code: number): number[] {
  const char = String.fromCodePoint(code);
  return [char.toLowerCase(), char.toUpperCase()]
    .filter((one) => [...one].length === 1)
    .map((one) => one.codePointAt(0)!);
}

/** Whether the pattern fits somewhere in the text. `step` is told what it costs and may refuse. */
export function searchPattern(program: Program, text: string, step: (count: number) => void): boolean {
  if (text.length > PATTERN_TEXT_MAX)
    throw expressionError(`a pattern searches at most ${PATTERN_TEXT_MAX} characters, not ${text.length}`);
  const { states, first, fold } = program;
  const codes = Array.from(text, (char) => char.codePointAt(0)!);
  step(1 + Math.ceil((codes.length * states.length) / 100));
  const seen = new Int32Array(states.length).fill(-1);
  let current: readonly number[] = [];
  for (let at = 0; at <= codes.length; at += 1) {
    const code = codes[at];
    const next: number[] = [];
    // Unanchored: it may begin at every place.
    const open = [...current, first];
    while (open.length > 0) {
      const index = open.pop()!;
      if (seen[index] === at) continue;
      seen[index] = at;
      const state = states[index]!;
      if (state.op === 'match') return true;
      if (state.op === 'split') open.push(state.other, state.next);
      else if (state.op !== 'set') {
        if (holds(state.op, codes, at)) open.push(state.next);
      } else if (code !== undefined && (fold ? foldTakes(state, code) : takes(state, code))) next.push(state.next);
    }
    current = next;
  }
  return false;
}

/** A set that is inverted takes what none of the cases is in. */
function foldTakes(state: { ranges: readonly [number, number][]; not: boolean }, code: number): boolean {
  const plain = { ranges: state.ranges, not: false };
  return [code, ...cases(code)].some((one) => takes(plain, one)) !== state.not;
}

function holds(op: 'start' | 'end' | 'word' | 'notWord', codes: readonly number[], at: number): boolean {
  if (op === 'start') return at === 0;
  if (op === 'end') return at === codes.length;
  const boundary = isWord(codes[at - 1]) !== isWord(codes[at]);
  return op === 'word' ? boundary : !boundary;
}

/** A wildcard as a pattern: `*` any characters, `?` one, `[a-z]` and `[!a-z]` one of a set; it has to fit the whole text. */
export function compileWildcard(wildcard: string): Program {
  let body = '';
  for (let i = 0; i < wildcard.length; i += 1) {
    const char = wildcard[i]!;
    const close = char === '[' ? wildcard.indexOf(']', i + 2) : -1;
    if (char === '*') body += '.*';
    else if (char === '?') body += '.';
    else if (close > 0) {
      const inner = wildcard.slice(i + 1, close).replaceAll('\\', '\\\\');
      body += `[${inner.startsWith('!') ? `^${inner.slice(1)}` : inner.replace(/^\^/, '\\^')}]`;
      i = close;
    } else body += /[\\^$.|+()[\]{}]/.test(char) ? `\\${char}` : char;
  }
  return compilePattern(`^${body}$`, 's');
}
