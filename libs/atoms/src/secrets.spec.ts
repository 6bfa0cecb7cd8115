import { type Json, OpsError } from '@opsloop/contracts';
import { eventually, startHttpTarget } from '@opsloop/testing';
import { describe, expect, it, vi } from 'vitest';
import { CallSecrets, EnvironmentSecrets, FirstOf, platformSecrets, redactError, StoredSecrets } from './secrets.js';

const SECRET = 'canary-8c5f/Zürich+1';
const used = async (...values: string[]): Promise<CallSecrets> => {
  const secrets = new CallSecrets({ get: (name) => Promise.resolve(values[Number(name)]) });
  for (const at of values.keys()) await secrets.resolve(String(at));
  return secrets;
};
const bytes = Buffer.from(SECRET);

describe('redaction', () => {
  it.each<[string, string]>([
    ['as it is', SECRET],
    ['in a text', `Bearer ${SECRET}!`],
    ['twice', `${SECRET}${SECRET}`],
    ['in a URL', `https://x/?t=${encodeURIComponent(SECRET)}&u=1`],
    ['in base64', bytes.toString('base64')],
    ['in base64url', bytes.toString('base64url')],
    ['in hex', bytes.toString('hex')],
    ['in capital hex', bytes.toString('hex').toUpperCase()],
    ['as Basic credentials', `Basic ${Buffer.from(`u:${SECRET}`).toString('base64')}`],
    ['as Basic credentials of a longer user', `Basic ${Buffer.from(`us:${SECRET}`).toString('base64')}`],
    ['as Basic credentials, aligned', `Basic ${Buffer.from(`use:${SECRET}`).toString('base64')}`],
    ['in JSON', JSON.stringify({ a: SECRET })],
    ['cut at the end', `the target said ${SECRET.slice(0, 12)}`],
    ['cut at the start', `${SECRET.slice(5)} was refused`],
    ['cut in the middle of a long text', `a ${SECRET.slice(0, 10)}… 500 bytes left out …${SECRET.slice(3)} b`],
  ])('finds a secret %s', async (_where, text) => {
    const secrets = await used(SECRET);
    const clean = secrets.redactText(text);
    expect(clean).toContain('***');
    for (let at = 0; at + 8 <= SECRET.length; at += 1) expect(clean).not.toContain(SECRET.slice(at, at + 8));
    expect(clean).not.toContain(bytes.toString('base64').slice(4, 16));
    expect(secrets.found).toBe(1);
  });

  it('finds the lines of a key, the longer of two secrets, numbers, and member names', async () => {
    const pem = '-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nshort\n-----END KEY-----';
    expect((await used(pem)).redactText('log: MIIEvQIBADANBgkqhkiG9w0B')).toBe('log: ***');
    expect((await used('pass', 'password1')).redactText('password1 pass')).toBe('*** ***');
    const secrets = await used('123456');
    expect(secrets.redact({ pin: 123456, other: 1234567, '123456': [true, null] })).toEqual({
      pin: '***',
      other: 1234567,
      '***': [true, null],
    });
  });

  it('leaves alone what only looks similar', async () => {
    const secrets = await used('https://hooks.example/T0/B0');
    const text = 'see https://docs.example/T0 and https://hooks.example.org';
    expect(secrets.redactText(text)).toBe(text);
    expect(secrets.found).toBe(0);
  });

  it('takes values out of errors and drops their causes', async () => {
    const secrets = await used(SECRET);
    const error = redactError(
      new OpsError('communication', `401 for ${SECRET}`, {
        cause: new Error(SECRET),
        errors: [{ pointer: '/x', message: 'm' }],
        extensions: { body: { token: SECRET } },
      }),
      secrets,
    ) as OpsError;
    expect(error.detail).toBe('401 for ***');
    expect(JSON.stringify([error.options, error.stack, String(error.cause)])).not.toContain('canary');
    expect(String(redactError(new TypeError(SECRET), secrets))).not.toContain('canary');
  });
});

describe('references', () => {
  it('are filled only where the flow wrote them', async () => {
    const secrets = new CallSecrets(new EnvironmentSecrets({ OPSLOOP_SECRET_A_B: 'value' }));
    const input: Json = { t: { $secret: 'a-b' }, data: { $secret: 'a-b' }, list: [1, { 'x/y': { $secret: 'a-b' } }] };
    expect(await secrets.fill(input, ['/t', '/list/1/x~1y', '/nowhere', '/list/9'])).toEqual({
      t: 'value',
      data: { $secret: 'a-b' },
      list: [1, { 'x/y': 'value' }],
    });
  });

  it('to a secret that is nowhere name it, and are not repeated', async () => {
    const secrets = new CallSecrets(new EnvironmentSecrets({}));
    const error = await secrets.resolve('bmc-token').catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'configuration', options: { extensions: { secret: 'bmc-token' } } });
    expect((error as OpsError).detail).toMatch(/opsloop secrets put bmc-token.*OPSLOOP_SECRET_BMC_TOKEN/);
  });
});

describe('sources', () => {
  it('the store comes before the environment, and its failure is not hidden by it', async () => {
    const environment = new EnvironmentSecrets({ OPSLOOP_SECRET_A: 'env', OPSLOOP_SECRET_B: 'env' });
    const store = new StoredSecrets((name) =>
      name === 'a'
        ? Promise.resolve('stored')
        : name === 'c'
          ? Promise.reject(new Error('down'))
          : Promise.resolve(undefined),
    );
    const both = new FirstOf([store, environment]);
    expect(await both.get('a')).toBe('stored');
    expect(await both.get('b')).toBe('env');
    await expect(both.get('c')).rejects.toThrow('down');
  });

  it('are remembered shortly, and asked once at a time', async () => {
    let asked = 0;
    const store = new StoredSecrets(async (name) => {
      asked += 1;
      await new Promise((resolve) => setImmediate(resolve));
      return name === 'none' ? undefined : `${name}-${asked}`;
    }, 80);
    expect(await Promise.all([store.get('a'), store.get('a')])).toEqual(['a-1', 'a-1']);
    expect(await store.get('a')).toBe('a-1');
    await store.get('none');
    await store.get('none');
    expect(asked).toBe(3);
    await eventually(async () => expect(await store.get('a')).not.toBe('a-1'));
    store.forget();
    const before = asked;
    await store.get('a');
    expect(asked).toBe(before + 1);
  });

  it('leave nothing in memory once they are forgotten', async () => {
    const kept = vi.spyOn(Buffer, 'from');
    const store = new StoredSecrets(() => Promise.resolve('canary-in-memory'));
    await store.get('a');
    const buffers = kept.mock.results.map(({ value }) => value as Buffer).filter((b) => b.includes('canary'));
    kept.mockRestore();
    expect(buffers).toHaveLength(1);
    store.forget();
    expect(buffers[0]!.every((byte) => byte === 0)).toBe(true);
  });

  it('of a worker say clearly what is wrong', async () => {
    const answers: Record<string, { status?: number; body: unknown }> = {
      good: { body: { secrets: [{ name: 'good', version: 1, value: SECRET }] } },
      absent: { body: { secrets: [] } },
      refused: { status: 403, body: { code: 'authorization', detail: 'the token "w" may not resolve "refused"' } },
      down: { status: 503, body: 'no' },
    };
    const target = await startHttpTarget((call) => answers[(call.body as { names: string[] }).names[0]!]!);
    try {
      const secrets = platformSecrets({ url: target.url, token: 'worker-token' });
      expect(await secrets.get('good')).toBe(SECRET);
      expect(target.calls[0]).toMatchObject({
        method: 'POST',
        path: '/v1/secrets/resolve',
        headers: { authorization: 'Bearer worker-token' },
      });
      expect(await secrets.get('absent')).toBeUndefined();
      await expect(secrets.get('refused')).rejects.toMatchObject({ code: 'configuration' });
      await expect(secrets.get('down')).rejects.toMatchObject({ code: 'unavailable' });
    } finally {
      await target.close();
    }
    await expect(platformSecrets({ url: target.url, token: 't' }).get('x')).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
});
