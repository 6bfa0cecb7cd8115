import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { runCli } from '../program.js';

let server: HttpTarget;
let answer: TargetAnswer;
let cwd: string;

beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'opsloop-policies-'));
  server = await startHttpTarget(() => answer);
});
afterAll(async () => {
  rmSync(cwd, { recursive: true });
  await server.close();
});
beforeEach(() => {
  server.calls.length = 0;
});

async function opsloop(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await runCli(args, {
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    isTTY: false,
    env: { OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key' },
    cwd,
    stdin: () => Promise.resolve(''),
  });
  return { code, ...said };
}

it('forecast asks what admission would say, and shows every check', async () => {
  const consulted = [
    { policy: 'halts', saw: 'none in force', said: 'ok' },
    { policy: 'ops/rack', saw: 'r7: 1 of 1 targets at once', said: 'queue' },
  ];
  answer = { body: { verdict: 'queued', consulted, forecast: 'queued behind run 42, place 2' } };
  const said = await opsloop('forecast', 'fleet/restart@^1', '-i', 'host=host/a', '--tier', 'P1');
  expect(said.code).toBe(0);
  expect(server.calls[0]).toMatchObject({
    method: 'POST',
    path: '/v1/admissions/forecast',
    body: { flow: 'fleet/restart', version: '^1', input: { host: 'host/a' }, tier: 'P1' },
  });
  expect(said.out).toContain('fleet/restart@^1: queued behind run 42, place 2');
  expect(said.out).toMatch(/ops\/rack +queue +r7: 1 of 1 targets at once/);
  expect(JSON.parse((await opsloop('--json', 'forecast', 'fleet/restart')).out)).toMatchObject({ verdict: 'queued' });
});

it('forecast says what is wrong with the start', async () => {
  answer = {
    status: 404,
    body: { code: 'not-found', status: 404, title: 'Not found', detail: 'no/such is not published' },
  };
  const said = await opsloop('forecast', 'no/such');
  expect(said.code).not.toBe(0);
  expect(said.err).toContain('no/such is not published');
});

it('policies test tries policies from files, at another time and as somebody else', async () => {
  writeFileSync(
    join(cwd, 'freeze.yaml'),
    'dsl: opsloop/v1\nkind: policy\nname: ops/freeze\ntype: freeze\nmatch: { targets: "host/*" }\nduring: { rrule: FREQ=DAILY, for: 1d, zone: UTC }\n',
  );
  const policies = [
    {
      name: 'ops/freeze',
      type: 'freeze',
      layer: 'tenant',
      matches: true,
      lines: [{ saw: 'frozen until noon', said: 'hold' }],
    },
    { name: 'ops/other', type: 'quota', layer: 'tenant', matches: false, why: 'a target db/* is wanted', lines: [] },
  ];
  const findings = [{ severity: 'warning', policy: 'ops/other', message: 'never matches' }];
  answer = {
    body: { said: 'held', reason: 'frozen', at: '2026-01-01T00:00:00Z', targets: ['host/a'], policies, findings },
  };
  const said = await opsloop(
    ...['policies', 'test', 'fleet/restart', '-i', 'host=host/a', '-f', 'freeze.yaml', '--as', 'token:ci:2'],
    ...['--at', '2026-01-01T00:00:00Z', '--rule', 'fleet/down'],
  );
  expect(said).toMatchObject({ code: 0, err: '' });
  expect(server.calls[0]!.body).toMatchObject({
    initiator: { kind: 'token', name: 'ci:2' },
    at: '2026-01-01T00:00:00Z',
    rule: 'fleet/down',
    policies: [{ name: 'ops/freeze' }],
  });
  expect(said.out).toContain('held, frozen');
  expect(said.out).toMatch(/ops\/other .*a target db\/\* is wanted/);
  expect(said.out).toContain('warning: ops/other: never matches');
});

it.each([
  ['error', 1],
  ['warning', 0],
])('policies lint with an %s ends with %i', async (severity, code) => {
  answer = { body: { items: [{ severity, policy: 'ops/a', message: 'asks for nobody' }] } };
  const said = await opsloop('policies', 'lint');
  expect([said.code, said.out.includes(`${severity}: ops/a: asks for nobody`)]).toEqual([code, true]);
});

it('policies versions lists what a policy said before', async () => {
  const version = { createdAt: '2026-01-01T00:00:00Z', createdBy: 'ann', live: true, digest: 'abcdef0123456789' };
  answer = { body: { items: [version] } };
  const said = await opsloop('policies', 'versions', 'ops/freeze');
  expect(said.out).toMatch(/2026-01-01T00:00:00Z +ann +yes +abcdef012345/);
  expect(server.calls[0]!.path).toBe('/v1/policies/ops/freeze/versions');
});

it('ls and show stand beside the other commands of a kind, and say what get and describe say', async () => {
  const rule = {
    kind: 'rule',
    name: 'fleet/down',
    version: '1.0.0',
    status: 'published',
    body: { dsl: 'opsloop/v1', kind: 'rule', name: 'fleet/down', version: '1.0.0' },
    createdBy: 'ann',
    digest: 'abc',
    createdAt: '2026-01-02T03:04:05.000Z',
  };
  answer = { body: { items: [rule] } };
  const listed = await opsloop('rules', 'ls', '--limit', '7');
  expect(listed).toMatchObject({ code: 0, out: (await opsloop('get', 'rules')).out });
  expect(server.calls[0]).toMatchObject({ path: '/v1/rules?limit=7' });
  expect(listed.out).toContain('fleet/down');
  answer = { body: { ...rule, items: [rule] } };
  const shown = await opsloop('rules', 'show', 'fleet/down');
  expect(shown).toMatchObject({ code: 0, out: (await opsloop('describe', 'rule', 'fleet/down')).out });
  expect(shown.out).toContain('rule fleet/down 1.0.0');
});
