import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { AtomDocument, FlowDocument, JsonObject, RunView, Step } from '@opsloop/contracts';
import { interpreterSandbox } from '../sandbox-cache.js';
import type { Sandbox } from '../virtual/sandbox.js';
import { CoverageOf, branchesOf } from './coverage.pure.js';
import { listDifferences, valueDifferences } from './differences.pure.js';
import type { FlowTest } from './flowtest.js';
import { junitOf } from './junit.pure.js';
import { namesPath } from './paths.pure.js';
import { type Played, playTest } from './play.js';
import { recordTest } from './record.pure.js';
import { libraryOf } from './resolve.pure.js';

let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await interpreterSandbox(join(tmpdir(), 'opsloop-flowtest-spec'));
});

const atom = (name: string, more: Partial<AtomDocument> = {}): AtomDocument => ({
  dsl: 'opsloop/v1',
  kind: 'atom',
  name,
  version: '1.0.0',
  effect: 'mutate',
  idempotency: 'native',
  timeout: { startToClose: '10m' },
  ...more,
});
const ATOMS = [
  atom('svc.restart', {
    output: { schema: { type: 'object', required: ['exitCode'], properties: { exitCode: { type: 'integer' } } } },
    compensate: { call: 'svc.restore@1', with: { host: '${input.host}' } },
    retry: { initialInterval: '1s', maximumAttempts: 3 },
  }),
  atom('svc.restore'),
  atom('svc.status', { effect: 'read', examples: [{ input: {}, output: { up: true } }] }),
  atom('svc.copy', { job: { poll: { every: '10s' } }, worker: { queue: 'copy', activity: 'svc.copy' } }),
];
const restart: Step = { id: 'restart', call: 'svc.restart@1', with: { host: '${input.host}' } };
const ok = { result: { exitCode: 0 } };

function play(steps: Step[], test: Partial<FlowTest>, flow: Partial<FlowDocument> = {}): Played {
  const document = { dsl: 'opsloop/v1', kind: 'flow', name: 'fleet/one', version: '1.2.3', do: steps, ...flow };
  const library = libraryOf([
    { kind: 'flow', document: document as unknown as JsonObject },
    ...ATOMS.map((one) => ({ kind: 'atom', document: one as unknown as JsonObject })),
  ]);
  const whole: FlowTest = { dsl: 'opsloop/v1', kind: 'flowtest', name: 't', flow: 'fleet/one@1', expect: {}, ...test };
  return playTest(sandbox, { input: { host: 'host/a' }, ...whole }, library);
}
const said = (played: Played): string[] =>
  played.mismatches.flatMap(({ of, message, lines }) => [`${of}: ${message}`, ...lines]);

describe('a flow test', () => {
  it('passes when everything is as expected, with a day of waits in no time', () => {
    const started = process.cpuUsage();
    const played = play([restart, { id: 'rest', wait: { for: '24h' } }, { id: 'probe', call: 'svc.status@1' }], {
      mocks: { restart: [{ problem: { type: 'communication' } }, { ...ok, delay: '5s' }] },
      expect: {
        status: 'succeeded',
        path: ['restart', 'rest', 'probe'],
        calls: [{ step: 'restart', atom: 'svc.restart', with: { host: 'host/a' }, attempts: 2 }, 'probe'],
        within: '25h',
      },
    });
    expect(said(played)).toEqual([]);
    expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
    expect(played.seen!.tookMs).toBeGreaterThan(86_400_000);
  });

  it('names calls that change things and have no mock, with mocks to paste', () => {
    const played = play([{ id: 'each', forEach: { in: ['a/1', 'b/2'] }, do: [restart] }], {});
    expect(said(played)).toEqual([
      'mocks: 2 calls have no mock; nothing real was called',
      'each[a%2F1]/restart calls svc.restart (mutate) with {"host":"host/a"}',
      'each[b%2F2]/restart calls svc.restart (mutate) with {"host":"host/a"}',
      'paste into "mocks":',
      '  "each/restart": {',
      '    "result": {}',
      '  }',
    ]);
  });

  it.each<[string, Partial<FlowTest>, Step[], string[]]>([
    ['a status', { expect: { status: 'failed' } }, [restart], ['status: expected failed, got succeeded']],
    [
      'an output',
      { expect: { output: { exitCode: 1 } } },
      [{ id: 'r', return: { exitCode: 0 } }],
      ['output: the output differs', '/exitCode: expected 1, got 0'],
    ],
    [
      'a path',
      { expect: { path: ['restart', 'w2'] } },
      [restart, { id: 'w1', wait: { for: '1s' } }],
      ['path: the path differs', '  restart', '- w2', '+ w1'],
    ],
    [
      'a problem',
      {
        expect: { problem: { type: 'timeout', retryable: true } },
        mocks: { restart: { problem: { type: 'policy' } }, 'svc.restore': { result: {} } },
      },
      [restart],
      [
        'problem: the problem differs',
        '/type: expected "timeout", got "policy"',
        '/retryable: expected true, got false',
      ],
    ],
    [
      'a result that the atom cannot give',
      { mocks: { restart: { result: { exitCode: 'zero' } } } },
      [restart],
      [
        'mocks: a mock does not fit',
        'restart: the result does not fit the output of svc.restart@1.0.0: /exitCode must be integer, got "zero"',
      ],
    ],
    [
      'a time',
      { expect: { within: '1m' } },
      [{ id: 'w', wait: { for: '2m' } }],
      ['within: expected at most 1m, it took 2 min'],
    ],
    [
      'a step',
      { expect: { steps: { restart: { attempts: 2 } } } },
      [restart],
      ['steps: step restart', 'restart/attempts: expected 2, got 1'],
    ],
  ])('says where %s differs', (_what, test, steps, lines) => {
    const found = said(play(steps, { mocks: { restart: ok }, ...test }));
    expect(found.map((line) => line.replace(/must be integer.*/, 'must be integer, got "zero"'))).toEqual(lines);
  });

  it('undoes, newest first, and tells what was undone', () => {
    const played = play([restart, { ...restart, id: 'again' }, { id: 'boom', raise: { type: 'runtime' } }], {
      mocks: { 'svc.restart@1': ok, 'svc.restore': { result: {} } },
      expect: { status: 'failed', problem: { type: 'runtime', instance: 'boom' }, compensated: ['again', 'restart'] },
    });
    expect(said(played)).toEqual([]);
  });

  it('hangs until a timeout ends it', () => {
    const played = play([{ id: 'd', timeout: '1h', do: [restart] }], {
      mocks: { restart: { hangs: true }, 'restart~undo': { result: {} } },
      expect: { status: 'failed', problem: { type: 'timeout' }, steps: { restart: { status: 'failed' } } },
    });
    expect(said(played)).toEqual([]);
  });

  it('plays events, approvals and operators', () => {
    const steps: Step[] = [
      { id: 'ask', approval: { title: '?', approvers: { groups: ['sre'], min: 2 }, timeout: '1h' } },
      { id: 'settled', waitForEvent: { one: { type: 'fleet.settled' }, timeout: '10h' } },
      { id: 'long', call: 'svc.copy@1' },
      { id: 'late', wait: { for: '5h' } },
    ];
    const played = play(steps, {
      approvals: [
        { step: 'ask', by: 'anna', answer: 'approve' },
        { step: 'ask', by: 'bob', answer: 'approve', delay: '30m' },
      ],
      events: [{ during: 'settled', delay: '3h', event: { type: 'fleet.settled', data: { n: 1 } } }],
      mocks: { long: { result: { copied: 3 }, delay: '2h' } },
      operator: [{ during: 'late', delay: '1h', act: 'cancel' }],
      expect: {
        status: 'cancelled',
        steps: { late: { status: 'cancelled' }, long: { output: { copied: 3 } } },
        within: '7h',
      },
    });
    expect(said(played)).toEqual([]);
  });

  it('refuses an answer of somebody who may not, and warns of what never came about', () => {
    const ask: Step = {
      id: 'ask',
      approval: { title: '?', approvers: { users: ['anna'] }, timeout: '1h', onTimeout: 'reject' },
    };
    const played = play([ask], {
      approvals: [{ step: 'ask', by: 'eve', answer: 'approve' }],
      mocks: { nothing: ok },
      events: [{ after: 'never', event: { type: 'a.b' } }],
    });
    expect(said(played)).toEqual([
      'events: something was refused',
      'the answer of eve to ask was refused: needs user anna; eve is in no group',
    ]);
    expect(played.warnings).toEqual([
      'the mock "nothing" answers no call',
      '{"after":"never","event":{"type":"a.b"}} never came about',
    ]);
  });

  it.each<[string, Partial<FlowTest>, string]>([
    [
      'a flow that is not there',
      { flow: 'fleet/other@1' },
      'flow: no flow among the documents answers to "fleet/other@1"; name its folder as well',
    ],
    ['a wrong input', { input: {} }, 'input: the input does not match the schema of the flow'],
  ])('refuses %s', (_what, test, message) => {
    const schema = { type: 'object', required: ['host'] };
    expect(said(play([restart], test, { input: { schema } }))[0]).toBe(message);
  });
});

describe('coverage', () => {
  it('counts what ran, was skipped, approved and chosen', () => {
    const flow = {
      do: [
        { id: 'a', if: { '==': [1, 1] }, wait: { for: '1s' } },
        { id: 'ok', approval: { title: '?', approvers: {} } },
        { id: 's', switch: [{ when: { '==': [1, 2] }, do: [{ id: 'x', wait: { for: '1s' } }] }] },
      ],
    } as unknown as FlowDocument;
    expect(branchesOf(flow)).toEqual(['a', 'a: skipped', 'ok: approved', 'ok: not approved', 's', 's/x', 's: no case']);
    const coverage = new CoverageOf({ ...flow, name: 'f/f' });
    const at = { startedAt: '', attempts: 1 };
    coverage.add([
      { ...at, path: 'a', id: 'a', verb: 'wait', status: 'skipped' },
      { ...at, path: 's', id: 's', verb: 'switch', status: 'succeeded', output: { case: null } },
    ]);
    expect(coverage.result()).toEqual({
      flow: 'f/f',
      taken: 3,
      total: 7,
      missed: ['a', 'ok: approved', 'ok: not approved', 's/x'],
    });
  });
});

describe('a recorded run', () => {
  it('becomes a test that passes', () => {
    const steps: Step[] = [
      restart,
      { id: 'ask', approval: { title: '?', approvers: {}, timeout: '1h' } },
      { id: 'settled', waitForEvent: { one: { type: 'fleet.settled' }, timeout: '10h' } },
      { ...restart, id: 'again' },
    ];
    const flow = { dsl: 'opsloop/v1', kind: 'flow', name: 'fleet/one', version: '1.2.3', do: steps } as FlowDocument;
    const first = play(steps, {
      mocks: {
        restart: [{ problem: { type: 'communication' } }, { ...ok, delay: '7s' }],
        again: { problem: { type: 'policy', detail: 'no' } },
        'svc.restore': { result: {} },
      },
      approvals: [{ step: 'ask', by: 'anna', answer: 'approve', delay: '5m' }],
      events: [{ during: 'settled', delay: '1h', event: { type: 'fleet.settled', data: { n: 1 } } }],
    });
    expect(first.seen).toMatchObject({ status: 'failed', compensated: ['again', 'restart'] });
    const run = {
      id: 'r',
      flow: 'fleet/one',
      version: '1.2.3',
      status: 'failed',
      input: { host: 'host/a' },
      problem: first.seen!.problem,
      initiator: { kind: 'user', name: 'anna' },
      tier: 'P3',
      startedAt: '2026-03-04T05:06:07.000Z',
      steps: first.steps,
    } as unknown as RunView;
    const { test } = recordTest({ run, flow, timeline: [] });
    expect(test.mocks).toMatchObject({
      // The record of a call that went well does not tell its attempts.
      restart: [{ result: { exitCode: 0 }, delay: '8001ms' }],
      again: [{ problem: { type: 'policy', detail: 'no' } }],
    });
    const again = play(steps, test);
    expect(said(again)).toEqual([]);
    expect(again.seen!.path).toEqual(first.seen!.path);
  });
});

describe('parts', () => {
  it.each([
    ['each[host/a]/drain', 'each[host%2Fa]/drain', 'exact'],
    ['each[*]/drain', 'each[m-1]/drain~2', 'pattern'],
    ['each/drain', 'each[m-1]/drain', 'step'],
    ['drain', 'each[m-1]/drain', 'id'],
    ['drain~undo', 'each[m-1]/drain~2~undo', 'id'],
    ['drain', 'each[m-1]/drain~undo', undefined],
    ['each/rain', 'each/drain', undefined],
  ])('%s names %s: %s', (pattern, path, precision) => {
    expect(namesPath(pattern, path)).toBe(precision);
  });

  it('finds differences of values and lists', () => {
    expect(valueDifferences({ a: [1, { b: 2 }], c: 1 }, { a: [1, { b: 3 }], d: 2 })).toEqual([
      '/a/1/b: expected 2, got 3',
      '/c: expected 1, got nothing',
      '/d: expected nothing, got 2',
    ]);
    const list = (text: string): { text: string; value: string }[] =>
      [...text].map((value) => ({ text: value, value }));
    const diff = (a: string, b: string): string[] =>
      listDifferences(
        list(a),
        list(b),
        (x, y) => x === y,
        (x) => x === '*',
      );
    expect(diff('abc', 'abc')).toEqual([]);
    expect(diff('a*c', 'axyzc')).toEqual([]);
    expect(diff('abd', 'acd')).toEqual(['  a', '- b', '+ c', '  d']);
  });

  it('writes JUnit', () => {
    const played: Played = {
      test: 'a <b>',
      flow: 'f',
      passed: false,
      warnings: [],
      steps: [],
      mismatches: [{ of: 'x', message: 'm & n', lines: ['1'] }],
    };
    expect(junitOf([{ file: 'f.json', tests: [played], tookMs: 5 }])).toContain(
      '<testcase classname="f.json" name="a &lt;b&gt;">',
    );
  });
});
