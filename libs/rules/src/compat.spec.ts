import { existsSync, readFileSync } from 'node:fs';
import { OpsError, type Json } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { canonicalLogic, evaluateLogic, parseLogic, printLogic, toScopeValue, type Scope } from './index.js';

/**
 * The official JSONLogic test set (https://jsonlogic.com/tests.json), which is not part of this repository: named by
 * JSONLOGIC_TESTS, or lying beside the checkout.
 */
const file =
  process.env['JSONLOGIC_TESTS'] ?? new URL('../../../../shared/data/jsonlogic/tests.json', import.meta.url).pathname;
const cases = existsSync(file)
  ? (JSON.parse(readFileSync(file, 'utf8')) as unknown[]).filter(Array.isArray).map((c) => c as [Json, Json, Json])
  : [];

const codeOf = (run: () => Json): string => {
  try {
    return `no error: ${JSON.stringify(run())}`;
  } catch (error) {
    return error instanceof OpsError ? error.code : String(error);
  }
};

describe('the official JSONLogic test set', () => {
  it('is here, or it is said that it is not', () => {
    if (existsSync(file)) return expect(cases).toHaveLength(277);
    console.warn(
      `\n!!! NOT RUN: the 277 official JSONLogic tests; ${file} is not there.\n!!! Set JSONLOGIC_TESTS to a copy of https://jsonlogic.com/tests.json\n`,
    );
    expect(process.env['JSONLOGIC_TESTS'], 'names a file that is not there').toBeUndefined();
  });

  it('passes as a whole in compat mode', () => {
    const failed = cases.filter(([logic, data, result]) => {
      const said = codeOf(() => evaluateLogic(logic, toScopeValue(data) as Scope, 'compat'));
      return said !== `no error: ${JSON.stringify(result)}`;
    });
    expect(failed).toEqual([]);
  });

  it('gives the same in strict mode, or an error: never something else', () => {
    const refused = cases.filter(([logic, data, result]) => {
      const said = codeOf(() => evaluateLogic(logic, toScopeValue(data) as Scope));
      if (said === 'expression') return true;
      expect(said, JSON.stringify(logic)).toBe(`no error: ${JSON.stringify(result)}`);
      return false;
    });
    // Texts that are compared or calculated with numbers, and nothing else.
    for (const [logic] of refused)
      expect(JSON.stringify(logic)).toMatch(/^\{"(==|!=|>|>=|<|<=|\+|\*|-|\/)":\[("\d+",\d+|\d+,"\d+")\]\}$/);
    expect(refused.length).toBeLessThan(20);
  });

  it('prints as text that means the same', () => {
    for (const [logic] of cases) expect(parseLogic(printLogic(logic))).toEqual(canonicalLogic(logic));
  });
});

describe('compat mode', () => {
  const scope = toScopeValue({ a: { b: 1 }, list: ['x'], big: Array.from({ length: 300 }, (_, i) => i) }) as Scope;

  it.each<[string, Json, Json]>([
    ['a text equals its number', { '==': [1, '1'] }, true],
    ['a text is added', { '+': ['3', 4] }, 7],
    ['a number orders with a text', { '<': ['1', 2] }, true],
    ['a chain', { '<': [1, '2', 3] }, true],
    ['missing data is null', { var: 'nope.x' }, null],
    ['null is below 1, which strict mode refuses', { '<': [null, 1] }, true],
  ])('%s', (_name, logic, result) => {
    expect(evaluateLogic(logic, scope, 'compat')).toEqual(result);
  });

  it.each<[string, Json]>([
    ['two operators', { '==': [1, 1], '!=': [1, 1] }],
    ['log', { log: 'x' }],
    ['method', { method: ['x', 'toString'] }],
    ['an inherited operator', { toString: [] }],
    ['a dotted operator', { 'var.constructor': ['x'] }],
    ['a prototype path', { var: 'constructor.constructor' }],
    ['a computed prototype path', { var: { cat: ['__pro', 'to__'] } }],
    ['an object as a text', { cat: [{ var: 'a' }] }],
    ['not a number', { '-': ['x', 1] }],
    ['division by 0', { '/': [1, { '-': [1, 1] }] }],
    ['300³ turns', { map: [{ var: 'big' }, { map: [{ root: 'big' }, { map: [{ root: 'big' }, 1] }] }] }],
    ['doubling', { reduce: [{ var: 'big' }, { cat: [{ var: 'accumulator' }, { var: 'accumulator' }] }, 'xx'] }],
  ])('is as closed as strict mode: %s', (_name, logic) => {
    expect(codeOf(() => evaluateLogic(logic, scope, 'compat'))).toBe('expression');
  });
});
