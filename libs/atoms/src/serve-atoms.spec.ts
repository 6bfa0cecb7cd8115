import { AtomError, type AtomCall, type AtomDocument, type Json } from '@opsloop/contracts';
import { eventually, testTemporal } from '@opsloop/testing';
import { Client } from '@temporalio/client';
import { ActivityFailure, ApplicationFailure as TemporalFailure, type ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineAtom } from './define-atom.js';
import { activityOf, serveAtoms, type AtomService } from './serve-atoms.js';

const manifest = (name: string, more: Partial<AtomDocument> = {}): AtomDocument => ({
  dsl: 'opsloop/v1',
  kind: 'atom',
  name,
  version: '1.0.0',
  effect: 'mutate',
  idempotency: 'native',
  worker: { queue: 'h4-team', activity: name },
  ...more,
});
const schema = {
  schema: {
    type: 'object',
    required: ['host'],
    properties: { host: { type: 'string' }, force: { type: 'boolean', default: false } },
  },
};

const done = new Set<string>();
let executions = 0;
let beats = 0;
const restart = defineAtom<{ host: string; force: boolean }, Json>({
  manifest: manifest('team.restart', {
    input: schema,
    output: { schema: { type: 'object', required: ['restarted'] } },
  }),
  execute: async ({ input, context }) =>
    Promise.resolve<Json>(
      input.host === 'liar' ? { wrong: true } : { restarted: input.host, force: input.force, key: context.key },
    ),
  check: async ({ input }) => Promise.resolve({ wouldRestart: input.host, restarted: false }),
});
const refuse = defineAtom({
  manifest: manifest('team.refuse'),
  execute: () => Promise.reject(new AtomError('atom/team.refuse/full', 'no room left', { extensions: { free: 0 } })),
});
const once = defineAtom<Json, Json>({
  manifest: manifest('team.once', { idempotency: 'probe' }),
  execute: ({ context }) => {
    executions += 1;
    done.add(context.key);
    // The effect has happened, the answer is lost.
    return Promise.reject(new Error('connection lost'));
  },
  probe: ({ context }) =>
    Promise.resolve(done.has(context.key) ? { done: true, output: { found: true } } : { done: false }),
});
const slow = defineAtom({
  manifest: manifest('team.slow'),
  execute: async ({ signal, heartbeat }) => {
    const beat = setInterval(() => (heartbeat({ percent: 10, message: 'still at it' }), (beats += 1)), 50);
    try {
      return await new Promise<Json>((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('stopped'))),
      );
    } finally {
      clearInterval(beat);
    }
  },
});

const TOKEN = 'canary-77aa-token';
const handed: Json[] = [];
const careless = defineAtom<{ token: string; how: string }, Json>({
  manifest: manifest('team.careless', {
    input: { schema: { type: 'object', properties: { token: { type: 'string' } } } },
  }),
  execute: ({ input, heartbeat }) => {
    handed.push(input as unknown as Json);
    heartbeat({ message: `with ${input.token}` });
    if (input.how === 'atom error')
      return Promise.reject(
        new AtomError('atom/team.careless/x', `no ${input.token}`, { extensions: { t: input.token } }),
      );
    if (input.how === 'error') return Promise.reject(new TypeError(`no ${input.token}`));
    if (input.how === 'failure')
      return Promise.reject(
        TemporalFailure.create({
          message: `no ${input.token}`,
          type: 'own',
          nonRetryable: true,
          details: [input.token],
        }),
      );
    return Promise.resolve({ echo: input.token, basic: Buffer.from(`u:${input.token}`).toString('base64') });
  },
});
const large = defineAtom({
  manifest: manifest('team.large'),
  execute: () => Promise.resolve<Json>({ text: 'x'.repeat(600_000) }),
});

let service: AtomService;
let connection: NativeConnection;
let client: Client;
beforeAll(async () => {
  const { address } = await testTemporal();
  service = await serveAtoms([restart, refuse, once, slow, careless, large], {
    address,
    secrets: { get: (name) => Promise.resolve(name === 'team-token' ? TOKEN : undefined) },
  });
  connection = await NativeConnection.connect({ address });
  client = new Client({ connection });
});
afterAll(async () => {
  await service.shutdown();
  await connection.close();
});

let counter = 0;
const options = (input: Json, context: Partial<AtomCall['context']> = {}, maximumAttempts = 1) => ({
  id: `h4-${process.pid}-${(counter += 1)}`,
  taskQueue: 'h4-team',
  args: [
    {
      input,
      context: { run: 'r', step: 's', key: 'ops-k', tenant: 'default', dryRun: false, ...context },
    } satisfies AtomCall,
  ],
  startToCloseTimeout: '20s' as const,
  heartbeatTimeout: '2s' as const,
  retry: { maximumAttempts, initialInterval: '10ms' as const },
});
const run = (name: string, ...args: Parameters<typeof options>): Promise<Json> =>
  client.activity.execute<Json>(name, options(...args));
const failureOf = async (act: Promise<unknown>): Promise<ApplicationFailure> => {
  let error: unknown = await act.then(
    () => new Error('it succeeded'),
    (e: unknown) => e,
  );
  while (
    error instanceof Error &&
    (error instanceof ActivityFailure || !('type' in error)) &&
    error.cause !== undefined
  )
    error = error.cause;
  return error as ApplicationFailure;
};

describe('atoms of a team', () => {
  it('get checked input with defaults and their context, and answer', async () => {
    expect(await run('team.restart', { host: 'a' })).toEqual({ restarted: 'a', force: false, key: 'ops-k' });
    expect(await failureOf(run('team.restart', { host: 7 }))).toMatchObject({
      type: 'validation',
      nonRetryable: true,
      details: [{ errors: [{ pointer: '/host' }] }],
    });
    expect(await failureOf(run('team.restart', { host: 'liar' }))).toMatchObject({
      type: 'validation',
      message: expect.stringContaining('output of team.restart') as string,
    });
  });

  it('fail with their own code', async () => {
    expect(await failureOf(run('team.refuse', {}))).toMatchObject({
      type: 'atom/team.refuse/full',
      nonRetryable: true,
      details: [{ code: 'atom/team.refuse/full', detail: 'no room left', free: 0 }],
    });
  });

  it('are asked before a repeat whether they have done it already', async () => {
    expect(await run('team.once', {}, { key: 'ops-once' }, 3)).toEqual({ found: true });
    expect(executions).toBe(1);
  });

  it('answer a dry run by their check and change nothing', async () => {
    expect(await run('team.restart', { host: 'a' }, { dryRun: true })).toEqual({ wouldRestart: 'a', restarted: false });
    expect(await run('team.refuse', {}, { dryRun: true })).toEqual({ dryRun: true });
  });

  it('hear a cancellation while they heartbeat', async () => {
    const handle = await client.activity.start('team.slow', options({}));
    await eventually(() => expect(beats).toBeGreaterThan(0));
    await handle.cancel('the test has seen enough');
    const error: unknown = await handle.result().catch((e: unknown) => e);
    expect(String((error as Error).cause ?? error)).toMatch(/cancel/i);
  });
});

describe('secrets of a worker', () => {
  const call = (how: string, name = 'team-token') =>
    client.activity.execute<Json>('team.careless', {
      ...options({}),
      args: [{ ...options({ token: { $secret: name }, how }).args[0]!, secrets: ['/token'] }],
    });

  it('are put in where the flow names them, and come back with nothing', async () => {
    expect(await call('answer')).toEqual({ echo: '***', basic: expect.stringContaining('***') as string });
    expect(handed.at(-1)).toMatchObject({ token: TOKEN });
    for (const how of ['atom error', 'error', 'failure']) {
      const error = await failureOf(call(how));
      expect(error.message, how).toBe('no ***');
      expect(JSON.stringify([error.details, error.stack, String(error.cause)]), how).not.toContain('canary');
    }
  });

  it('that look like one in the data are left alone', async () => {
    await run('team.careless', { token: 'x', how: 'answer', data: { $secret: 'team-token' } });
    expect(handed.at(-1)).toMatchObject({ data: { $secret: 'team-token' } });
  });

  it('that are nowhere are named, and the call is not repeated', async () => {
    expect(await failureOf(call('answer', 'other-token'))).toMatchObject({
      type: 'configuration',
      nonRetryable: true,
      details: [{ secret: 'other-token' }],
    });
    const without = activityOf(careless);
    const environment = new MockActivityEnvironment();
    const error: unknown = await environment
      .run(without, { ...options({ token: { $secret: 'a' }, how: '' }).args[0]!, secrets: ['/token'] })
      .catch((e: unknown) => e);
    expect(error).toMatchObject({
      type: 'configuration',
      message: expect.stringContaining('platform: { url, token }') as string,
    });
  });

  it('an output above 512 KB is refused where it was made', async () => {
    expect(await failureOf(run('team.large', {}))).toMatchObject({ type: 'payload-too-large', nonRetryable: true });
  });
});

describe('mistakes', () => {
  it.each([
    [
      'no worker',
      (): unknown =>
        defineAtom({
          manifest: { ...manifest('a.b'), worker: undefined } as unknown as AtomDocument,
          execute: () => Promise.resolve(null),
        }),
      /"worker"/,
    ],
    [
      'worker and http',
      (): unknown =>
        defineAtom({
          manifest: manifest('a.b', { http: { method: 'GET', url: 'x' } }),
          execute: () => Promise.resolve(null),
        }),
      /exactly one/,
    ],
    [
      'probe without a probe',
      (): unknown =>
        defineAtom({ manifest: manifest('a.b', { idempotency: 'probe' }), execute: () => Promise.resolve(null) }),
      /no probe function/,
    ],
  ])('%s', (_name, act, message) => {
    expect(act).toThrow(message);
  });

  it('a templated queue needs a queue, and two atoms need two activities', async () => {
    const templated = defineAtom({
      manifest: manifest('a.b', { worker: { queue: 'fleet-${resource.labels.dc}', activity: 'a.b' } }),
      execute: () => Promise.resolve(null),
    });
    await expect(serveAtoms([templated], { address: '127.0.0.1:1' })).rejects.toThrow(/template/);
    await expect(serveAtoms([refuse, refuse], { address: '127.0.0.1:1' })).rejects.toThrow(/two atoms/);
  });
});
