import 'reflect-metadata';
import { Module } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  stepKey,
  type AtomCall,
  type AtomDocument,
  type CompiledFlow,
  type GateContext,
  type HaltView,
  type Json,
  type PinnedAtom,
  type RunInput,
  type StepRecord,
} from '@opsloop/contracts';
import { createHttpApp, PlatformModule, type PlatformConfig } from '@opsloop/platform';
import { problemOfFailure, TemporalConnection, TemporalModule } from '@opsloop/temporal';
import { eventually, freePort, startHttpTarget, testTemporal, type HttpTarget } from '@opsloop/testing';
import { mkdtempSync, readdirSync } from 'node:fs';
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
/** What the secret store keeps. */
let kept: { name: string; version: number; value: string }[] = [];
let app: NestFastifyApplication;
let temporal: TemporalConnection;
const cacheDir = mkdtempSync(join(tmpdir(), 'opsloop-interpreter-'));

beforeAll(async () => {
  others = await startHttpTarget((call) => {
    if (controlDown && !call.path.startsWith('/v1/events')) return { status: 503, body: 'down' };
    if (call.path === '/internal/halts') return { body: { asOf: new Date().toISOString(), halts } };
    if (call.path === '/internal/decision/resources') return { body: { items: [{ path: 'host/a' }] } };
    if (call.path === '/internal/catalog/secrets/resolve') {
      if (controlDown) return { status: 503, body: 'down' };
      const { names } = call.body as { names: string[] };
      return { body: { secrets: names.flatMap((name) => kept.filter((secret) => secret.name === name)) } };
    }
    if (call.path === '/internal/catalog/atom') return { body: { examples: [{ input: {}, output: { done: true } }] } };
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
  kept = [];
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

  it('take secrets from the store, then from the environment; a missing one is named and not repeated', async () => {
    kept = [{ name: 'stored-token', version: 2, value: 'from-the-store' }];
    const input = (name: string): Json => ({ method: 'POST', url: world.url, headers: { 'x-key': { $secret: name } } });
    const call = (name: string, attempts = 1) =>
      run('http.request', input(name), { secrets: ['/headers/x-key'] }, attempts);
    await call('stored-token');
    await call('cmdb-token');
    expect(world.calls.map((c) => c.headers['x-key'])).toEqual(['from-the-store', 's3cr3t-token']);
    expect(await failureOf(call('bmc-token', 3))).toMatchObject({
      code: 'configuration',
      retryable: false,
      secret: 'bmc-token',
      detail: expect.stringContaining('opsloop secrets put bmc-token') as string,
    });
    expect(world.calls).toHaveLength(2);
    const asked = others.calls.filter((c) => c.path.endsWith('/secrets/resolve')).map((c) => c.body);
    // Once, not once per attempt.
    expect(asked.filter((body) => JSON.stringify(body).includes('bmc-token'))).toHaveLength(1);
  });

  it('take a secret out of an output that gives it back', async () => {
    const atom = {
      name: 'team.echo',
      version: '1.0.0',
      script: {
        interpreter: ['sh', '-eu'],
        source: 'echo "key is $KEY"; echo "half=${KEY%?????}" >> "$OPSLOOP_OUTPUT"; echo "$KEY" | base64 >&2',
        env: { KEY: '${secrets.cmdb-token}' },
      },
    };
    const output = JSON.stringify(await run('team.echo', {}, { atom }));
    expect(output).toContain('key is ***');
    expect(output).not.toMatch(/s3cr3t-token|czNjcjN0/);
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

describe('a run', () => {
  const atom = (name: string, more: Partial<PinnedAtom>): PinnedAtom => ({
    name,
    version: '1.0.0',
    effect: 'mutate',
    idempotency: 'native',
    execution: 'activity',
    activity: name,
    retry: { maximumAttempts: 1 },
    ...more,
  });
  const http = (path: string): PinnedAtom['manifest'] => ({
    name: 'cmdb.host.touch',
    version: '1.0.0',
    http: {
      method: 'POST',
      url: `\${config.cmdb.url}${path}`,
      body: { host: '${input.host}' },
      output: { done: '${response.body.done}' },
    },
  });
  const ir: CompiledFlow = {
    ir: 1,
    digest: 'd',
    flows: {},
    atoms: {
      'cmdb.host.touch@1': atom('cmdb.host.touch', { manifest: http('/touch') }),
      'cmdb.host.look@1': atom('cmdb.host.look', {
        execution: 'local',
        manifest: { ...http('/look')!, name: 'cmdb.host.look' },
      }),
      'script.run@1': atom('script.run', { idempotency: 'none' }),
    },
    flow: {
      dsl: 'opsloop/v1',
      kind: 'flow',
      name: 'fleet/touch',
      version: '1.0.0',
      do: [
        { id: 'touch', call: 'cmdb.host.touch@1', with: { host: '${input.host}' } },
        { id: 'look', call: 'cmdb.host.look@1', with: { host: '${input.host}' } },
        {
          id: 'tell',
          emit: { type: 'fleet.touched', subject: '${input.host}', data: { done: '${steps.touch.output.done}' } },
        },
      ],
      output: { done: '${steps.look.output.done}' },
    },
  };
  const start = (id: string, flow = ir, more: Partial<RunInput['context']> = {}): Promise<unknown> => {
    const input: RunInput = {
      context: {
        run: id,
        tenant: 'default',
        flow: 'fleet/touch',
        version: '1.0.0',
        tier: 'P2',
        initiator: { kind: 'user', name: 'ann' },
        fence: '41',
        targets: ['host/a'],
        correlationId: 'c-1',
        hops: 2,
        startedAt: new Date().toISOString(),
        ...more,
      },
      ir: flow,
      input: { host: 'host/a' },
      config: { cmdb: { url: world.url }, other: { secret: 'never sent' } },
    };
    return temporal.client.workflow.execute('fleet/touch', {
      taskQueue: 'opsloop-flows',
      workflowId: `fleet.touch.${id}`,
      args: [input],
      requestEagerStart: true,
    });
  };

  it('goes from step to step and reports: queued and local atoms, config, keys, fence, event', async () => {
    const id = `run-${process.pid}-1`;
    await start(id);
    const keys = ['touch', 'look'].map((step) => stepKey(id, step, 0));
    expect(world.calls.map((c) => [c.path, c.headers['idempotency-key'], c.headers['opsloop-fence'], c.body])).toEqual([
      ['/touch', keys[0], '41', { host: 'host/a' }],
      ['/look', keys[1], '41', { host: 'host/a' }],
    ]);
    const outcome = others.calls.find((c) => c.path === `/internal/runs/${id}/outcome`)?.body;
    expect(outcome).toMatchObject({
      status: 'succeeded',
      output: { done: true },
      targets: [{ path: 'host/a', status: 'succeeded' }],
    });
    const event = others.calls.filter((c) => c.path === '/v1/events').at(-1)?.body;
    expect(event).toMatchObject({
      type: 'fleet.touched',
      subject: 'host/a',
      data: { done: true },
      hops: 3,
      correlationid: 'c-1',
      causationid: id,
    });
  });

  it('holds what a worker of others answers against the schema of its atom', async () => {
    const far = (answer: Json): CompiledFlow => ({
      ...ir,
      atoms: {
        'fleet.count@1': atom('fleet.count', {
          activity: 'http.request',
          queue: 'opsloop-atoms',
          output: { schema: { type: 'object', properties: { body: { properties: { done: answer } } } } },
        }),
      },
      flow: {
        ...ir.flow,
        do: [{ id: 'count', call: 'fleet.count@1', with: { method: 'POST', url: world.url } }],
        output: '${steps.count.output.body}',
      },
    });
    expect(await start(`run-${process.pid}-3`, far({ type: 'boolean' }))).toEqual({ done: true });
    expect(await failureOf(start(`run-${process.pid}-4`, far({ type: 'integer' })))).toMatchObject({
      code: 'validation',
      step: 'count',
      retryable: false,
      detail: 'the output of fleet.count@1.0.0 does not match its schema: /body/done must be integer',
      errors: [{ pointer: '/body/done', message: 'must be integer' }],
    });
    // It was done once, and saying no to the answer does not do it again.
    expect(world.calls).toHaveLength(2);
  });

  it('that is dry asks its targets only what changes nothing, and tells nobody', async () => {
    const reads = {
      execution: 'local',
      effect: 'read',
      manifest: { ...http('/look')!, name: 'cmdb.host.look' },
    } as const;
    const dry: CompiledFlow = {
      ...ir,
      atoms: {
        ...ir.atoms,
        'cmdb.host.look@1': atom('cmdb.host.look', reads),
        'cmdb.host.read@1': atom('cmdb.host.look', { ...reads, execution: 'activity' }),
        'cmdb.host.wipe@1': atom('cmdb.host.wipe', {
          effect: 'destroy',
          manifest: { ...http('/wipe')!, name: 'cmdb.host.wipe' },
          compensate: { call: 'cmdb.host.touch@1', with: { host: 'host/a' } },
        }),
        'http.request@1': atom('http.request', {}),
      },
      flow: {
        ...ir.flow,
        do: [
          { id: 'first', call: 'cmdb.host.read@1', with: { host: '${input.host}' } },
          { id: 'locked', lock: { claims: [{ path: 'host/a', mode: 'exclusive' }] }, do: ir.flow.do },
          {
            id: 'each',
            forEach: { in: ['a', 'b'], as: 'one', concurrency: 2 },
            do: [{ id: 'wipe', call: 'cmdb.host.wipe@1', with: { host: '${one}' } }],
          },
          { id: 'post', call: 'http.request@1', with: { method: 'DELETE', url: world.url } },
          { id: 'file', call: 'script.run@1', with: { argv: ['touch', join(cacheDir, 'touched')] } },
          // What was done is undone, and what was not done is not.
          { id: 'no', raise: { type: 'runtime' } },
        ],
      },
    };
    const [asked, id] = [others.calls.length, `run-${process.pid}-5`];
    expect(await failureOf(start(id, dry, { dryRun: true }))).toMatchObject({ code: 'runtime', step: 'no' });
    expect(world.calls.map(({ path }) => path)).toEqual(['/look', '/look']);
    expect(readdirSync(cacheDir)).not.toContain('touched');
    const paths = others.calls.slice(asked).map(({ path }) => path.replace(id, 'ID'));
    expect(new Set(paths.filter((path) => path !== '/internal/halts'))).toEqual(
      new Set(['/internal/catalog/atom', '/internal/runs/ID/outcome']),
    );
    const { steps } = others.calls.find(({ path }) => path.endsWith(`${id}/outcome`))!.body as { steps: StepRecord[] };
    expect(steps.filter(({ dryRun }) => dryRun !== undefined).map(({ path }) => path)).toEqual(
      expect.arrayContaining(['locked/touch', 'each[a]/wipe', 'each[b]/wipe', 'post', 'file']),
    );
  });

  it('waits under a halt and goes on when it is lifted', async () => {
    const id = `run-${process.pid}-2`;
    halts = [{ id: 'h2', scope: { flows: ['fleet/touch'] }, running: 'pause', reason: 'storm', by: 'ann', since: '' }];
    const halted = { code: 'halted' };
    await eventually(async () =>
      expect(
        await failureOf(
          run('http.request', { method: 'GET', url: world.url }, { gate: { ...gate, flow: 'fleet/touch' } }),
        ),
      ).toMatchObject(halted),
    );
    world.calls.length = 0;
    const ended = start(id);
    await eventually(async () => {
      const steps = await temporal.client.workflow.getHandle(`fleet.touch.${id}`).query<StepRecord[]>('steps');
      expect(steps).toMatchObject([{ path: 'touch', status: 'paused' }]);
    });
    expect(world.calls).toHaveLength(0);
    halts = [];
    const lifted = performance.now();
    await temporal.client.workflow.getHandle(`fleet.touch.${id}`).signal('halt-changed');
    await ended;
    // Woken by the signal, not by the run's own look every ten seconds.
    expect(performance.now() - lifted).toBeLessThan(5_000);
    expect(world.calls.map((c) => c.path)).toEqual(['/touch', '/look']);
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
