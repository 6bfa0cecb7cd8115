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

  it('say which versions are there of what is asked for in another one', () => {
    const outer = flow('a/outer', '1.0.0', { do: [{ id: 'r', run: 'a/inner@2' }] });
    const { findings } = validateTogether([outer, flow('a/inner', '1.3.0')], { complete: true })[0]!;
    expect(findings).toMatchObject([
      {
        message: 'no published flow answers to "a/inner@2"; there is 1.3.0',
        hint: 'write a range that fits: a/inner@1',
      },
    ]);
  });

  it('say of a circle of flows where it is', () => {
    const run = (name: string, other: string): JsonObject =>
      flow(name, '1.0.0', { do: [{ id: 'r', run: `${other}@1` }] });
    const [first] = validateTogether([run('a/x', 'a/y'), run('a/y', 'a/x')], { complete: true });
    expect(first!.findings).toMatchObject([{ code: 'OPS1012', pointer: '/do/0/run', step: 'r' }]);
  });

  const environment = (values: JsonObject): JsonObject => ({
    ...{ dsl: 'opsloop/v1', kind: 'config', name: 'environment', values },
  });

  it('hold a flow against the limits of the environment', () => {
    const atom: JsonObject = {
      ...{ dsl: 'opsloop/v1', kind: 'atom', name: 'a.act', version: '1.0.0', effect: 'mutate' },
      ...{ idempotency: 'native', http: { method: 'POST', url: 'http://a' }, timeout: { startToClose: '10s' } },
    };
    const each = { forEach: { in: ['x', 'y', 'z'], as: 'x', concurrency: 3, batch: { size: 3 } } };
    const wide = flow('a/wide', '1.0.0', { do: [{ id: 'e', ...each, do: [{ id: 'c', call: 'a.act@1' }] }] });
    const found = (values: JsonObject) =>
      validateTogether([wide, atom, environment(values)])[0]!
        .findings.filter(({ code }) => code === 'OPS1807')
        .map(({ pointer, message }) => `${pointer} ${message}`);
    expect(found({ maxInFlight: 3, maxTargets: 3, note: 'prod' })).toEqual([]);
    expect(found({ maxInFlight: 2, maxTargets: 2 })).toEqual([
      '/do/0/forEach/concurrency 3 targets in flight; the environment allows 2',
      '/do/0/forEach/in up to 3 targets; the environment allows 2',
    ]);
  });

  it('say which event nobody sends, where the environment names all that come from outside', () => {
    const one = (type: string): JsonObject =>
      flow('a/waits', '1.0.0', { do: [{ id: 'w', waitForEvent: { one: { type, subject: 'a' }, timeout: '1m' } }] });
    const rule = (type: string): JsonObject => ({
      ...{ dsl: 'opsloop/v1', kind: 'rule', name: 'a/on', version: '1.0.0', on: [{ type }] },
      branches: [{ id: 'b', ladder: [{ id: 'r', run: 'a/emits@1' }] }],
    });
    const emits = flow('a/emits', '1.0.0', { do: [{ id: 'e', emit: { type: 'a.done' } }] });
    const source: JsonObject = {
      ...{ dsl: 'opsloop/v1', kind: 'source', name: 'ci', type: 'generic', auth: { type: 'none' } },
      mapping: { id: '${body.id}', type: 'ci.job.done' },
    };
    const unsent = (document: JsonObject, ...around: JsonObject[]) =>
      validateTogether([document, emits, source, ...around])[0]!
        .findings.filter(({ code }) => code === 'OPS1923')
        .map(({ pointer, hint }) => [pointer, hint]);
    const declared = environment({ eventTypes: ['node.ready', 'alert.*'] });
    expect(unsent(one('node.redy'))).toEqual([]);
    expect(unsent(one('node.redy'), declared)).toEqual([['/do/0/waitForEvent/one/type', 'did you mean "node.ready"?']]);
    expect(unsent(rule('a.dne'), declared)).toEqual([['/on/0/type', 'did you mean "a.done"?']]);
    for (const type of ['node.ready', 'alert.disk', 'a.done', 'ci.job.done', 'source.stale', 'opsloop.run.closed'])
      expect(unsent(rule(type), declared), type).toEqual([]);
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
