import 'reflect-metadata';
import { Module } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { AtomCall, AtomDocument, GateContext, HaltView, Json } from '@opsloop/contracts';
import { createHttpApp, PlatformModule, type PlatformConfig } from '@opsloop/platform';
import { problemOfFailure, TemporalConnection, TemporalModule } from '@opsloop/temporal';
import { eventually, freePort, startHttpTarget, testTemporal, type HttpTarget } from '@opsloop/testing';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dslInterpreterConfigFromEnv } from './config.js';
import { DslInterpreterModule } from './dsl-interpreter.module.js';
import { FlowActivitiesService } from './serve-runs/flow-activities.service.js';

/** Plays the other apps: answers their internal routes and records what it is asked. */
let others: HttpTarget;
/** What atoms act on. */
let world: HttpTarget;
let halts: HaltView[] = [];
let controlDown = false;
let app: NestFastifyApplication;
let temporal: TemporalConnection;
const cacheDir = mkdtempSync(join(tmpdir(), 'opsloop-interpreter-'));

beforeAll(async () => {
  others = await startHttpTarget((call) => {
    if (controlDown && !call.path.startsWith('/v1/events')) return { status: 503, body: 'down' };
    if (call.path === '/internal/halts') return { body: { asOf: new Date().toISOString(), halts } };
    if (call.path === '/internal/decision/resources') return { body: { items: [{ path: 'host/a' }] } };
    if (call.path.endsWith('/outcome')) return { body: { closed: true } };
    if (call.path.endsWith('/claims')) return { body: { granted: true, fence: '7' } };
    if (call.path.endsWith('/release')) return { body: { released: true } };
    return { status: 202, body: { items: [] } };
  });
  world = await startHttpTarget(() => ({ body: { done: true } }));
  const { address, namespace } = await testTemporal();
  const platform: PlatformConfig = {
    host: '127.0.0.1',
    port: await freePort(),
    publicUrl: 'http://127.0.0.1',
    serviceToken: 'service-token-of-this-spec-0123456789',
    urls: { ingest: others.url, decision: others.url, control: others.url, catalog: others.url },
    embedded: true,
    logLevel: 'fatal',
    httpAllow: [],
    ownPorts: [Number(new URL(others.url).port)],
    tenant: 'default',
    version: '0',
  };
  const env = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    OPSLOOP_CACHE: cacheDir,
    OPSLOOP_SECRET_CMDB_TOKEN: 's3cr3t-token',
  };
  @Module({
    imports: [
      PlatformModule.forRoot(platform),
      TemporalModule.forRoot({ address, namespace }),
      DslInterpreterModule.register(dslInterpreterConfigFromEnv(env)),
    ],
  })
  class Root {}
  app = await createHttpApp(Root, { title: 'spec', shutdownHooks: false });
  await app.listen(platform.port, platform.host);
  temporal = app.get(TemporalConnection);
});
afterAll(async () => {
  await app?.close();
  await others?.close();
  await world?.close();
  await rm(cacheDir, { recursive: true, force: true });
});
beforeEach(() => {
  halts = [];
  controlDown = false;
  world.calls.length = 0;
});

const gate: GateContext = {
  flow: 'fleet/restart',
  tier: 'P2',
  atom: 'http.request',
  effect: 'mutate',
  targets: ['host/a'],
  phase: 'forward',
};
let counter = 0;
const run = (atom: string, input: Json, more: Partial<AtomCall> = {}, maximumAttempts = 1): Promise<Json> => {
  const call: AtomCall = {
    input,
    context: { run: 'run-1', step: 'a', key: 'ops-1', fence: '9', tenant: 'default', dryRun: false },
    gate,
    ...more,
  };
  counter += 1;
  return temporal.client.activity.execute<Json>(atom, {
    id: `interpreter-${process.pid}-${counter}`,
    taskQueue: 'opsloop-atoms',
    args: [call],
    startToCloseTimeout: '10s',
    retry: { maximumAttempts, initialInterval: '10ms' },
  });
};
const failureOf = async (act: Promise<unknown>) =>
  problemOfFailure(
    await act.then(
      () => new Error('it succeeded'),
      (error: unknown) => error,
    ),
  );

describe('atoms on the worker', () => {
  it('bundled ones by their name, with key and fence', async () => {
    expect(await run('http.request', { method: 'POST', url: world.url, body: { a: 1 } })).toMatchObject({
      status: 200,
      body: { done: true },
    });
    expect(world.calls).toMatchObject([
      { method: 'POST', headers: { 'idempotency-key': 'ops-1', 'opsloop-fence': '9' } },
    ]);
    expect(await run('resource.list', { kind: 'host' })).toEqual({ items: [{ path: 'host/a' }] });
    expect(await run('script.run', { argv: ['echo', 'hi'] })).toMatchObject({ stdout: 'hi\n', exitCode: 0 });
  });

  it('declared ones over http, with templates, config and secrets', async () => {
    const atom: Pick<AtomDocument, 'name' | 'version' | 'http' | 'output'> = {
      name: 'cmdb.host.retire',
      version: '1.0.0',
      http: {
        method: 'POST',
        url: '${config.cmdb.url}/v2/retire',
        headers: { authorization: 'Bearer ${secrets.cmdb-token}' },
        body: { host: '${input.host}' },
        expect: [200],
        output: { done: '${response.body.done}', status: '${response.status}' },
      },
      output: { schema: { type: 'object', required: ['done'], properties: { done: { type: 'boolean' } } } },
    };
    const output = await run('cmdb.host.retire', { host: 'host/a' }, { atom, config: { cmdb: { url: world.url } } });
    expect(output).toEqual({ done: true, status: 200 });
    expect(world.calls).toMatchObject([
      { path: '/v2/retire', body: { host: 'host/a' }, headers: { authorization: 'Bearer s3cr3t-token' } },
    ]);
    const wrong = { ...atom, output: { schema: { type: 'object', required: ['ticket'] } } };
    expect(
      await failureOf(
        run('cmdb.host.retire', { host: 'host/a' }, { atom: wrong, config: { cmdb: { url: world.url } } }),
      ),
    ).toMatchObject({ code: 'validation' });
  });

  it('declared ones as script, with results from $OPSLOOP_OUTPUT', async () => {
    const atom = {
      name: 'fleet.log.clean',
      version: '1.0.0',
      script: {
        interpreter: ['sh', '-eu'],
        source: 'echo "cleaned=$DAYS" >> "$OPSLOOP_OUTPUT"; echo "$OPSLOOP_KEY"',
        env: { DAYS: '${input.days|string}' },
      },
    };
    expect(await run('fleet.log.clean', { days: 7 }, { atom })).toMatchObject({
      values: { cleaned: '7' },
      stdout: 'ops-1\n',
    });
  });

  it('never reach the ports of opsloop itself', async () => {
    expect(await failureOf(run('http.request', { method: 'GET', url: `${others.url}/internal/halts` }))).toMatchObject({
      code: 'authorization',
    });
  });

  it('are repeated when the target was unreachable, not when it said no', async () => {
    expect(await failureOf(run('http.request', { method: 'GET', url: 'http://127.0.0.1:1/' }, {}, 2))).toMatchObject({
      code: 'communication',
      retryable: true,
    });
    expect(await failureOf(run('no.such.atom', {}))).toMatchObject({ code: 'configuration', retryable: false });
  });
});

describe('halts', () => {
  const halt = (more: Partial<HaltView>): HaltView => ({
    id: 'h1',
    scope: {},
    running: 'pause',
    reason: 'storm',
    by: 'ann',
    since: '',
    ...more,
  });

  it('stop a step within two seconds, and let it go when lifted; what only reads goes on', async () => {
    halts = [halt({ scope: { paths: ['host/a'] } })];
    await eventually(
      async () =>
        expect(await failureOf(run('http.request', { method: 'GET', url: world.url }))).toMatchObject({
          code: 'halted',
          halt: 'h1',
        }),
      { timeoutMs: 2_000 },
    );
    expect(
      await run('http.request', { method: 'GET', url: world.url }, { gate: { ...gate, targets: ['host/b'] } }),
    ).toMatchObject({ status: 200 });
    expect(await run('probe.http', { url: world.url }, { gate: { ...gate, effect: 'read' } })).toMatchObject({
      state: 'up',
    });
    halts = [];
    await eventually(
      async () => expect(await run('http.request', { method: 'GET', url: world.url })).toMatchObject({ status: 200 }),
      { timeoutMs: 2_000 },
    );
  });

  it('nothing that changes anything starts while control does not answer', async () => {
    controlDown = true;
    const stopped = { code: 'halted', controlUnreachable: true };
    await eventually(
      async () =>
        expect(await failureOf(run('http.request', { method: 'GET', url: world.url }))).toMatchObject(stopped),
      { timeoutMs: 5_000 },
    );
    expect(await run('probe.http', { url: world.url }, { gate: { ...gate, effect: 'read' } })).toMatchObject({
      state: 'up',
    });
    controlDown = false;
    expect(await run('http.request', { method: 'GET', url: world.url })).toMatchObject({ status: 200 });
  });
});

describe('what flows ask of the others', () => {
  const last = (path: string) => others.calls.filter((call) => call.path === path).at(-1);

  it('reports, claims, releases and emits with the service token', async () => {
    const activities = app.get(FlowActivitiesService, { strict: false }).activities();
    await activities['opsloop.reportOutcome']({
      run: 'run-1',
      tenant: 'default',
      outcome: { status: 'succeeded', steps: [], targets: [] },
    });
    expect(last('/internal/runs/run-1/outcome')).toMatchObject({
      body: { status: 'succeeded' },
      headers: { authorization: 'Bearer service-token-of-this-spec-0123456789' },
    });
    expect(
      await activities['opsloop.claim']({ run: 'run-1', step: 'a', claims: [{ path: 'host/a', mode: 'exclusive' }] }),
    ).toEqual({ granted: true, fence: '7' });
    await activities['opsloop.release']({ run: 'run-1', step: 'a' });
    expect(last('/internal/runs/run-1/release')).toMatchObject({ body: { step: 'a' } });
    const emit = {
      context: { run: 'run-1', step: 'a', key: 'ops-1', tenant: 'default', dryRun: false },
      type: 'fleet.done',
      correlationId: 'c',
      hops: 0,
    };
    await activities['opsloop.emit'](emit);
    expect(last('/v1/events')).toMatchObject({
      headers: { 'content-type': 'application/cloudevents+json' },
      body: { type: 'fleet.done', hops: 1, correlationid: 'c' },
    });
  });
});

it('is ready when both workers poll', async () => {
  const { ready, parts } = (await app.inject({ url: '/readyz' })).json<{
    ready: boolean;
    parts: { name: string; ok: boolean }[];
  }>();
  expect(parts.filter((p) => !p.ok)).toEqual([]);
  expect(parts.map((p) => p.name)).toEqual(expect.arrayContaining(['temporal', 'atom worker', 'flow worker']));
  expect(ready).toBe(true);
});
