import type { JsonObject } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { good, plantedOthers } from '../../test/planted-others.js';
import { world } from '../../test/planted-world.js';
import { FINDINGS, validateTogether } from '../index.js';

const findingsOf = (body: unknown) => validateTogether([body], world)[0]!.findings;

describe('mistakes in other documents', () => {
  it.each(Object.keys(good))('are not found where none is planted: %s', (base) => {
    expect(findingsOf(good[base]!())).toEqual([]);
  });

  it.each(plantedOthers)('$base: $name is $code at $pointer', ({ base, code, pointer, spoil }) => {
    const doc = good[base]!();
    spoil(doc);
    const findings = findingsOf(doc);
    const expected = findings.find((one) => one.code === code && one.pointer === pointer);
    expect(expected, JSON.stringify(findings, null, 1)).toBeDefined();
    expect(expected!.severity).toBe(FINDINGS[code]!.severity);
    expect(expected!.hint ?? '').not.toBe('');
    expect(findings.filter((one) => one.severity === 'error' && one !== expected)).toEqual([]);
  });
});

describe('documents together', () => {
  const flow = (name: string, version: string, more: JsonObject = {}): JsonObject => ({
    ...{ dsl: 'opsloop/v1', kind: 'flow', name, version },
    do: [{ id: 'w', wait: { for: '1s' } }],
    ...more,
  });

  it('see each other, the newest version in range first, then what is around', () => {
    const caller = flow('a/caller', '1.0.0', { do: [{ id: 'r', run: 'a/inner@1', with: { n: 1 } }] });
    const input = (type: string): JsonObject => ({
      input: { schema: { type: 'object', properties: { n: { type } } } },
    });
    const codes = (...documents: JsonObject[]) =>
      validateTogether([caller, ...documents], { complete: true })[0]!.findings.map(({ code }) => code);
    expect(codes()).toEqual(['OPS1011']);
    expect(codes(flow('a/inner', '1.0.0', input('integer')))).toEqual([]);
    expect(codes(flow('a/inner', '1.0.0', input('integer')), flow('a/inner', '1.1.0', input('string')))).toEqual([
      'OPS1608',
    ]);
    expect(codes(flow('a/inner', '2.0.0'))).toEqual(['OPS1011']);
    // One that is broken is there; whoever refers to it is not to blame.
    expect(codes(flow('a/inner', '1.0.0', { surprise: 1 }))).toEqual([]);
  });

  it('say of a circle of flows where it is', () => {
    const run = (name: string, other: string): JsonObject =>
      flow(name, '1.0.0', { do: [{ id: 'r', run: `${other}@1` }] });
    const [first] = validateTogether([run('a/x', 'a/y'), run('a/y', 'a/x')], { complete: true });
    expect(first!.findings).toMatchObject([{ code: 'OPS1012', pointer: '/do/0/run', step: 'r' }]);
  });

  it('say which rule would start a flow by its own event', () => {
    const rule: JsonObject = {
      ...{ dsl: 'opsloop/v1', kind: 'rule', name: 'a/again', version: '1.0.0', on: [{ type: 'a.*' }] },
      branches: [{ id: 'b', ladder: [{ id: 'r', run: 'a/emits@1' }] }],
    };
    const emits = flow('a/emits', '1.0.0', { do: [{ id: 'e', emit: { type: 'a.done' } }] });
    expect(validateTogether([emits, rule], {})[0]!.findings).toMatchObject([
      { code: 'OPS1924', pointer: '/do/0/emit/type' },
    ]);
  });

  it.each<[JsonObject, JsonObject, boolean]>([
    [{ data: { state: 'full' } }, { data: { state: 'clean' } }, false],
    [{ data: { state: 'full' } }, { data: { state: 'full' } }, true],
    [{ data: { state: 'full' } }, { data: { state: '${input.state}' } }, true],
    [{ data: { state: 'full' } }, { data: '${input.data}' }, true],
    [{ data: { state: 'full' } }, {}, false],
    [{ data: { state: ['full', 'clean'] } }, { data: { state: 'clean', at: 1 } }, true],
    [{ data: { disk: { state: 'full' } } }, { data: { disk: { state: 'clean' } } }, false],
    [{ subject: 'disk/*' }, { subject: 'host/a' }, false],
    [{ subject: 'disk/*' }, { subject: '${input.disk}' }, true],
  ])('see by plain texts whether the rule on %j answers %j: %j', (on, emit, answers) => {
    const rule: JsonObject = {
      ...{ dsl: 'opsloop/v1', kind: 'rule', name: 'a/again', version: '1.0.0', on: [{ type: 'a.done', ...on }] },
      branches: [{ id: 'b', ladder: [{ id: 'r', run: 'a/emits@1' }] }],
    };
    const emits = flow('a/emits', '1.0.0', { do: [{ id: 'e', emit: { type: 'a.done', ...emit } }] });
    const codes = validateTogether([emits, rule], {})[0]!.findings.map((one) => one.code);
    expect(codes.includes('OPS1924')).toBe(answers);
  });
});
