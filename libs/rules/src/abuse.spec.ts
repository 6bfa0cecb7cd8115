import { OpsError, type Json } from '@opsloop/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  evaluateCondition,
  evaluateLogic,
  OPERATORS,
  parseLogic,
  renderTemplate,
  toScopeValue,
  validateLogic,
  type Scope,
} from './index.js';

/** What sandboxes of expression languages were left by; here as text forms, templates, paths and operators. */
const PAYLOADS = [
  'process',
  'process.env',
  "process.mainModule.require('child_process').execSync('id')",
  'globalThis.process',
  'global.process.exit()',
  'require("fs")',
  "import('node:fs')",
  'this.constructor.constructor("return process")()',
  "constructor.constructor('return this')()",
  '[].constructor.constructor("return process")()',
  "''.constructor.fromCharCode(1)",
  '(function(){return this})()',
  '(() => process)()',
  'Function("return process")()',
  'new Function("return 1")()',
  'eval("1")',
  'Reflect.construct(Function, ["return process"])()',
  'Object.getPrototypeOf(a)',
  'Object.prototype.polluted = 1',
  '__proto__.polluted',
  'a.__proto__',
  'a["__proto__"]',
  'a["constructor"]["prototype"]',
  "a['cons' + 'tructor']",
  'a.constructor.prototype.x',
  'a?.constructor',
  '`${process.env}`',
  '${process.env}',
  '{{ process.env }}',
  '#{process.env}',
  '<%= process.env %>',
  '{% raw %}',
  '$json.constructor',
  '$node["x"].json',
  '$env.SECRET',
  'WebAssembly.instantiate(a)',
  'new WebAssembly.Module(a)',
  'Error.prepareStackTrace = (e, s) => s[0].getThis()',
  'Promise.resolve().constructor',
  'new Proxy({}, {})',
  'Symbol.for("x")',
  'async () => 1',
  'function* g(){}',
  'a; process.exit()',
  'a, process',
  'a = 1',
  'a += 1',
  'a++',
  'delete a.b',
  'typeof process',
  'void 0',
  'a instanceof Object',
  'with (process) env',
  'while(true){}',
  '/(a+)+$/.test("a")',
  'a.match(/x/)',
  "'a'.repeat(1e9)",
  "a.replace('x', process)",
  'toString()',
  'valueOf.call(process)',
  'hasOwnProperty("a")',
  'log("x")',
  'method(a, "toString")',
  'apply(a)',
  '`log`("x")',
  '`constructor`(1)',
  '`__proto__`(1)',
  '\\u0063onstructor',
  'a["\\u005f_proto__"]',
];
const data = {
  a: { b: 1, x: '${process.env}' },
  text: '{{ process.env }} ${a.b} a.b == 1',
  list: [1, { '==': [1, 1] }],
  __proto__x: 1,
};
const scope = toScopeValue(data) as Scope;
const fingerprint = (): string =>
  JSON.stringify(
    [Object.prototype, Array.prototype, Function.prototype, String.prototype].map(Object.getOwnPropertyNames),
  );
const before = fingerprint();

function outcome(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    expect(error).toBeInstanceOf(OpsError);
    expect((error as OpsError).code).toBe('expression');
    return undefined;
  }
}

describe('payloads that opened other sandboxes', () => {
  it(`reach nothing: ${PAYLOADS.length} as text, template, path and operator`, () => {
    expect(PAYLOADS.length).toBeGreaterThanOrEqual(60);
    for (const payload of PAYLOADS) {
      const asText = outcome(() => evaluateLogic(parseLogic(payload), scope));
      // A text that parses at all is a path that is not there, or plain data.
      expect(asText === undefined || asText === null, payload).toBe(true);
      const asTemplate = outcome(() => renderTemplate(`\${${payload}}`, scope));
      expect(asTemplate === undefined || asTemplate === null, payload).toBe(true);
      expect(outcome(() => evaluateLogic({ var: payload }, scope)) ?? null, payload).toBeNull();
      expect(outcome(() => evaluateLogic({ root: payload }, scope)) ?? null, payload).toBeNull();
      expect(outcome(() => evaluateLogic({ get: [{ var: '' }, payload] }, scope)) ?? null, payload).toBeNull();
      expect(
        outcome(() => evaluateLogic({ [payload]: [1] }, scope)),
        payload,
      ).toBeUndefined();
      expect(
        outcome(() => evaluateCondition({ var: payload }, scope)),
        payload,
      ).toBeUndefined();
      // As data it stays what it is, wherever it goes through.
      const event = toScopeValue({ data: payload, list: [payload] }) as Scope;
      expect(renderTemplate({ copy: '${data}', mixed: '<${data}>' }, event)).toEqual({
        copy: payload,
        mixed: `<${payload}>`,
      });
      expect(evaluateLogic({ map: [{ var: 'list' }, { var: '' }] }, event)).toEqual([payload]);
    }
    expect(fingerprint()).toBe(before);
  });
});

describe('names that lead to a prototype', () => {
  const bad = ['__proto__', 'constructor', 'prototype'];

  it('are refused in paths, operators, keys and templates; as data they are ordinary members', () => {
    for (const name of bad) {
      expect(validateLogic({ var: `a.${name}` })).not.toEqual([]);
      expect(validateLogic({ var: `a["${name}"]` })).not.toEqual([]);
      expect(validateLogic(JSON.parse(`{"${name}":[1]}`) as Json)).not.toEqual([]);
      expect(outcome(() => renderTemplate(JSON.parse(`{"${name}":"x"}`) as Json, scope))).toBeUndefined();
      const hostile = toScopeValue(JSON.parse(`{"m":{"${name}":{"polluted":true}}}`)) as Scope;
      const copy = renderTemplate({ m: '${m}' }, hostile) as { m: object };
      expect(Object.hasOwn(copy.m, name)).toBe(true);
      expect(Object.getPrototypeOf(copy.m)).toBe(Object.prototype);
      expect(evaluateLogic({ keys: { var: 'm' } }, hostile)).toEqual([name]);
    }
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(fingerprint()).toBe(before);
  });

  it('random expressions of random operators over hostile data neither pollute nor hang', () => {
    const word = fc.constantFrom(...bad, 'a', 'a.b', 'list', 'text', '', 'toString', 'length', '0');
    const { logic } = fc.letrec<{ logic: Json }>((tie) => ({
      logic: fc.oneof(
        { maxDepth: 6 },
        fc.oneof(word, fc.integer(), fc.boolean(), fc.constant(null), fc.constant({} as Json)),
        fc.array(tie('logic'), { maxLength: 3 }),
        fc
          .tuple(
            fc.constantFrom(...OPERATORS.keys(), ...bad, 'log', 'method'),
            fc.array(tie('logic'), { maxLength: 4 }),
          )
          .map(([op, args]) => JSON.parse(JSON.stringify({ x: args }).replace('"x"', JSON.stringify(op))) as Json),
        tie('logic').map((inner) => ({ a: inner, b: inner }) as Json),
      ) as fc.Arbitrary<Json>,
    }));
    fc.assert(
      fc.property(logic, (x) => {
        const started = process.cpuUsage();
        const result = outcome(() => evaluateLogic(x, scope));
        expect(typeof result).not.toBe('function');
        expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
        if (validateLogic(x).length > 0) expect(result).toBeUndefined();
        const condition = outcome(() => evaluateCondition(x, scope));
        expect(condition === undefined || typeof condition === 'boolean').toBe(true);
      }),
      { numRuns: 2_000 },
    );
    expect(fingerprint()).toBe(before);
    expect(JSON.stringify(data)).toContain('process.env');
  });
});

describe('values', () => {
  it('are never evaluated twice, whatever they look like', () => {
    const hostile = toScopeValue({
      template: '${a.b}',
      logic: { '==': [1, 1] },
      marker: { $logic: { '+': [1, 1] } },
      literal: { $literal: 1 },
      secret: { $secret: 'admin' },
    }) as Scope;
    for (const name of ['template', 'logic', 'marker', 'literal', 'secret']) {
      const value = JSON.parse(JSON.stringify(hostile[name])) as Json;
      expect(renderTemplate(`\${${name}}`, hostile)).toEqual(value);
      expect(renderTemplate({ $logic: { var: name } }, hostile)).toEqual(value);
      expect(evaluateLogic({ if: [true, { var: name }, null] }, hostile)).toEqual(value);
      expect(evaluateLogic({ map: [[{ var: name }], { var: '' }] }, hostile)).toEqual([value]);
      expect(evaluateLogic({ reduce: [[{ var: name }], { var: 'current' }, null] }, hostile)).toEqual(value);
    }
  });
});
