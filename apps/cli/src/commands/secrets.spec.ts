import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startHttpTarget, type HttpTarget, type TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../program.js';

const cwd = mkdtempSync(join(tmpdir(), 'opsloop-cli-secrets-'));
const VALUE = 'canary-91ab with spaces';
let server: HttpTarget;
let routes: Record<string, TargetAnswer> = {};

beforeAll(async () => {
  server = await startHttpTarget(
    ({ method, path }) => routes[`${method} ${path.split('?', 1)[0]!}`] ?? { status: 404 },
  );
  writeFileSync(join(cwd, 'value'), `${VALUE}\n`);
});
afterAll(async () => {
  await server.close();
  rmSync(cwd, { recursive: true });
});
beforeEach(() => {
  server.calls.length = 0;
});

async function opsloop(args: string[], stdin = ''): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await runCli(args, {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    isTTY: false,
    env: { OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key' },
    cwd,
    stdin: () => Promise.resolve(stdin),
  });
  return { code, out, err };
}

describe('secrets', () => {
  it.each<[string, string[], string]>([
    ['a file', ['--from-file', 'value'], ''],
    ['-', ['-'], `${VALUE}\n`],
    ['standard input', [], VALUE],
    ['standard input of Windows', ['-'], `${VALUE}\r\n`],
  ])('put takes the value from %s and does not repeat it', async (_what, args, stdin) => {
    routes = {
      'PUT /v1/secrets/cmdb-token': { status: 201, body: { name: 'cmdb-token', version: 1, change: 'created' } },
    };
    const { code, out, err } = await opsloop(['secrets', 'put', 'cmdb-token', ...args, '--reason', 'new'], stdin);
    expect(code).toBe(0);
    expect(server.calls[0]).toMatchObject({ body: { value: VALUE, reason: 'new' } });
    expect(out).toContain('secret cmdb-token is kept, version 1');
    expect(out + err).not.toContain('canary');
  });

  it('put refuses a value on the command line, and a file that is not there', async () => {
    const typed = await opsloop(['secrets', 'put', 'cmdb-token', VALUE]);
    expect(typed).toMatchObject({ code: 2, out: '' });
    expect(typed.err).toMatch(/shell's history.*--from-file/);
    expect(typed.err).not.toContain('canary');
    expect(await opsloop(['secrets', 'put', 'x', '--from-file', 'nowhere'])).toMatchObject({ code: 2 });
    expect(await opsloop(['secrets', 'put', 'x', '-', '--from-file', 'value'])).toMatchObject({ code: 2 });
    expect(server.calls).toEqual([]);
  });

  it('ls shows who uses them, rm and rotate-key say what happened', async () => {
    const item = { name: 'a', version: 2, updatedAt: '2026-01-01T00:00:00Z', updatedBy: 'ann', usedBy: ['flow/f/x'] };
    routes = {
      'GET /v1/secrets': { body: { items: [item] } },
      'DELETE /v1/secrets/a': { status: 204, body: '' },
      'POST /v1/secret-keys/rotate': { body: { keyId: 'k2', made: false, rewrapped: 1, retired: ['k1'] } },
    };
    expect((await opsloop(['secrets', 'ls'])).out).toMatch(/a +2 +2026-01-01 00:00Z +ann +flow\/f\/x/);
    expect(JSON.parse((await opsloop(['--json', 'secrets', 'ls'])).out)).toEqual({ items: [item] });
    expect((await opsloop(['secrets', 'rm', 'a'])).out).toContain('secret a is destroyed');
    expect((await opsloop(['secrets', 'rotate-key'])).out).toMatch(/k2.*in use.*\n.*take them out.*k1/);
  });
});

describe('tokens', () => {
  const token = `ops_abcdefgh_${'x'.repeat(43)}`;
  const view = {
    id: 'abcdefgh',
    name: 'bmc',
    roles: ['worker'],
    groups: [],
    secrets: ['bmc-*'],
    createdAt: '2026-01-01T00:00:00Z',
    createdBy: 'admin',
  };

  it('create prints the token alone on standard output', async () => {
    routes = { 'POST /v1/tokens': { status: 201, body: { ...view, token } } };
    const { code, out, err } = await opsloop([
      'tokens',
      'create',
      'bmc',
      '--role',
      'worker',
      '--secret',
      'bmc-*',
      '--group',
      'sre',
      '--days',
      '30',
    ]);
    expect(code).toBe(0);
    expect(out).toBe(`${token}\n`);
    expect(err).toContain('not shown again');
    expect(server.calls[0]!.body).toEqual({
      name: 'bmc',
      roles: ['worker'],
      groups: ['sre'],
      secrets: ['bmc-*'],
      expiresInDays: 30,
    });
  });

  it.each([
    ['no role', ['tokens', 'create', 'x']],
    ['odd days', ['tokens', 'create', 'x', '--role', 'viewer', '--days', 'many']],
  ])('create refuses %s', async (_what, args) => {
    expect(await opsloop(args)).toMatchObject({ code: 2, out: '' });
    expect(server.calls).toEqual([]);
  });

  it('ls and revoke', async () => {
    routes = { 'GET /v1/tokens': { body: { items: [view] } }, 'DELETE /v1/tokens/abcdefgh': { status: 204, body: '' } };
    expect((await opsloop(['tokens', 'ls', '--revoked'])).out).toMatch(/abcdefgh +bmc +worker +bmc-\*/);
    expect(server.calls[0]!.path).toContain('revoked=true');
    expect((await opsloop(['tokens', 'revoke', 'abcdefgh'])).out).toContain('is revoked');
  });
});
