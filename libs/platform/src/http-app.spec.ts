import 'reflect-metadata';
import { connect } from 'node:net';
import { Body, Controller, Get, Module, Param, Post, Query, Req } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ApiCreatedResponse } from '@nestjs/swagger';
import { OpsError, type Problem } from '@opsloop/contracts';
import type { FastifyRequest } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  BodyLimit,
  createHttpApp,
  CurrentPrincipal,
  InternalClient,
  PageQuery,
  parseBody,
  parseQuery,
  type PlatformConfig,
  PlatformModule,
  type Principal,
  Public,
  Readiness,
  ServiceOnly,
} from './index.js';

const ADMIN = 'admin-key-of-this-spec';
const SERVICE = 'service-token-of-this-spec';

const Order = z
  .strictObject({ name: z.string(), 'a/b': z.strictObject({ count: z.int() }).optional() })
  .meta({ id: 'Order' });

@Controller()
class OrdersController {
  @Post('v1/orders')
  @ApiCreatedResponse({ standardSchema: Order })
  create(@Body({ schema: Order }) body: z.infer<typeof Order>): unknown {
    return body;
  }

  @Post('v1/parsed')
  parsed(@Body() body: unknown): unknown {
    return { body: parseBody(Order, body) };
  }

  @Get('v1/orders')
  list(@Query() query: unknown): unknown {
    return parseQuery(PageQuery, query);
  }

  @Get('v1/orders/:id')
  one(@Param('id') id: string, @CurrentPrincipal() principal: Principal): unknown {
    if (id === 'broken') throw new TypeError('SELECT secret FROM vault');
    if (id === 'busy') throw new OpsError('overload', 'Too much at once', { retryAfterSec: 7 });
    if (id === 'rejected') throw new OpsError('admission-rejected', 'No', { extensions: { policies: ['ops/x'] } });
    return { id, principal };
  }

  @Public()
  @Post('v1/hooks/:source')
  hook(@Req() request: FastifyRequest, @Body() body: unknown): unknown {
    return { raw: request.rawBody?.toString('utf8') ?? null, body: body ?? null };
  }

  @Post('v1/small')
  @BodyLimit(1_000)
  small(): unknown {
    return {};
  }

  @ServiceOnly()
  @Post('internal/halts')
  halts(): unknown {
    return { asOf: 'now', halts: [] };
  }

  @ServiceOnly()
  @Post('internal/events/get')
  event(@Body() body: { eventId: string }): unknown {
    throw new OpsError('not-found', `no event ${body.eventId}`);
  }
}

let app: NestFastifyApplication;
let url: string;
const urls = { ingest: '', decision: '', control: '', catalog: 'http://127.0.0.1:1' };

beforeAll(async () => {
  const config: PlatformConfig = {
    host: '127.0.0.1',
    port: 0,
    publicUrl: 'http://127.0.0.1',
    adminKey: ADMIN,
    serviceToken: SERVICE,
    urls,
    embedded: true,
    logLevel: 'silent',
    httpAllow: [],
    tenant: 'default',
    version: '1.2.3',
  };
  @Module({ imports: [PlatformModule.forRoot(config)], controllers: [OrdersController] })
  class SpecModule {}
  app = await createHttpApp(SpecModule, { title: 'Spec', shutdownHooks: false });
  await app.listen(0, '127.0.0.1');
  url = await app.getUrl();
  urls.control = urls.ingest = url;
});

afterAll(async () => {
  await app.close();
});

interface Sent {
  method?: string;
  body?: string;
  type?: string | null;
  token?: string | null;
  headers?: Record<string, string>;
}

async function send(path: string, sent: Sent = {}): Promise<{ status: number; headers: Headers; body: Problem }> {
  const { token = ADMIN, type = 'application/json' } = sent;
  const headers = { ...sent.headers };
  if (token !== null) headers['authorization'] = `Bearer ${token}`;
  if (sent.body !== undefined && type !== null) headers['content-type'] = type;
  const init: RequestInit = { method: sent.method ?? (sent.body === undefined ? 'GET' : 'POST'), headers };
  if (sent.body !== undefined) init.body = type === null ? Buffer.from(sent.body) : sent.body;
  const response = await fetch(url + path, init);
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: (/json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text) as Problem,
  };
}

const nested = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth);

describe('every bad input is a problem document', () => {
  const good = '{"name":"x"}';
  test.each<[string, string, Sent, number, string, string?]>([
    ['malformed JSON', '/v1/parsed', { body: '{"name":' }, 400, 'malformed-json'],
    ['JSON with a trailing comma', '/v1/parsed', { body: '{"name":"x",}' }, 400, 'malformed-json'],
    ['bytes that are not JSON', '/v1/parsed', { body: '\u0000\u0001' }, 400, 'malformed-json'],
    ['__proto__', '/v1/parsed', { body: '{"name":"x","__proto__":{"a":1}}' }, 400, 'validation', '/__proto__'],
    ['NUL', '/v1/parsed', { body: '{"name":"a\\u0000"}' }, 400, 'validation', '/name'],
    ['half a surrogate pair', '/v1/parsed', { body: '{"q":["\\ud800"]}' }, 400, 'validation', '/q/0'],
    ['NUL in a name', '/v1/parsed', { body: '{"q":{"\\u0000":1}}' }, 400, 'validation', '/q'],
    ['a number without end', '/v1/parsed', { body: '{"n":1e400}' }, 400, 'validation', '/n'],
    ['nested __proto__', '/v1/parsed', { body: '{"q":[{"__proto__":1}]}' }, 400, 'validation', '/q/0/__proto__'],
    [
      'constructor.prototype',
      '/v1/parsed',
      { body: '{"constructor":{"prototype":{}}}' },
      400,
      'validation',
      '/constructor',
    ],
    ['2 MB', '/v1/parsed', { body: JSON.stringify({ name: 'x'.repeat(2_000_000) }) }, 413, 'payload-too-large'],
    [
      'above a limit of the route',
      '/v1/small',
      { body: JSON.stringify({ n: 'x'.repeat(1_000) }) },
      413,
      'payload-too-large',
    ],
    ['a form', '/v1/parsed', { body: 'a=1', type: 'application/x-www-form-urlencoded' }, 415, 'unsupported-media-type'],
    ['XML', '/v1/parsed', { body: '<a/>', type: 'application/xml' }, 415, 'unsupported-media-type'],
    ['no content type', '/v1/parsed', { body: good, type: null }, 415, 'unsupported-media-type'],
    ['33 levels', '/v1/parsed', { body: nested(33) }, 400, 'validation', '/a'.repeat(32)],
    [
      '100,000 levels',
      '/v1/parsed',
      { body: '['.repeat(100_000) + ']'.repeat(100_000) },
      400,
      'validation',
      '/0'.repeat(32),
    ],
    ['200,000 items', '/v1/parsed', { body: JSON.stringify(new Array(200_000).fill(1)) }, 400, 'validation', ''],
    ['an unknown member', '/v1/parsed', { body: '{"name":"x","nmae":1}' }, 400, 'validation', '/nmae'],
    [
      'a wrong type deep inside',
      '/v1/parsed',
      { body: '{"name":"x","a/b":{"count":"1"}}' },
      400,
      'validation',
      '/a~1b/count',
    ],
    ['the same through a decorator', '/v1/orders', { body: '{"name":1}' }, 400, 'validation', '/name'],
    ['an absent body', '/v1/parsed', { method: 'POST' }, 400, 'validation', ''],
    ['a limit above 500', '/v1/orders?limit=501', {}, 400, 'validation', '/limit'],
    ['a limit given twice', '/v1/orders?limit=1&limit=2', {}, 400, 'validation', '/limit'],
    ['an unknown parameter', '/v1/orders?limt=1', {}, 400, 'validation', '/limt'],
    ['an unknown route', '/v1/nothing', {}, 404, 'not-found'],
    ['an unknown route with a body', '/v1/nothing', { body: good }, 404, 'not-found'],
    ['a method the route does not take', '/v1/orders', { method: 'DELETE' }, 405, 'method-not-allowed'],
    ['the same on a route with a parameter', '/v1/orders/7', { method: 'PUT', body: good }, 405, 'method-not-allowed'],
    ['a URL with broken escapes', '/v1/orders/%zz', {}, 400, 'validation'],
    ['no token', '/v1/orders', { token: null }, 401, 'authentication'],
    ['a wrong token', '/v1/orders', { token: 'nope' }, 401, 'authentication'],
    ['a prefix of the token', '/v1/orders', { token: ADMIN.slice(0, -1) }, 401, 'authentication'],
    ['the admin on an internal route', '/internal/halts', { body: '{}' }, 403, 'authorization'],
    ['no token on an internal route', '/internal/halts', { body: '{}', token: null }, 401, 'authentication'],
    ['an unknown error', '/v1/orders/broken', {}, 500, 'internal'],
    ['an overload', '/v1/orders/busy', {}, 503, 'overload'],
  ])('%s', async (_name, path, sent, status, code, pointer) => {
    const answer = await send(path, sent);
    expect(answer).toMatchObject({ status, body: { status, code, type: `https://opsloop.dev/errors/${code}` } });
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(answer.body.instance).toBe(path.split('?')[0]);
    if (pointer !== undefined) expect(answer.body.errors?.map((e) => e.pointer)).toContain(pointer);
    expect(JSON.stringify(answer.body)).not.toMatch(/secret FROM vault|node_modules/);
    expect(({} as Record<string, unknown>)['a']).toBeUndefined();
  });

  test('405 names the methods, 401 the scheme, 503 when to come back, 409 what was in the way', async () => {
    expect((await send('/v1/orders', { method: 'DELETE' })).headers.get('allow')).toBe('GET, HEAD, POST');
    expect((await send('/v1/orders', { token: null })).headers.get('www-authenticate')).toBe('Bearer');
    expect((await send('/v1/orders/busy')).headers.get('retry-after')).toBe('7');
    expect((await send('/v1/orders/rejected')).body).toMatchObject({ status: 409, policies: ['ops/x'] });
  });

  test.each([
    ['an unknown HTTP method', 'GRAB / HTTP/1.1\r\nhost: x\r\n\r\n', 400],
    ['headers above the limit', `GET / HTTP/1.1\r\nhost: x\r\nx-big: ${'y'.repeat(40_000)}\r\n\r\n`, 431],
  ])('%s, below the framework', async (_name, text, status) => {
    const answer = await raw(text);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain('application/problem+json');
  });
});

function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

describe('what is accepted', () => {
  test.each([
    ['application/json', '{"a":1}', { a: 1 }],
    ['application/json; charset=utf-8', '{"a":1}', { a: 1 }],
    ['application/cloudevents+json', '{"a":1}', { a: 1 }],
    ['application/cloudevents-batch+json; charset=UTF-8', '[1]', [1]],
    ['text/plain', 'hello', 'hello'],
    ['application/json', '', null],
    ['application/json', nested(32), JSON.parse(nested(32)) as unknown],
    ['application/json', '{"constructor":"Acme"}', { constructor: 'Acme' }],
  ])('%s %#: parsed, and kept raw, on a public route without a token', async (type, text, parsed) => {
    const { status, body } = await send('/v1/hooks/x', { body: text, type, token: null });
    expect({ status, body }).toEqual({ status: 201, body: { raw: text, body: parsed } });
  });

  test('the principal of each token', async () => {
    expect((await send('/v1/orders/1')).body).toMatchObject({
      principal: { kind: 'user', name: 'admin', tenant: 'default' },
    });
    expect((await send('/v1/orders/1', { token: SERVICE })).body).toMatchObject({ principal: { kind: 'service' } });
  });

  test('a short request id is kept, a strange one replaced; answers are not sniffed, framed or cached', async () => {
    const kept = await send('/healthz', { headers: { 'x-request-id': 'abc-1' } });
    expect(kept.headers.get('x-request-id')).toBe('abc-1');
    const replaced = await send('/healthz', { headers: { 'x-request-id': 'x'.repeat(500) } });
    expect(replaced.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(Object.fromEntries(kept.headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringContaining("frame-ancestors 'none'") as string,
      'cache-control': 'no-store',
    });
  });
});

describe('around the routes', () => {
  test('readiness names the part that is not ready', async () => {
    expect((await send('/readyz', { token: null })).status).toBe(200);
    app.get(Readiness).register('moon', () => Promise.reject(new Error('not full')));
    const answer = await send('/readyz', { token: null });
    expect(answer).toMatchObject({
      status: 503,
      body: { ready: false, parts: [{ name: 'moon', ok: false, detail: 'not full' }] },
    });
    app.get(Readiness).register('moon', () => undefined);
    expect((await send('/readyz', { token: null })).status).toBe(200);
  });

  test('metrics are public and text', async () => {
    const answer = await send('/metrics', { token: null });
    expect(String(answer.body)).toContain('process_cpu_seconds_total');
  });

  test('OpenAPI 3.1 holds public routes and their schemas, not internal ones', async () => {
    const document = (await send('/openapi.json', { token: null })).body as unknown as {
      openapi: string;
      paths: Record<string, unknown>;
      components: { schemas: Record<string, unknown> };
    };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toContain('/v1/orders');
    expect(Object.keys(document.paths).filter((path) => path.startsWith('/internal'))).toEqual([]);
    expect(document.components.schemas['Order']).toMatchObject({ type: 'object', additionalProperties: false });
    expect(document.components.schemas['Problem']).toBeDefined();
    expect(JSON.stringify(document.paths['/v1/orders'])).toContain('#/components/schemas/Order');
  });

  test('the API pages answer', async () => {
    const answer = await send('/docs', { token: null });
    expect(answer.status).toBe(200);
    expect(String(answer.body)).toContain('swagger-ui');
  });
});

describe('InternalClient', () => {
  test('calls the owner with the service token', async () => {
    const answer = await app.get(InternalClient).call('POST /internal/halts', {});
    expect(answer).toEqual({ asOf: 'now', halts: [] });
  });

  test('rethrows a problem under its code', async () => {
    const call = app.get(InternalClient).call('POST /internal/events/get', { eventId: 'e-1' });
    await expect(call).rejects.toMatchObject({ code: 'not-found', detail: 'no event e-1' });
  });

  test('nobody there is unavailable', async () => {
    const call = app.get(InternalClient).call('POST /internal/catalog/configs', {});
    await expect(call).rejects.toMatchObject({ code: 'unavailable' });
  });
});
