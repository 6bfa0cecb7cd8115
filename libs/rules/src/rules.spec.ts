import { OpsError, type Json } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import {
  evaluateCondition,
  evaluateLogic,
  explainCondition,
  parseLogic,
  printLogic,
  renderTemplate,
  templatePaths,
  toScopeValue,
  validateLogic,
  validateTemplate,
  type Scope,
} from './index.js';

const scope = toScopeValue({
  event: { data: { state: 'up', text: '${secrets.x}', n: 3, list: ['a', 'b'] }, time: '2026-01-01T00:00:00Z' },
  vars: { limit: 2, big: Array.from({ length: 300 }, (_, i) => i), none: null },
  resource: { labels: { 'a.b': 'dotted', rack: 'r1' } },
  flow: { now: '2026-01-01T00:01:00Z' },
}) as Scope;
const codeOf = (run: () => unknown): string => {
  try {
    return `no error: ${JSON.stringify(run())}`;
  } catch (error) {
    return error instanceof OpsError ? error.code : String(error);
  }
};

const deep = (depth: number): Json => (depth === 0 ? true : { '!': deep(depth - 1) });
const nest = (levels: number): Json => (levels === 0 ? 1 : { map: [{ root: 'vars.big' }, nest(levels - 1)] });
const doubling: Json = {
  reduce: [{ var: 'vars.big' }, { cat: [{ var: 'accumulator' }, { var: 'accumulator' }] }, 'xx'],
};
const listDoubling: Json = {
  reduce: [{ var: 'vars.big' }, { merge: [{ var: 'accumulator' }, { var: 'accumulator' }] }, [1, 2]],
};

describe('abuse fails closed', () => {
  it.each<[string, Json]>([
    ['two operators in one object', { '==': [1, 1], '!=': [1, 1] }],
    ['empty object', {}],
    ['unknown operator', { exec: ['ls'] }],
    ['log', { log: 'x' }],
    ['method', { method: [{ var: 'event' }, 'toString'] }],
    ['prototype operator', { constructor: [1] }],
    ['inherited operator', { toString: [] }],
    ['dotted operator', { 'var.constructor': ['x'] }],
    ['constructor path', { '!!': { var: 'constructor.constructor' } }],
    ['prototype path', { '!!': { var: 'event.__proto__' } }],
    ['computed prototype path', { '!!': { var: { cat: ['constr', 'uctor'] } } }],
    ['missing of a prototype', { '==': [{ missing: ['constructor'] }, []] }],
    ['null below a number', { '<': [{ var: 'vars.nope' }, 1] }],
    ['null above a number', { '>': [{ var: 'nope' }, -1] }],
    ['text and number ordered', { '<': ['a', 1] }],
    ['list ordered', { '>': [{ var: 'event.data.list' }, 0] }],
    ['boolean ordered', { '<=': [true, 1] }],
    ['mixed equality', { '==': [{ var: 'event.data.n' }, '3'] }],
    ['mixed inequality', { '!=': [{ var: 'event.data.n' }, '3'] }],
    ['sum with null', { '>': [{ '+': [{ var: 'nope' }, 5] }, 1] }],
    ['division by zero', { '==': [{ '/': [1, { '-': [1, 1] }] }, 1] }],
    ['infinite product', { '>': [{ '*': [1e308, 10] }, 1] }],
    ['wrong arity', { '==': [1] }],
    ['too many arguments', { '>': [3, 2, 1] }],
    ['truthy number', { var: 'event.data.n' }],
    ['truthy text', { var: 'event.data.state' }],
    ['null', { var: 'nope' }],
    ['text literal', 'true'],
    ['100 deep', deep(100)],
    ['2,001 nodes', { or: Array.from({ length: 2_001 }, () => false) }],
    ['nested maps of 300³', { '==': [{ length: nest(3) }, 300] }],
    ['text doubling', { '==': [doubling, 'x'] }],
    ['list doubling', { '==': [{ length: listDoubling }, 1] }],
    ['now outside a flow', { '==': [{ now: [] }, 'x'] }],
    ['bad range', { semver: ['1.0.0', 'not a range at all'] }],
    ['bad address', { ipInCidr: ['999.1.1.1', '10.0.0.0/8'] }],
  ])('%s', (name, logic) => {
    const started = process.cpuUsage();
    const seen = name === 'now outside a flow' ? ({} as Scope) : scope;
    expect(codeOf(() => evaluateCondition(logic, seen))).toBe('expression');
    // 20 ms; time of the processor, in microseconds, so that others on the machine do not count.
    expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
  });

  it('a 20,000 deep expression is an error, not a stack overflow', () => {
    let logic: Json = true;
    for (let i = 0; i < 20_000; i += 1) logic = { '!': logic };
    expect(codeOf(() => evaluateCondition(logic, scope))).toBe('expression');
  });

  it('data cannot become an expression, nor change', () => {
    const data = toScopeValue({ a: { log: 'x' }, list: [{ var: 'b' }], b: 1 }) as Scope;
    expect(evaluateLogic({ var: 'list' }, data)).toEqual([{ var: 'b' }]);
    expect(evaluateLogic({ get: [{ var: 'a' }, 'log'] }, data)).toBe('x');
    expect(() => ((data['a'] as Record<string, unknown>)['log'] = 1)).toThrow(TypeError);
  });
});

describe('functions and text form', () => {
  it.each<[string, Json]>([
    ["event.data.state == 'up' and not (event.data.n > 3)", true],
    ['1 < event.data.n < 5', true],
    ['resource.labels["a.b"] == \'dotted\'', true],
    ["'a' in event.data.list", true],
    ['vars.none ?? 7 > 3', true],
    ["length(filter(vars.big, var('') < root('vars.limit')))", 2],
    ['1 - 2 - 3', -4],
    ['2 + 3 * 4', 14],
    ['-(event.data.n)', -3],
    ["seconds('1m30s')", 90],
    ['seconds(now()) - seconds(event.time)', 60],
    ["semver('1.4.2', '^1.2')", true],
    ["ipInCidr('10.1.2.3', '10.0.0.0/8')", true],
    ['percentOf(1, 4)', 25],
    ['keys(resource.labels)', ['a.b', 'rack']],
    ["startsWith(lower('ABC'), 'ab') and endsWith('abc', 'bc')", true],
    ['ceil(1.2) + floor(1.8) + round(1.5)', 5],
  ])('%s', (text, result) => {
    const logic = parseLogic(text);
    expect(validateLogic(logic)).toEqual([]);
    expect(evaluateLogic(logic, scope)).toEqual(result);
    expect(parseLogic(printLogic(logic))).toEqual(logic);
  });

  it.each([
    'a &&b',
    'a = 1',
    '!a',
    '(a',
    "'open",
    'a b',
    'a < b > c',
    'nope(1)',
    '',
    '${a}',
    'a.constructor',
    'length()',
    '('.repeat(200),
  ])('refuses %s', (text) => {
    expect(codeOf(() => parseLogic(text))).toBe('expression');
  });

  it('explains by the deciding leaf', () => {
    expect(explainCondition(parseLogic("event.data.n == 3 and event.data.state == 'down'"), scope)).toEqual({
      result: false,
      text: "event.data.state == 'down' was 'up'",
      path: 'event.data.state',
      expected: 'down',
      actual: 'up',
    });
    expect(explainCondition(parseLogic("event.data.state == 'up' or event.data.n == 9"), scope).text).toBe(
      "event.data.state == 'up' was 'up'",
    );
  });
});

describe('templates', () => {
  it.each<[string, Json, Json]>([
    ['whole string keeps the type', '${event.data.list}', ['a', 'b']],
    ['mixed is text', 'n=${event.data.n}!', 'n=3!'],
    ['forced text', '${event.data.n|string}', '3'],
    ['escaped', 'a $${b} ${event.data.n}', 'a ${b} 3'],
    ['optional', '${nope.x?}', null],
    ['any key', '${resource.labels["a.b"]}', 'dotted'],
    ['index', '${event.data.list[1]}', 'b'],
    ['logic', { x: { $logic: { '+': [1, { var: 'vars.limit' }] } } }, { x: 3 }],
    ['literal', { $literal: { a: '${x}' } }, { a: '${x}' }],
    ['operators are data', { '>': [1, 2], replicas: 3 }, { '>': [1, 2], replicas: 3 }],
    ['never twice', '${event.data.text}', '${secrets.x}'],
    ['never twice, mixed', 'is ${event.data.text}', 'is ${secrets.x}'],
  ])('%s', (_, template, result) => {
    expect(validateTemplate(template)).toEqual([]);
    expect(renderTemplate(template, scope)).toEqual(result);
  });

  it.each<[string, Json]>([
    ['missing', '${nope}'],
    ['missing below null', '${vars.none.x}'],
    ['object in text', 'x ${event.data}'],
    ['not closed', 'x ${a'],
    ['operator', '${a + 1}'],
    ['prototype', '${event.constructor}'],
    ['length is no member', '${event.data.list.length}'],
  ])('%s is an error', (_, template) => {
    expect(codeOf(() => renderTemplate(template, scope))).toBe('expression');
  });

  it('keeps secrets as references and names the paths that it reads', () => {
    const names = { secrets: toScopeValue({ t: { $secret: 't' } }) };
    expect(renderTemplate({ token: '${secrets.t}' }, names)).toEqual({ token: { $secret: 't' } });
    expect(
      templatePaths({
        a: '${secrets.t} ${b["c d"]?}',
        c: { $logic: { filter: [{ var: 'x.y' }, { '==': [{ var: 'item' }, { root: 'z' }] }] } },
      }),
    ).toEqual(['secrets.t', 'b["c d"]', 'x.y', 'z']);
  });
});
