import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, RecordedCall, TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { runCli } from '../program.js';

let dir: string;
let server: HttpTarget;
let routes: Record<string, TargetAnswer | ((call: RecordedCall) => TargetAnswer)> = {};

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-trials-'));
  server = await startHttpTarget((call) => {
    const route = routes[`${call.method} ${call.path.split('?', 1)[0]!}`];
    return (
      (typeof route === 'function' ? route(call) : route) ?? { status: 404, body: { code: 'not-found', status: 404 } }
    );
  });
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  routes = {};
  server.calls.length = 0;
});

async function opsloop(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await runCli(args, {
    ...{ out: (text) => void (out += text), err: (text) => void (err += text), isTTY: false, cwd: dir },
    env: { OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key-1' },
    stdin: () => Promise.resolve('{}'),
  });
  return { code, out, err };
}
const counts = (count: number, byTier: object = {}): object => ({ count, byTier });
const VIEW = {
  ...{ rule: 'fleet/down', version: '1.1.0', mode: 'active', against: { version: '1.0.0' }, cut: false },
  ...{ from: '2026-01-01T00:00:00Z', until: '2026-01-08T00:00:00Z', cases: 3, percent: 33 },
  ...{ agreed: counts(1, { P1: 1 }), more: counts(1, { P2: 1 }), less: counts(0), differently: counts(1, { P1: 1 }) },
  rollout: { percent: 10, version: '1.1.0' },
  verified: { of: 4, fixed: 3, notFixed: 1 },
  next: 'opsloop rules rollout fleet/down --percent 100 --reason …',
  items: [
    { outcome: 'more', at: '2026-01-02T00:00:00Z', resource: 'host/a', tried: { ref: 'fleet/go@1', tier: 'P2' } },
    {
      ...{ outcome: 'differently', at: '2026-01-01T00:00:00Z', resource: 'host/b', members: ['ref'] },
      tried: { ref: 'fleet/go@1', tier: 'P1' },
      other: { ref: 'fleet/stop', by: 'person', id: 'run-9' },
    },
  ],
};

test('a version is tried, shared out, made live, or stopped; each with its reason', async () => {
  const rule = {
    ...{ dsl: 'opsloop/v1', kind: 'rule', name: 'fleet/down', version: '1.1.0', on: [{ type: 'x' }] },
    branches: [{ id: 'b', ladder: [{ id: 'r', run: 'fleet/go@1' }] }],
  };
  writeFileSync(join(dir, 'rule.json'), JSON.stringify(rule));
  routes['PUT /v1/rules/fleet/down'] = { status: 201, body: { kind: 'rule', name: 'fleet/down', change: 'changed' } };
  routes['PATCH /v1/rules/fleet/down'] = ({ body }) => ({
    status: 200,
    body: {
      name: 'fleet/down',
      version: '1.0.0',
      meta: { rollout: (body as { rollout: object }).rollout },
    },
  });
  const tried = await opsloop('rules', 'try', 'rule.json', '--percent', '10', '--failures', '2', '--reason', 'canary');
  expect(tried.code, tried.err).toBe(0);
  expect(tried.out).toContain('fleet/down@1.1.0 acts on 10 % of the subjects, beside 1.0.0');
  const sent = (): unknown[] => server.calls.map(({ method, path, body }) => [method, path, body]);
  expect(sent()).toEqual([
    ['PUT', '/v1/rules/fleet/down?live=false', rule],
    ['PATCH', '/v1/rules/fleet/down', { rollout: { version: '1.1.0', percent: 10, failures: 2 }, reason: 'canary' }],
  ]);
  server.calls.length = 0;
  await opsloop('rules', 'rollout', 'fleet/down@1.2.0', '--percent', '50', '--reason', 'more');
  await opsloop('rules', 'rollout', 'fleet/down', '--stop', '--reason', 'enough');
  await opsloop('rules', 'live', 'fleet/down', '1.1.0', '--reason', 'good');
  expect(sent().map((one) => (one as unknown[])[2])).toEqual([
    { rollout: { version: '1.2.0', percent: 50 }, reason: 'more' },
    { rollout: null, reason: 'enough' },
    { live: '1.1.0', reason: 'good' },
  ]);
  expect((await opsloop('rules', 'rollout', 'fleet/down', '--reason', 'x')).code).toBe(2);
  expect((await opsloop('rules', 'rollout', 'fleet/down', '--percent', 'ten', '--reason', 'x')).code).toBe(2);
});

test('agreement is told in figures and cases, and the status has a line of it and of what was given up', async () => {
  routes['GET /v1/rules/fleet/down/agreement'] = { status: 200, body: VIEW };
  const { code, out } = await opsloop('rules', 'agreement', 'fleet/down@1.1.0', '--since', '7d', '--outcome', 'more');
  expect(code).toBe(0);
  expect(out).toContain('fleet/down@1.1.0 acts on 10 % of the subjects');
  expect(out).toContain(
    '1 of 3 cases agree, it acts on 1 more, on 1 differently; of its last 4 verified runs 1 were in vain',
  );
  expect(out).toContain('more: host/a: fleet/go@1 P2; nobody else did anything');
  expect(out).toContain('differently: host/b: fleet/go@1 P1; fleet/stop by hand (run run-9) (ref)');
  expect(server.calls[0]!.path).toContain('since=7d');
  expect(server.calls[0]!.path).toContain('version=1.1.0');
  routes['GET /readyz'] = { status: 200, body: { ready: true, parts: [] } };
  routes['GET /v1/status'] = {
    status: 200,
    body: { ok: true, at: '', counts: { running: 0 }, items: [{ level: 'ok', code: 'ok', title: 'well', next: 'x' }] },
  };
  routes['GET /v1/rules/trials'] = { status: 200, body: { items: [{ ...VIEW, items: [] }] } };
  const given = {
    id: 'e',
    rule: 'fleet/down',
    resource: 'host/z',
    state: 'exhausted',
    changedAt: '',
    reason: 'no more',
  };
  routes['GET /v1/episodes'] = {
    status: 200,
    body: {
      items: [
        { ...given, blockedUntil: '2999-01-01T00:00:00Z' },
        { ...given, resource: 'host/old' },
      ],
    },
  };
  const status = await opsloop('status');
  expect(status.out).toContain('fleet/down@1.1.0 on 10 %: 1 of 3 cases agree');
  expect(status.out).toContain('given up fleet/down on host/z: no more');
  expect(status.out).not.toContain('host/old');
});

test('sources are listed, shown and tried', async () => {
  const source = {
    ...{ kind: 'source', name: 'am', status: 'published', live: true, createdAt: '', createdBy: 'a', digest: '' },
    body: { kind: 'source', name: 'am', type: 'alertmanager', auth: { type: 'bearer', token: '***' } },
    meta: { lastHeard: '2026-01-01T00:00:00Z', staleSince: '2026-01-02T00:00:00Z' },
  };
  routes['GET /v1/sources'] = { status: 200, body: { items: [source] } };
  routes['GET /v1/sources/am'] = { status: 200, body: source };
  routes['GET /v1/dead-letters'] = { status: 200, body: { items: [{ id: 'd' }] } };
  const listed = await opsloop('sources', 'ls');
  expect(listed.out).toMatch(/am +alertmanager +bearer/);
  expect(listed.out).toContain('silent since');
  const shown = await opsloop('sources', 'show', 'am');
  expect(shown.out).toContain(`deliver to: POST ${server.url}/v1/hooks/am`);
  expect(shown.out).toContain('opsloop events dead --source am');
  routes['POST /v1/sources/am/test'] = {
    status: 200,
    body: { source: 'am', auth: 'bearer', items: [{ type: 'alert', time: 't', data: {}, unmapped: 'no label' }] },
  };
  const tried = await opsloop('sources', 'test', 'am', '--body', '-', '--header', 'X-Kind: one');
  expect(tried.code, tried.err).toBe(0);
  expect(tried.out).toContain('has no resource: no label');
  expect(server.calls.at(-1)!.body).toEqual({ headers: { 'X-Kind': 'one' }, body: '{}' });
  expect((await opsloop('sources', 'test', 'am', '--body', '{}', '--header', 'nothing')).code).toBe(2);
});
