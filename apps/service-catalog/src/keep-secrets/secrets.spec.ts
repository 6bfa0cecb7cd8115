import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { atom, type CatalogApp, flow, SERVICE, startCatalog } from '../catalog-app.spec-kit.js';

const VALUE = 'canary-4f1d "quoted" ✓\nsecond line';
const dataDir = mkdtempSync(join(tmpdir(), 'opsloop-secrets-'));
const keyFile = join(dataDir, 'secrets.key');
let app: CatalogApp & { databaseUrl: string };

beforeAll(async () => {
  app = await startCatalog(undefined, { dataDir });
});
afterAll(async () => {
  await app?.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const put = (name: string, value: unknown = VALUE, token?: string) =>
  app.call('PUT', `/v1/secrets/${name}`, { value }, token);
const resolve = async (...names: string[]) => {
  const { status, body } = await app.internal('secrets/resolve', { names });
  expect(status).toBe(200);
  return body['secrets'] as { name: string; version: number; value: string }[];
};

describe('the secret store', () => {
  it('makes its key at the first start, for its owner only', () => {
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(keyFile, 'utf8')).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
  });

  it('keeps values that only the apps get, and counts versions', async () => {
    expect(await put('cmdb-token')).toMatchObject({ status: 201, body: { name: 'cmdb-token', version: 1 } });
    expect(await put('cmdb-token', 'another value')).toMatchObject({ status: 200, body: { version: 2 } });
    expect(await put('cmdb-token')).toMatchObject({ status: 200, body: { version: 3, change: 'changed' } });
    expect(await resolve('cmdb-token', 'unknown')).toEqual([{ name: 'cmdb-token', version: 3, value: VALUE }]);
    expect((await app.call('POST', '/internal/catalog/secrets/resolve', { names: ['cmdb-token'] })).status).toBe(403);
  });

  it('never shows a value, not even to an admin', async () => {
    expect(await app.call('GET', '/v1/secrets/cmdb-token')).toMatchObject({ status: 405 });
    expect(await app.call('POST', '/v1/secrets/resolve', { names: ['cmdb-token'] })).toMatchObject({
      status: 403,
      body: { code: 'authorization' },
    });
    const { body } = await app.call('GET', '/v1/secrets');
    expect(body.items).toEqual([
      { name: 'cmdb-token', version: 3, updatedAt: expect.any(String), updatedBy: 'admin', usedBy: [] },
    ]);
    const { body: audit } = await app.call('GET', '/v1/audit?kind=secret');
    expect(audit.items.map(({ act, name, version }) => ({ act, name, version }))).toEqual([
      { act: 'put', name: 'cmdb-token', version: '3' },
      { act: 'put', name: 'cmdb-token', version: '2' },
      { act: 'put', name: 'cmdb-token', version: '1' },
    ]);
  });

  it('leaves nothing of a value in the database', async () => {
    const rows = await app.database.query<{ line: string }>(`SELECT s::text AS line FROM catalog.secret s`);
    const bytes = await app.database.query<{ sealed: Buffer; wrapped_key: Buffer }>(
      'SELECT sealed, wrapped_key FROM catalog.secret',
    );
    expect(rows).toHaveLength(1);
    for (const { line } of rows) expect(line).not.toMatch(/canary|63616e617279/i);
    for (const { sealed } of bytes) expect(sealed.includes('canary')).toBe(false);
  });

  it('says who uses a secret', async () => {
    await app.call(
      'PUT',
      '/v1/atoms/fleet.host.restart',
      atom('fleet.host.restart', '1.0.0', {
        http: {
          method: 'POST',
          url: 'http://127.0.0.1:1/x',
          headers: { authorization: 'Bearer ${secrets.cmdb-token}' },
        },
      }),
    );
    await app.call('PUT', '/v1/flows/fleet/one', flow('fleet/one', '1.0.0', { use: { secrets: ['cmdb-token'] } }));
    const { body } = await app.call('GET', '/v1/secrets');
    expect(body.items[0]).toMatchObject({ usedBy: ['atom/fleet.host.restart', 'flow/fleet/one'] });
  });

  it('destroys a value and never reuses its version', async () => {
    await put('short-lived');
    expect((await app.call('DELETE', '/v1/secrets/short-lived')).status).toBe(204);
    expect(await resolve('short-lived')).toEqual([]);
    expect((await app.call('DELETE', '/v1/secrets/short-lived')).status).toBe(404);
    expect((await app.call('GET', '/v1/secrets')).body.items.map((s) => s.name)).toEqual(['cmdb-token']);
    const [row] = await app.database.query<{ sealed: unknown }>(
      `SELECT sealed FROM catalog.secret WHERE name = 'short-lived'`,
    );
    expect(row).toEqual({ sealed: null });
    expect(await put('short-lived')).toMatchObject({ status: 201, body: { version: 2 } });
  });

  it.each<[string, string, unknown, string]>([
    ['a name in capitals', 'Token', { value: VALUE }, '/name'],
    ['a name of a document', 'source%2Fx', { value: VALUE }, '/name'],
    ['no value', 'x', {}, '/value'],
    ['a number', 'x', { value: 12345 }, '/value'],
    ['a value too short to redact', 'x', { value: 'abc' }, '/value'],
    ['a value too long', 'x', { value: 'x'.repeat(65_537) }, '/value'],
    ['an unknown member', 'x', { value: VALUE, secret: VALUE }, '/secret'],
  ])('refuses %s without repeating the value', async (_what, name, body, pointer) => {
    const answer = await app.call('PUT', `/v1/secrets/${name}`, body);
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer }] } });
    expect(JSON.stringify(answer.body)).not.toMatch(/canary/);
  });

  it('does not repeat a body that is no JSON', async () => {
    const answer = await app.call('PUT', '/v1/secrets/x', 'canary-4f1d');
    expect(answer).toMatchObject({ status: 400, body: { code: 'malformed-json' } });
    expect(JSON.stringify(answer.body)).not.toMatch(/canary/);
  });

  it('does not open a row that was moved or changed', async () => {
    await put('a-one', 'value of a-one');
    await put('a-two', 'value of a-two');
    await app.database.query(
      `UPDATE catalog.secret a SET sealed = b.sealed, wrapped_key = b.wrapped_key FROM catalog.secret b
       WHERE a.name = 'a-one' AND b.name = 'a-two'`,
    );
    const answer = await app.internal('secrets/resolve', { names: ['a-one'] });
    expect(answer).toMatchObject({ status: 400, body: { code: 'configuration' } });
    expect(answer.body['detail']).toContain('a-one');
  });
});

describe('keys', () => {
  it('rotate: every data key is wrapped anew, the old key is gone, values stay', async () => {
    await app.database.query(`DELETE FROM catalog.secret WHERE name = 'a-one'`);
    const before = readFileSync(keyFile, 'utf8');
    const [{ sealed: sealedBefore }] = (await app.database.query(
      `SELECT encode(sealed, 'hex') AS sealed FROM catalog.secret WHERE name = 'cmdb-token'`,
    )) as [{ sealed: string }];
    const { status, body } = await app.call('POST', '/v1/secret-keys/rotate', { reason: 'yearly' });
    expect(status).toBe(200);
    expect(body).toMatchObject({ made: true, rewrapped: 3 });
    expect((body['retired'] as string[]).length).toBe(1);
    const after = readFileSync(keyFile, 'utf8');
    expect(after).not.toContain(before.trim());
    expect(after.trim().split('\n')).toHaveLength(1);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(await resolve('cmdb-token')).toEqual([{ name: 'cmdb-token', version: 3, value: VALUE }]);
    const [{ sealed }] = (await app.database.query(
      `SELECT encode(sealed, 'hex') AS sealed FROM catalog.secret WHERE name = 'cmdb-token'`,
    )) as [{ sealed: string }];
    expect(sealed).toBe(sealedBefore);
    const { body: audit } = await app.call('GET', '/v1/audit?kind=secret-key');
    expect(audit.items[0]).toMatchObject({ act: 'rotate', by: 'admin', reason: 'yearly' });
  });

  it('are found again by another process after it was rotated elsewhere', async () => {
    const second = await startCatalog(app.databaseUrl, { dataDir });
    try {
      await app.call('POST', '/v1/secret-keys/rotate', {});
      const { body } = await second.internal('secrets/resolve', { names: ['cmdb-token'] });
      expect(body['secrets']).toMatchObject([{ value: VALUE }]);
    } finally {
      await second.close();
    }
  });

  it('that others could read are refused', async () => {
    chmodSync(keyFile, 0o644);
    await expect(startCatalog(app.databaseUrl, { dataDir })).rejects.toThrow(/chmod 600/);
    chmodSync(keyFile, 0o600);
  });

  it('of a cluster come from a file: the first wraps, the others still open', async () => {
    const file = join(dataDir, 'mounted');
    const [first, second] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
    writeFileSync(file, `# 2026\n${first}\n`);
    const cluster = await startCatalog(undefined, { env: { OPSLOOP_SECRETS_KEY_FILE: file } });
    try {
      await cluster.call('PUT', '/v1/secrets/x', { value: VALUE });
      writeFileSync(file, `${second}\n${first}\n`);
      const { body } = await cluster.call('POST', '/v1/secret-keys/rotate', {});
      expect(body).toMatchObject({ made: false, rewrapped: 1 });
      expect((body['retired'] as string[]).length).toBe(1);
      // What is configured is not ours to change.
      expect(readFileSync(file, 'utf8')).toBe(`${second}\n${first}\n`);
      writeFileSync(file, `${second}\n`);
      const after = await cluster.internal('secrets/resolve', { names: ['x'] });
      expect(after.body['secrets']).toMatchObject([{ value: VALUE }]);
    } finally {
      await cluster.close();
    }
  });

  it('that are missing are said to be missing', async () => {
    const without = await startCatalog(app.databaseUrl, {
      env: { OPSLOOP_SECRETS_KEY: randomBytes(32).toString('base64') },
    });
    try {
      const { status, body } = await without.internal('secrets/resolve', { names: ['cmdb-token'] });
      expect(status).toBe(400);
      expect(body['detail']).toMatch(/cmdb-token.*which is not here/);
    } finally {
      await without.close();
    }
    await expect(startCatalog(app.databaseUrl, { env: { OPSLOOP_SECRETS_KEY: 'short' } })).rejects.toThrow(/32 bytes/);
  });

  it('without any the store takes nothing and says what to do', async () => {
    const without = await startCatalog();
    try {
      expect(await without.call('PUT', '/v1/secrets/x', { value: VALUE })).toMatchObject({
        status: 503,
        body: { detail: expect.stringContaining('OPSLOOP_SECRETS_KEY_FILE') as string },
      });
      expect(existsSync(join(process.cwd(), 'secrets.key'))).toBe(false);
    } finally {
      await without.close();
    }
  });
});

describe('API tokens', () => {
  const make = async (body: Record<string, unknown>) => {
    const answer = await app.call('POST', '/v1/tokens', body);
    expect(answer, JSON.stringify(answer.body)).toMatchObject({ status: 201 });
    return answer.body as unknown as { id: string; token: string };
  };

  it('are shown once and kept as hashes', async () => {
    const { id, token } = await make({ name: 'ci', roles: ['viewer'], groups: ['sre-oncall'] });
    expect(token).toMatch(/^ops_[\w-]{8}_[\w-]{43}$/);
    const { body } = await app.call('GET', '/v1/tokens');
    expect(body.items.find((t) => t['id'] === id)).toEqual({
      id,
      name: 'ci',
      roles: ['viewer'],
      groups: ['sre-oncall'],
      secrets: [],
      createdAt: expect.any(String),
      createdBy: 'admin',
    });
    expect(JSON.stringify(body)).not.toContain(token);
    const rows = await app.database.query<{ line: string }>('SELECT t::text AS line FROM catalog.token t');
    for (const { line } of rows) expect(line).not.toContain(token.slice(-20));
  });

  it('open what their role may do, and nothing else', async () => {
    const viewer = (await make({ name: 'v', roles: ['viewer'] })).token;
    const operator = (await make({ name: 'o', roles: ['operator'] })).token;
    const expert = (await make({ name: 'e', roles: ['expert'] })).token;
    const status = async (method: string, path: string, token: string, body?: unknown) =>
      (await app.call(method, path, body, token)).status;
    const document = { dsl: 'opsloop/v1', kind: 'config', name: 'c', owner: 't', values: {} };
    expect(await status('GET', '/v1/flows', viewer)).toBe(200);
    expect(await status('PUT', '/v1/configs/c', viewer, document)).toBe(403);
    expect(await status('PUT', '/v1/configs/c', operator, document)).toBe(403);
    expect(await status('PUT', '/v1/configs/c', expert, document)).toBe(201);
    expect(await status('GET', '/v1/secrets', viewer)).toBe(403);
    expect(await status('GET', '/v1/secrets', expert)).toBe(200);
    for (const token of [viewer, operator, expert]) {
      expect(await status('PUT', '/v1/secrets/x', token, { value: VALUE })).toBe(403);
      expect(await status('POST', '/v1/tokens', token, { name: 'evil', roles: ['admin'] })).toBe(403);
      expect(await status('GET', '/v1/tokens', token)).toBe(403);
      expect(await status('POST', '/internal/catalog/configs', token, {})).toBe(403);
      expect(await status('POST', '/v1/secrets/resolve', token, { names: ['cmdb-token'] })).toBe(403);
    }
  });

  it('of a worker resolve the secrets that they name', async () => {
    const { token } = await make({ name: 'bmc-worker', roles: ['worker'], secrets: ['cmdb-*'] });
    const asked = (names: string[]) => app.call('POST', '/v1/secrets/resolve', { names }, token);
    expect((await asked(['cmdb-token', 'cmdb-unknown'])).body['secrets']).toEqual([
      { name: 'cmdb-token', version: 3, value: VALUE },
    ]);
    expect(await asked(['cmdb-token', 'short-lived'])).toMatchObject({ status: 403 });
    expect(await asked(['source/x'])).toMatchObject({ status: 400 });
    expect((await app.call('GET', '/v1/flows', undefined, token)).status).toBe(403);
    expect((await app.call('GET', '/v1/secrets', undefined, token)).status).toBe(403);
  });

  it('end when they are revoked, or when their time is up', async () => {
    const { id, token } = await make({ name: 'leaver', roles: ['viewer'], expiresInDays: 1 });
    expect((await app.call('DELETE', `/v1/tokens/${id}`)).status).toBe(204);
    expect((await app.call('DELETE', `/v1/tokens/${id}`)).status).toBe(204);
    expect((await app.call('DELETE', '/v1/tokens/unknown1')).status).toBe(404);
    expect((await app.call('GET', '/v1/flows', undefined, token)).status).toBe(401);
    const again = await make({ name: 'leaver', roles: ['viewer'], expiresInDays: 1 });
    await app.database.query(`UPDATE catalog.token SET expires_at = now() - interval '1 s' WHERE id = $1`, [again.id]);
    expect((await app.call('GET', '/v1/flows', undefined, again.token)).status).toBe(401);
    // An expired token does not keep its name for ever.
    await make({ name: 'leaver', roles: ['viewer'] });
    const { body: audit } = await app.call('GET', '/v1/audit?kind=token&name=leaver');
    expect(audit.items.map((a) => a['act'])).toEqual(['create', 'create', 'revoke', 'create']);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['the name of another', { name: 'v', roles: ['viewer'] }, '/name'],
    ['the name of the admin', { name: 'Admin', roles: ['viewer'] }, '/name'],
    ['no role', { name: 'x', roles: [] }, '/roles'],
    ['the role of the apps', { name: 'x', roles: ['service'] }, '/roles/0'],
    ['a worker that is also an admin', { name: 'x', roles: ['worker', 'admin'] }, '/roles'],
    ['secrets for a viewer', { name: 'x', roles: ['viewer'], secrets: ['a'] }, '/secrets'],
    ['a pattern in the middle', { name: 'x', roles: ['worker'], secrets: ['a*b'] }, '/secrets/0'],
  ])('are refused with %s', async (_what, body, pointer) => {
    const answer = await app.call('POST', '/v1/tokens', body);
    expect([400, 409]).toContain(answer.status);
    expect(answer.body.errors[0]).toMatchObject({ pointer });
  });

  it('cannot be guessed from a near miss', async () => {
    const { token } = await make({ name: 'near', roles: ['viewer'] });
    const changed = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A');
    for (const wrong of [changed, token.slice(0, -1), `${token}x`, token.toLowerCase(), 'ops_', SERVICE.slice(1)])
      expect((await app.call('GET', '/v1/flows', undefined, wrong)).status, wrong).toBe(401);
  });
});
