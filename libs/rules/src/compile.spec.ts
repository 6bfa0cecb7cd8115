import { OpsError, type Json } from '@opsloop/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { evaluateLogic, referenceLogic } from './evaluate.js';
import { toPlainJson, toScopeValue, type Scope } from './scope-value.js';
import { validateLogic } from './validate-logic.js';

const leaf = fc.constantFrom<Json>(
  ...[null, true, false, 0, 1, 2.5, -3, '', 'a', 'down', 'b/c'],
  ...[{ var: 'event.n' }, { var: 'event.s' }, { var: ['event.gone', 7] }, { var: 'event.list' }, { var: 'event.gone' }],
  ...[{ var: '' }, ['a', 'down'], [], { x: 1, y: 2 }, {}, { root: 'event.s' }],
);
const { logic } = fc.letrec<{ logic: Json }>((tie) => {
  const one = tie('logic');
  const call = (op: string, least: number, most = least): fc.Arbitrary<Json> =>
    fc.array(one, { minLength: least, maxLength: most }).map((args): Json => ({ [op]: args }));
  return {
    logic: fc.oneof(
      { maxDepth: 5, depthSize: 'medium' },
      { weight: 3, arbitrary: leaf },
      ...['and', 'or', 'if'].map((op) => call(op, 1, 4)),
      ...['==', '!=', '===', '<=', '>', 'in', 'startsWith', '??', '+'].map((op) => call(op, 2)),
      ...['!', '!!', 'length', 'lower', '*', 'cat', 'merge', 'max'].map((op) => call(op, 1)),
      ...['filter', 'map', 'all', 'some', 'none'].map((op) => call(op, 2)),
      fc.array(one, { maxLength: 3 }),
    ),
  };
});
const scope = toScopeValue({ event: { n: 2, s: 'down', list: [1, 'a', { n: 3 }, null] } }) as Scope;

function outcome(run: () => Json): unknown {
  try {
    return { value: run() };
  } catch (error) {
    return { error: error instanceof OpsError ? error.detail : String(error) };
  }
}

describe('compiled expressions', () => {
  it('give what json-logic-js gives of the same guarded form, or fail with the same words', () => {
    let values = 0;
    fc.assert(
      fc.property(logic, (made) => {
        if (validateLogic(made).length > 0) return;
        const compiled = outcome(() => evaluateLogic(made, scope)) as { value?: Json; error?: string };
        expect(compiled).toEqual(outcome(() => toPlainJson(referenceLogic(made, scope))));
        if ('value' in compiled) values += 1;
      }),
      { numRuns: 3_000 },
    );
    // Mistakes alone would prove little.
    expect(values).toBeGreaterThan(300);
  });

  it('cost the same steps: what is too much for one is too much for the other', () => {
    const many = toScopeValue({ event: { list: Array.from({ length: 40_000 }, (_, i) => i) } }) as Scope;
    const each: Json = {
      all: [{ var: 'event.list' }, { and: [{ '>=': [{ var: '' }, 0] }, { '<': [{ var: '' }, 1e9] }] }],
    };
    for (const run of [evaluateLogic, referenceLogic])
      expect(() => run(each, many)).toThrow(/takes more than 100000 steps/);
  });
});
