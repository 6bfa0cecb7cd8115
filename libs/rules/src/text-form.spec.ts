import { OpsError, type Json } from '@opsloop/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalLogic, formatPath, OPERATORS, parseLogic, printLogic, PROTOTYPE_NAMES } from './index.js';

const messageOf = (text: string): string => {
  try {
    return `parsed: ${JSON.stringify(parseLogic(text))}`;
  } catch (error) {
    return error instanceof OpsError && error.code === 'expression' ? error.detail : String(error);
  }
};

const segment = fc
  .oneof(
    fc.constantFrom('a', 'state', 'in', 'not', 'this', 'x-y', '0', 'toString', 'é', 'a b', '"', "'", '\\', '${x}'),
    fc.string({ minLength: 1, maxLength: 6, unit: 'binary' }),
  )
  .filter((s) => !PROTOTYPE_NAMES.has(s));
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map(formatPath);
const literal: fc.Arbitrary<Json> = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (Object.is(n, -0) ? 0 : n)),
  fc.boolean(),
  fc.constant(null),
);
/** Every operator of the language, with every number of arguments that it takes up to four. */
const { logic } = fc.letrec<{ logic: Json }>((tie) => ({
  logic: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    fc.oneof(
      literal,
      path.map((p) => ({ var: p }) as Json),
      path.map((p) => ({ root: p }) as Json),
    ),
    fc.array(tie('logic'), { maxLength: 3 }),
    ...[...OPERATORS].map(([op, { arity }]) =>
      fc
        .array(tie('logic'), { minLength: arity[0], maxLength: Math.min(arity[1], Math.max(arity[0], 4)) })
        .map((args) => ({ [op]: args }) as Json),
    ),
  ) as fc.Arbitrary<Json>,
}));

describe('the text form', () => {
  it('parse(print(x)) is x, for every operator', () => {
    fc.assert(
      fc.property(logic, (x) => {
        const stored = canonicalLogic(x);
        expect(parseLogic(printLogic(x))).toEqual(stored);
        // Printing what was parsed prints the same.
        expect(printLogic(stored)).toBe(printLogic(x));
      }),
      { numRuns: 1_500 },
    );
  });

  it('spaces and line breaks mean nothing', () => {
    const spaced = (text: string): string => ` \n${text.replaceAll(' ', '\t \u00a0\n')} `;
    for (const text of ["a.b == 'x y' and not (c in [1, 2]) or length(d) > -3", '1 < x < 3', 'a ?? b ?? 0 > 3 - 2'])
      expect(parseLogic(spaced(text).replace("'x\t \u00a0\ny'", "'x y'"))).toEqual(parseLogic(text));
  });

  it.each<[string, string, string]>([
    ['not before a comparison', 'not a == b', 'not (a == b)'],
    ['not before and', 'not a and b', '(not a) and b'],
    ['not in a sum', 'not a + 1 == 2 or b', '(not ((a + 1) == 2)) or b'],
    ['?? before a comparison', 'a ?? 0 > 3', '(a ?? 0) > 3'],
    ['a chain to the left', 'a - b - c', '(a - b) - c'],
    ['times before plus', 'a + b * c', 'a + (b * c)'],
    ['or after and', 'a or b and c', 'a or (b and c)'],
    ['a sign', '-a.b * 2', '(-a.b) * 2'],
  ])('%s', (_name, text, meant) => {
    expect(parseLogic(text)).toEqual(parseLogic(meant));
  });

  it('parentheses keep what they group', () => {
    expect(parseLogic('(a and b) and c')).toEqual({ and: [{ and: [{ var: 'a' }, { var: 'b' }] }, { var: 'c' }] });
    expect(parseLogic('a and b and c')).toEqual({ and: [{ var: 'a' }, { var: 'b' }, { var: 'c' }] });
    expect(parseLogic('-(1)')).toEqual({ '-': [1] });
    expect(parseLogic('-1')).toBe(-1);
    expect(parseLogic('((x))')).toEqual({ var: 'x' });
  });

  it.each<[string, RegExp]>([
    ['', /column 1 of "": something is missing at the end/],
    ['a ==', /column 5 .*something is missing at the end/],
    ['a && b', /column 3 .*write "and" instead of "&&"/],
    ['a || b', /column 3 .*write "or" instead of "\|\|"/],
    ['!a', /column 1 .*write "not" instead of "!"/],
    ['a = 1', /column 3 .*write "==" to compare/],
    ['${a} == 1', /column 1 .*without "\$\{…\}"/],
    ['a ? b : c', /column 3 .*write if\(condition, then, else\)/],
    ["a == 'open", /column 6 .*this text is not closed/],
    ['a b', /column 3 .*"b" was not expected here; is an "and" or "or" missing\?/],
    ["a 'b'", /column 3 .*"'b'" was not expected here/],
    ['(a', /column 3 .*"\)" was expected, but the text ends/],
    ['a)', /column 2 .*"\)" was not expected here/],
    ['length(a', /column 9 .*"\)" was expected, but the text ends/],
    ['[1 2]', /column 4 .*"\]" was expected/],
    ['[1,]', /column 4 .*"\]" was not expected here/],
    ['a.', /column 3 .*a name must follow the dot/],
    ['a.5', /column 3 .*other keys are written \["…"\]/],
    ['a[b]', /column 3 .*an index or a quoted key/],
    ['a[-1]', /column 3 .*an index or a quoted key/],
    ['(a).b', /column 1 .*use get\(…, …\)/],
    ["'t'.length", /column 1 .*use get\(…, …\)/],
    ['1 < a > 2', /column 7 .*"<" and ">" cannot be chained/],
    ['a == b == c', /column 8 .*"==" and "==" cannot be chained/],
    ['nope(1)', /column 1 .*"nope" is not a function/],
    ['x and a.b(1)', /column 7 .*"a\.b" is not a function/],
    ['and(a)', /column 1 .*"and" is not a function/],
    ['length()', /column 1 .*"length" does not take 0 arguments/],
    ['a.constructor', /column 1 .*"constructor" is never data/],
    ["a == '\\u12'", /column 6 .*four hexadecimal digits/],
    ['a == é', /column 6 .*"é" is not part of the language/],
    ['a ==\n  b &&c', /line 2, column 5 [^]*write "and"/],
  ])('refuses %s', (text, message) => {
    expect(messageOf(text)).toMatch(message);
  });

  it.each<[string, string, RegExp]>([
    ['100 parentheses', '('.repeat(100), /column 65 .*nested deeper than 64/],
    ['100 times not', `${'not '.repeat(100)}a`, /nested deeper than 64/],
    ['20,001 characters', 'a'.repeat(20_001), /longer than 20000 characters/],
  ])('refuses %s', (_name, text, message) => {
    expect(messageOf(text)).toMatch(message);
  });

  it.each<[string, string]>([
    ['parentheses', '('.repeat(19_999)],
    ['brackets', 'a['.repeat(9_999)],
    ['backslashes', `'${'\\'.repeat(19_998)}`],
    ['quotes', "'".repeat(19_999)],
    ['dots', `a${'.a'.repeat(9_999)}`],
    ['minus signs', '-'.repeat(19_999)],
    ['a long sum', `a${'-a'.repeat(9_999)}`],
    ['a long and', `a${' and a'.repeat(3_000)}`],
    ['digits', '9'.repeat(19_999)],
    ['exponents', '1e'.repeat(9_999)],
    ['names', 'not'.repeat(6_600)],
    ['backticks', '`'.repeat(19_999)],
  ])('stays quick for 20,000 characters of %s', (_name, text) => {
    const started = process.cpuUsage();
    try {
      parseLogic(text);
    } catch (error) {
      expect(error).toBeInstanceOf(OpsError);
    }
    // 10 to 30 ms of the processor, in microseconds; backtracking would take minutes.
    expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
  });
});
