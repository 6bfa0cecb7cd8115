import { pathProblem, type AtomDocument, type FlowDocument, type Step } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import {
  bundledAtoms,
  compileFlow,
  computeLimit,
  computeLocks,
  computeTargets,
  flowOfAtom,
  flowPerTarget,
  isSafePattern,
  limitKeyOf,
  parseRef,
  validateInput,
} from './index.js';

const flow = (name: string, steps: Step[], more: Partial<FlowDocument> = {}): FlowDocument => ({
  dsl: 'opsloop/v1',
  kind: 'flow',
  name,
  version: '1.0.0',
  do: steps,
  ...more,
});
const resolver =
  (flows: FlowDocument[]) =>
  (ref: string, kind: 'flow' | 'atom'): FlowDocument | AtomDocument | undefined =>
    (kind === 'flow' ? flows : bundledAtoms).find((d) => d.name === parseRef(ref).name);

describe('compileFlow', () => {
  it('pins atoms and flows as they are written, wherever they stand', () => {
    const inner = flow('a/inner', [{ id: 'p', call: 'probe.http@1', with: { url: 'http://x' } }]);
    const outer = flow('a/outer', [
      {
        id: 't',
        try: [{ id: 'r', run: 'a/inner@1' }],
        finally: [{ id: 'n', if: 'true == true', call: 'script.run@1' }],
      },
    ]);
    const { compiled, findings } = compileFlow(outer, resolver([inner]));
    expect(findings).toEqual([]);
    expect(Object.keys(compiled!.atoms)).toEqual(['script.run@1']);
    expect(compiled!.flows['a/inner@1']!.atoms['probe.http@1']).toMatchObject({
      version: '1.0.0',
      effect: 'read',
      activity: 'probe.http',
    });
    expect((compiled!.flow.do[0] as { finally: Step[] }).finally[0]!.if).toEqual({ '==': [true, true] });
  });

  it('notes what a flow waits for from outside, sub-flows included', () => {
    const waiting = flow('a/waiting', [
      { id: 'ok', approval: { title: 'sure?', approvers: {} } },
      { id: 'w', waitForEvent: { any: [{ type: 'x.up' }, { type: 'x.*' }], timeout: '1m' } },
      {
        id: 'r',
        reconcile: { goal: true, deadline: '1m', wakeOn: [{ type: 'x.up' }, { type: 'y' }] },
        observe: { id: 'look', call: 'probe.http@1', with: { url: 'http://x' } },
      },
    ] as Step[]);
    const { compiled } = compileFlow(waiting, resolver([]));
    expect([compiled!.waitsFor, compiled!.asks]).toEqual([['x.*', 'x.up', 'y'], true]);
    const outer = compileFlow(flow('a/outer', [{ id: 'sub', run: 'a/waiting@1' }]), resolver([waiting])).compiled!;
    expect([outer.waitsFor, outer.asks]).toEqual([['x.*', 'x.up', 'y'], true]);
    expect(flowPerTarget(outer)).toMatchObject({ waitsFor: ['x.*', 'x.up', 'y'], asks: true });
    const plain = compileFlow(flow('a/plain', [{ id: 's', set: { a: 1 } }]), resolver([])).compiled!;
    expect('waitsFor' in plain || 'asks' in plain).toBe(false);
  });

  it('reports every reference that leads nowhere, with its place', () => {
    const { compiled, findings } = compileFlow(
      flow('a/x', [
        { id: 'a', call: 'no.atom@1' },
        { id: 'b', do: [{ id: 'c', run: 'no/flow@2' }] },
      ]),
      resolver([]),
    );
    expect(compiled).toBeUndefined();
    expect(findings.map(({ code, pointer, step }) => ({ code, pointer, step }))).toEqual([
      { code: 'OPS1010', pointer: '/do/0/call', step: 'a' },
      { code: 'OPS1011', pointer: '/do/1/do/0/run', step: 'c' },
    ]);
  });

  it('refuses recursion over any number of flows', () => {
    const a = flow('a/a', [{ id: 'x', run: 'a/b@1' }]);
    const b = flow('a/b', [{ id: 'y', run: 'a/a@1' }]);
    expect(compileFlow(a, resolver([a, b])).findings).toMatchObject([
      { code: 'OPS1012', pointer: '/do/0/run', message: expect.stringContaining('a/a → a/b → a/a') as string },
    ]);
  });

  it('wraps an atom, and walks targets with a compiled flow', () => {
    const { compiled } = compileFlow(flowOfAtom(bundledAtoms[0]!), resolver([]));
    const walk = flowPerTarget(compiled!, { pause: '1s', tolerate: { failures: 2 } });
    expect(walk.flow.do[0]).toMatchObject({
      forEach: { key: '${item.path}', batch: { pause: '1s' }, tolerate: { failures: 2 } },
      do: [{ run: 'atom/http.request@1.0.0' }],
    });
    expect(walk.flows['atom/http.request@1.0.0']).toBe(compiled);
  });
});

describe('targets and locks', () => {
  const doc = flow('a/x', [], {
    targets: ['${input.hosts}', 'cluster/${config.c.name}'],
    locks: [{ path: 'service/${input.s}', mode: 'shared' }],
  });

  it('come from the input and the configs', () => {
    expect(computeTargets(doc, { hosts: ['host/a', 'host/b', 'host/a'] }, { c: { name: 'k' } })).toEqual([
      'host/a',
      'host/b',
      'cluster/k',
    ]);
    expect(computeLocks(doc, { s: 'pay' }, {})).toEqual([{ path: 'service/pay', mode: 'shared' }]);
  });

  it.each([
    ['fleet', 'fleet'],
    ['rack/7', 'rack%2F7'],
    ['50% of a', '50%25 of a'],
    ['..', '%2E%2E'],
    [7, '7'],
  ])('of the limit %j is on the path …/%s', (by, key) => {
    const one = flow('a/x', [], { limit: { runs: 1, by: '${input.by}' } });
    const { claim } = computeLimit(one, { by }, {})!;
    expect(claim).toEqual({ path: `limit/a/x/${key}`, mode: 'exclusive' });
    expect(limitKeyOf(claim.path)).toBe(String(by));
  });

  it('of long limits differ where the texts do', () => {
    const one = flow('a/x', [], { limit: { runs: 1, by: '${input.by}' } });
    const paths = ['a', 'b'].map((end) => computeLimit(one, { by: 'ü'.repeat(400) + end }, {})!.claim.path);
    expect(new Set(paths).size).toBe(2);
    for (const path of paths) expect(pathProblem(path)).toBeUndefined();
  });

  it('refuse a limit that cannot be held', () => {
    const of = (limit: FlowDocument['limit'], input = {}) =>
      computeLimit(flow('a/x', [], { limit: limit! }), input, {});
    expect(of({ runs: 2, by: 'x' })).toEqual({ claim: { path: 'limit/a/x/x', mode: 'shared' }, runs: 2 });
    expect(() => of({ runs: 1, by: '${input.by?}' })).toThrow(/limit\/by of the flow gives null/);
    expect(() => of({ runs: 1, by: '${input.by}' }, { by: ['a'] })).toThrow(/a text or a number/);
  });

  it('refuse what is no path', () => {
    expect(() => computeTargets(doc, { hosts: ['host/../b'] }, { c: { name: 'k' } })).toThrow(/part "." or ".."/);
    expect(() => computeTargets(doc, { hosts: [3] }, { c: { name: 'k' } })).toThrow(/resource path is needed/);
  });
});

describe('schemas of users', () => {
  it('fill in defaults and leave the input alone', () => {
    const input = { a: 1 };
    const schema = {
      type: 'object',
      required: ['a'],
      properties: { a: { type: 'integer' }, n: { type: 'integer', default: 5 } },
    };
    expect(validateInput(schema, input)).toEqual({ errors: [], value: { a: 1, n: 5 } });
    expect(input).toEqual({ a: 1 });
    expect(validateInput(schema, { a: 'x' }).errors).toEqual([{ pointer: '/a', message: 'must be integer' }]);
    expect(validateInput(schema, undefined).errors).toEqual([{ pointer: '/a', message: 'is required' }]);
  });

  it.each(['^(a+)+$', '(a|a)*$', '(a*)*', '(.*)x(.*)y(.*)z', '(?=a)b', '(a)\\1', '[', '^(([a-z])+.)+$', '(a|b|ab)+c'])(
    'refuses %s',
    (pattern) => {
      expect(isSafePattern(pattern)).toBe(false);
    },
  );

  it.each(['^[a-z0-9-]+$', '^\\d{1,3}%$', '^host/.+', '^(up|down)$', '^v\\d+\\.\\d+$'])('accepts %s', (pattern) => {
    expect(isSafePattern(pattern)).toBe(true);
  });
});
