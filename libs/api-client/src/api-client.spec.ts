import { startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, TargetAnswer } from '@opsloop/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiProblem, ApiUnreachable, OpsloopClient } from './index.js';

let answer: (path: string) => TargetAnswer = () => ({});
let server: HttpTarget;
let client: OpsloopClient;
beforeEach(async () => {
  server = await startHttpTarget((call) => answer(call.path));
  client = new OpsloopClient({ url: `${server.url}/`, token: 'key-1' });
});
afterEach(() => server.close());

const problem = {
  type: 'https://opsloop.dev/errors/not-found',
  title: 'Not found',
  status: 404,
  code: 'not-found',
  detail: 'there is no flow a/b',
  errors: [{ pointer: '/x', message: 'y' }],
};

describe('the client', () => {
  it('sends the token and JSON, and reads the answer', async () => {
    answer = () => ({ status: 201, body: { change: 'created' } });
    expect(await client.putDocument('flow', 'fleet/restart', { a: 1 })).toEqual({ change: 'created' });
    expect(server.calls[0]).toMatchObject({ method: 'PUT', path: '/v1/flows/fleet/restart', body: { a: 1 } });
    expect(server.calls[0]!.headers).toMatchObject({
      authorization: 'Bearer key-1',
      'content-type': 'application/json',
    });
  });

  it('encodes names by segment and drops absent query parameters', async () => {
    answer = () => ({ body: { items: [] } });
    await client.getDocument('resource', 'host/dc 1/a#b');
    await client.listRuns({ status: 'running', rule: undefined, label: ['a=1', 'b=2'] });
    expect(server.calls.map((call) => call.path)).toEqual([
      '/v1/resources/host/dc%201/a%23b',
      '/v1/runs?status=running&label=a%3D1&label=b%3D2',
    ]);
  });

  it('throws problems with their code and field errors', async () => {
    answer = () => ({ status: 404, body: problem, headers: { 'content-type': 'application/problem+json' } });
    const error = await client.getDocument('flow', 'a/b').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ApiProblem);
    expect(error).toMatchObject({
      status: 404,
      code: 'not-found',
      message: 'there is no flow a/b',
      errors: [{ pointer: '/x', message: 'y' }],
    });
  });

  it('says who did not answer: nobody, or a stranger', async () => {
    answer = () => ({ status: 502, body: '<html>' });
    await expect(client.status()).rejects.toThrow(ApiUnreachable);
    await server.close();
    const error = (await client.status().catch((e: unknown) => e)) as ApiUnreachable;
    expect(error).toBeInstanceOf(ApiUnreachable);
    expect(error.message).toContain('ECONNREFUSED');
    server = await startHttpTarget();
  });

  it('walks all pages of a list', async () => {
    answer = (path) => ({ body: path.includes('cursor=c2') ? { items: [3] } : { items: [1, 2], nextCursor: 'c2' } });
    const items: number[] = [];
    for await (const item of client.http.all<number>('/v1/events', { type: 'x' })) items.push(item);
    expect(items).toEqual([1, 2, 3]);
    expect(server.calls.map((call) => call.path)).toEqual([
      '/v1/events?limit=500&type=x',
      '/v1/events?limit=500&type=x&cursor=c2',
    ]);
  });

  it('reads what is missing from /readyz', async () => {
    answer = () => ({ status: 503, body: { ready: false, parts: [{ name: 'temporal', ok: false }] } });
    expect(await client.readiness()).toEqual({ ready: false, parts: [{ name: 'temporal', ok: false }] });
  });
});
