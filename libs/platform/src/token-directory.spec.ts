import { startHttpTarget, type HttpTarget, type TargetAnswer } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hashToken } from './auth.pure.js';
import { InternalClient } from './internal-client.service.js';
import { TokenDirectory } from './token-directory.service.js';

const token = (n: number): string => `ops_${String(n).padStart(8, '0')}_${'x'.repeat(43)}`;
const principal = {
  tenant: 'default',
  kind: 'token' as const,
  name: 'ann',
  roles: ['operator'],
  groups: ['sre'],
  secrets: [],
};
let catalog: HttpTarget;
let answer: () => TargetAnswer | Promise<TargetAnswer>;
let now: number;
let tokens: TokenDirectory;

beforeAll(async () => {
  catalog = await startHttpTarget(() => answer());
});
afterAll(() => catalog.close());
beforeEach(() => {
  catalog.calls.length = 0;
  now = Date.parse('2026-01-01T00:00:00Z');
  answer = () => ({ body: { principal } });
  const { url } = catalog;
  const client = new InternalClient({
    urls: { ingest: url, decision: url, control: url, catalog: url },
    serviceToken: 'service',
  });
  tokens = new TokenDirectory(client, { now: () => new Date(now) });
});

describe('API tokens', () => {
  it('are asked for by hash, once for many requests, and again after 5 s', async () => {
    expect(await Promise.all([tokens.find(token(1)), tokens.find(token(1))])).toEqual([principal, principal]);
    expect(await tokens.find(token(1))).toEqual(principal);
    expect(catalog.calls.map(({ path, body }) => ({ path, body }))).toEqual([
      {
        path: '/internal/catalog/tokens/find',
        body: { id: '00000001', hash: hashToken(token(1)).toString('base64url') },
      },
    ]);
    answer = () => ({ body: {} });
    now += 4_900;
    expect(await tokens.find(token(1))).toEqual(principal);
    now += 200;
    expect(await tokens.find(token(1))).toBeUndefined();
  });

  it.each([
    '',
    'x',
    'ops_',
    'ops_short_x',
    `${token(1)}x`,
    token(1).slice(1),
    'Bearer x',
    `ops_${'a/b?c=d#'}_${'x'.repeat(43)}`,
  ])('of another shape cost nobody a question: %j', async (text) => {
    expect(await tokens.find(text)).toBeUndefined();
    expect(catalog.calls).toEqual([]);
  });

  it('end at their hour, whatever is remembered', async () => {
    answer = () => ({ body: { principal, expiresAt: '2026-01-01T00:00:02Z' } });
    expect(await tokens.find(token(1))).toEqual(principal);
    now += 2_000;
    expect(await tokens.find(token(1))).toBeUndefined();
  });

  it('that were good lately stay so while the catalog is away, for ten minutes; unknown ones do not get in', async () => {
    await tokens.find(token(1));
    answer = () => ({ status: 503, body: 'away' });
    now += 590_000;
    expect(await tokens.find(token(1))).toEqual(principal);
    await expect(tokens.find(token(2))).rejects.toMatchObject({ code: 'unavailable' });
    now += 20_000;
    await expect(tokens.find(token(1))).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('that are guessed in numbers are turned away before they cost the catalog anything', async () => {
    let letGo = (): void => undefined;
    const gate = new Promise<void>((resolve) => (letGo = resolve));
    answer = async () => {
      await gate;
      return { body: {} };
    };
    const guesses = Array.from({ length: 30 }, (_, n) =>
      Promise.resolve()
        .then(() => tokens.find(token(n)))
        .catch((error: unknown) => (error as { code: string }).code),
    );
    // The ones beyond are answered while the others still wait.
    const early = await Promise.race([Promise.all(guesses.slice(20)), gate]);
    expect(early).toEqual(Array.from({ length: 10 }, () => 'overload'));
    letGo();
    expect(await Promise.all(guesses.slice(0, 20))).toEqual(Array.from({ length: 20 }, () => undefined));
  });
});
