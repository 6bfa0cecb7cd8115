import { RequestMethod } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { accessOf, createHttpApp } from '@opsloop/platform';
import { createTestDatabase, freePort, testTemporal } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stackModule } from './compose.js';

/** Keys under which Nest keeps what `@Controller`, `@Get` and so on say. */
const PATH = 'path';
const METHOD = 'method';

interface Operation {
  summary?: string;
  requestBody?: unknown;
  security?: unknown[];
  parameters?: { name: string; in: string }[];
  responses: Record<string, { content?: Record<string, unknown> }>;
}
interface Document {
  openapi: string;
  security: unknown[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { required?: string[] }> };
}

let app: NestFastifyApplication;
let database: { url: string; drop(): Promise<void> };
let document: Document;

beforeAll(async () => {
  const [made, temporal] = await Promise.all([createTestDatabase(), testTemporal()]);
  database = made;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const platform = {
    host: '127.0.0.1',
    port,
    publicUrl: url,
    adminKey: 'admin-key-of-this-spec-0123456789abcdef',
    serviceToken: 'service-token-of-this-spec-0123456789',
    urls: { ingest: url, decision: url, control: url, catalog: url },
    embedded: true,
    logLevel: 'fatal',
    httpAllow: [],
    tenant: 'default' as const,
    version: '0',
  };
  app = await createHttpApp(stackModule({ platform, temporal, databaseUrl: made.url, env: {} }), {
    title: 'opsloop',
    shutdownHooks: false,
  });
  await app.listen(port, '127.0.0.1');
  document = (await (await fetch(`${url}/openapi.json`)).json()) as Document;
});
afterAll(async () => {
  await app?.close();
  await database?.drop();
});

/** `GET /v1/rules/{domain}/{name}` of every handler of every controller, as Nest serves them. */
function servedRoutes(): string[] {
  const classes = [...app.get(ModulesContainer).values()].flatMap((module) => [...module.controllers.values()]);
  return classes.flatMap(({ metatype }) => {
    const type = metatype as { prototype: object };
    const base = Reflect.getMetadata(PATH, type) as string;
    return Object.getOwnPropertyNames(type.prototype).flatMap((name) => {
      const handler = Object.getOwnPropertyDescriptor(type.prototype, name)!.value as object;
      const method = Reflect.getMetadata(METHOD, handler) as RequestMethod | undefined;
      if (method === undefined) return [];
      const path = [base, Reflect.getMetadata(PATH, handler) as string].join('/').replaceAll(/\/+/g, '/');
      const address = `/${path.replace(/^\//, '').replace(/\/$/, '')}`;
      return [`${RequestMethod[method]} ${address.replaceAll(/:(\w+)/g, '{$1}').replace('*', '{path}')}`];
    });
  });
}

const operations = (): [string, Operation][] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]): [string, Operation] => [
      `${method.toUpperCase()} ${path}`,
      operation,
    ]),
  );

test('every public route is on the API pages, and no internal one', () => {
  const isPublic = (route: string): boolean => / \/v\d+\//.test(route);
  const served = servedRoutes();
  expect(served.filter((route) => !isPublic(route) && !route.includes(' /internal/')).sort()).toEqual([
    'GET /healthz',
    'GET /metrics',
    'GET /readyz',
  ]);
  const shown = operations().map(([route]) => route);
  expect(shown.sort()).toEqual(served.filter(isPublic).sort());
  expect(shown.length).toBeGreaterThan(60);
});

test('each says what it does, what it takes, and how it fails', () => {
  expect(document.openapi).toBe('3.1.0');
  expect(document.security).toEqual([{ bearer: [] }]);
  expect(document.components.schemas['Problem']!.required).toContain('code');
  const pointers = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)].map(([, pointer]) => pointer!);
  for (const pointer of new Set(pointers)) {
    const name = /^#\/components\/schemas\/(\w+)$/.exec(pointer)?.[1];
    expect(document.components.schemas, pointer).toHaveProperty(name ?? pointer);
  }
  for (const [route, operation] of operations()) {
    expect(operation.summary, route).toMatch(/^\S.{5,}/);
    expect(Object.keys(operation.responses['default']?.content ?? {}), route).toEqual(['application/problem+json']);
    const takesBody = /^(PUT|PATCH) /.test(route) || (/^POST /.test(route) && !/\}\/(replay|requeue)$/.test(route));
    expect(operation.requestBody !== undefined, route).toBe(takesBody);
    const inPath = (operation.parameters ?? []).filter((p) => p.in === 'path').map(({ name }) => `{${name}}`);
    expect(inPath.sort(), route).toEqual((route.match(/\{\w+\}/g) ?? []).sort());
  }
  const hook = document.paths['/v1/hooks/{source}']!['post']!;
  expect(hook.security).toEqual([]);
});

test('the table of roles names every route', () => {
  const asRouter = (route: string): string => route.replaceAll(/\{path\}/g, '*').replaceAll(/\{(\w+)\}/g, ':$1');
  for (const [route, operation] of operations()) {
    const [method, path] = asRouter(route).split(' ') as [string, string];
    // Hooks are opened by their source's own authentication.
    if (operation.security?.length === 0) continue;
    expect(accessOf(method, path), route).toBeDefined();
  }
});

test('filters and bodies are those that the routes parse', () => {
  const names = (path: string, method: string): string[] =>
    (document.paths[path]![method]!.parameters ?? []).map(({ name }) => name).sort();
  expect(names('/v1/runs', 'get')).toEqual(['cursor', 'flow', 'limit', 'rule', 'since', 'status', 'tier', 'under']);
  expect(document.paths['/v1/halts']!['post']!.requestBody).toMatchObject({
    content: { 'application/json': { schema: { required: ['scope', 'reason'], additionalProperties: false } } },
  });
});
