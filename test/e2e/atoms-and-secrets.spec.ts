/**
 * Secrets reach the call that uses them and nothing else: not the log, the API, Temporal's history or any table. And
 * configs, which are no secrets, stay what they were when the run started. What else atoms can do is tried on the same
 * stack.
 */
import { AtomError, type AtomDocument } from '@opsloop/contracts';
import { defineAtom, serveAtoms, type AtomService } from '@opsloop/atoms';
import { eventually, startHttpTarget, type HttpTarget } from '@opsloop/testing';
import { Client, Connection } from '@temporalio/client';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { atomCases } from './atoms.spec-kit.js';
import { Stack } from './stack.spec-kit.js';

/** One canary per way a secret takes, so that a hit says which way leaks. */
const WAYS = [
  'header',
  'query',
  'body',
  'refused',
  'script',
  'exit',
  'with',
  'worker',
  'failing',
  'source',
  'fallback',
];
const canaries = new Map(WAYS.map((way) => [way, `canary-${way}-${randomBytes(12).toString('hex')}`]));
/** An ordinary input: it must be found in all those places, or the scan looks in the wrong ones. */
const DECOY = `decoy-${randomBytes(12).toString('hex')}`;
const canary = (way: string): string => canaries.get(way)!;

let stack: Stack;
let world: HttpTarget;
let worker: AtomService;
/** Calls to `/hold` are not answered yet. */
let held = false;

beforeAll(async () => {
  [stack, world] = await Promise.all([
    Stack.start({
      env: { OPSLOOP_LOG_LEVEL: 'trace', OPSLOOP_SECRET_FALLBACK: canary('fallback') },
      keepLines: 100_000,
    }),
    startHttpTarget(async ({ path, headers, body }) => ({
      ...(path.startsWith('/hold') ? await eventually(() => expect(held).toBe(false), { timeoutMs: 40_000 }) : {}),
      status: path.startsWith('/refuse') ? 422 : 200,
      headers: { 'x-echo': String(headers['authorization'] ?? '') },
      body: { path, headers, body, basic: Buffer.from(`user:${String(headers['authorization'])}`).toString('base64') },
    })),
  ]);
});
afterAll(async () => {
  await worker?.shutdown();
  await stack?.stop();
  await world?.close();
});

const atomOf = (name: string, more: object) => ({
  kind: 'atom',
  name,
  effect: 'mutate',
  idempotency: 'native',
  timeout: { startToClose: '20s' },
  retry: { maximumAttempts: 1 },
  ...more,
});
const http = (path: string, more: object) => ({ http: { method: 'POST', url: `${world.url}${path}`, ...more } });

async function putDocuments(): Promise<void> {
  const script = (source: string, way: string) => ({
    script: { interpreter: ['sh', '-u'], source, env: { KEY: `\${secrets.${way}}` } },
  });
  await stack.put(
    atomOf('sec.header', http('/header', { headers: { authorization: 'Bearer ${secrets.header}' } })),
    atomOf('sec.query', http('/query?key=${secrets.query}', {})),
    atomOf('sec.body', http('/body', { body: { nested: [{ key: '${secrets.body}' }] } })),
    atomOf('sec.refused', http('/refuse', { headers: { authorization: '${secrets.refused}' } })),
    atomOf('sec.fallback', http('/fallback', { headers: { authorization: '${secrets.fallback}' } })),
    atomOf('sec.script', script('echo "key=$KEY"; echo "$KEY" >&2; echo "got=$KEY" >> "$OPSLOOP_OUTPUT"', 'script')),
    atomOf('sec.exit', script('echo "$KEY was refused" >&2; printf %s "$KEY" | base64 >&2; exit 3', 'exit')),
    { ...workerManifest('sec.worker') },
    { ...workerManifest('sec.failing') },
    ...['header', 'query', 'body', 'script', 'fallback'].map((way) => ({
      kind: 'flow',
      name: `sec/${way}`,
      do: [{ id: 'act', call: `sec.${way}@1` }],
      output: { act: '${steps.act.output}' },
    })),
    ...['refused', 'exit'].map((way) => ({
      kind: 'flow',
      name: `sec/${way}`,
      do: [{ id: 'act', call: `sec.${way}@1` }],
    })),
    ...['worker', 'failing'].map((way) => ({
      kind: 'flow',
      name: `sec/${way}`,
      use: { secrets: [way] },
      do: [{ id: 'act', call: `sec.${way}@1`, with: { deep: { token: `\${secrets.${way}}` } } }],
    })),
    {
      kind: 'flow',
      name: 'sec/with',
      use: { secrets: ['with'] },
      do: [
        {
          id: 'act',
          call: 'http.request@1',
          with: { method: 'POST', url: `${world.url}/with`, headers: { 'x-key': '${secrets.with}' } },
        },
      ],
      output: '${steps.act.output}',
    },
    {
      kind: 'flow',
      name: 'sec/decoy',
      do: [{ id: 'act', call: 'notify.webhook@1', with: { url: world.url, body: '${input.plain}' } }],
      output: { plain: '${input.plain}' },
    },
    {
      kind: 'flow',
      name: 'sec/missing',
      use: { secrets: ['nobody-put-this'] },
      do: [
        { id: 'act', call: 'notify.webhook@1', with: { url: world.url, body: { k: '${secrets.nobody-put-this}' } } },
      ],
    },
  );
}

const workerManifest = (name: string): AtomDocument => ({
  ...(atomOf(name, {}) as object as AtomDocument),
  dsl: 'opsloop/v1',
  version: '1.0.0',
  owner: 'e2e',
  input: { schema: { type: 'object', required: ['deep'], properties: { deep: { type: 'object' } } } },
  worker: { queue: 'e2e-secrets', activity: name },
});

/** A team's worker with a token that names its secrets and opens nothing else. */
async function startWorker(): Promise<void> {
  const { token } = await stack.ok('POST', '/v1/tokens', {
    name: 'e2e-worker',
    roles: ['worker'],
    secrets: ['worker', 'failing'],
  });
  interface In {
    deep: { token: string };
  }
  const seen = (input: In, way: string): void =>
    void world.calls.push({ ...world.calls[0]!, path: `/${way}`, body: input });
  worker = await serveAtoms(
    [
      defineAtom<In>({
        manifest: workerManifest('sec.worker'),
        execute: ({ input, heartbeat }) => {
          heartbeat({ message: `working with ${input.deep.token}` });
          seen(input, 'worker');
          return Promise.resolve({ echo: input as unknown as Record<string, never>, note: `used ${input.deep.token}` });
        },
      }),
      defineAtom<In>({
        manifest: workerManifest('sec.failing'),
        execute: ({ input }) => {
          seen(input, 'failing');
          const cause = new Error(`inner ${input.deep.token}`);
          throw new AtomError('atom/sec.failing/denied', `denied for ${input.deep.token}`, {
            cause,
            extensions: { sent: input.deep.token },
          });
        },
      }),
    ],
    { address: stack.process.temporalAddress, platform: { url: stack.process.url, token } },
  );
}

describe('secrets', () => {
  test('reach the calls that use them', async () => {
    for (const way of WAYS)
      if (!['source', 'fallback'].includes(way)) await stack.ok('PUT', `/v1/secrets/${way}`, { value: canary(way) });
    await stack.ok('PUT', '/v1/sources/sec-hook', {
      dsl: 'opsloop/v1',
      kind: 'source',
      name: 'sec-hook',
      owner: 'e2e',
      type: 'generic',
      auth: { type: 'bearer', token: canary('source') },
    });
    await putDocuments();
    await startWorker();
    const runs = await Promise.all(
      ['header', 'query', 'body', 'fallback', 'script', 'with', 'worker'].map((way) =>
        stack.start(`sec/${way}`, { input: {}, wait: '30s' }),
      ),
    );
    expect(runs.map(({ body }) => body.status)).toEqual(runs.map(() => 'succeeded'));
    const sent = JSON.stringify(world.calls);
    for (const way of ['header', 'query', 'body', 'fallback', 'with', 'worker']) expect(sent).toContain(canary(way));
    expect(JSON.stringify(runs.map(({ body }) => body.output))).toContain('***');
    await stack.start('sec/decoy', { input: { plain: DECOY }, wait: '30s' });
    const delivered = await stack.send(
      'POST',
      '/v1/hooks/sec-hook',
      { type: 'x' },
      { authorization: `Bearer ${canary('source')}` },
    );
    expect(delivered.status).toBe(202);
  }, 90_000);

  test('failures say what is wrong without them', async () => {
    const [refused, exit, failing, missing] = await Promise.all(
      ['refused', 'exit', 'failing', 'missing'].map(
        async (way) => (await stack.start(`sec/${way}`, { input: {}, wait: '30s' })).body,
      ),
    );
    for (const run of [refused, exit, failing, missing]) expect(run.status).toBe('failed');
    expect(exit.problem.detail).toContain('***');
    expect(failing.problem).toMatchObject({ code: 'atom/sec.failing/denied', detail: 'denied for ***', sent: '***' });
    expect(missing.problem).toMatchObject({ code: 'configuration', secret: 'nobody-put-this', retryable: false });
    expect(missing.problem.detail).toContain('opsloop secrets put nobody-put-this');
    // The other canaries did get there.
    const sent = JSON.stringify(world.calls);
    for (const way of ['refused', 'failing']) expect(sent).toContain(canary(way));
  }, 60_000);

  test('stand nowhere else', async () => {
    // What is written a moment after the run is part of it.
    await eventually(async () => {
      const { items } = await stack.get('/v1/runs?limit=100');
      expect(items.every((r: { status: string }) => ['succeeded', 'failed'].includes(r.status))).toBe(true);
    });
    const places = await everything();
    expect([...places.keys()].filter((place) => place.startsWith('temporal ')).length).toBeGreaterThan(10);
    expect([...places.keys()].filter((place) => place.startsWith('table ')).length).toBeGreaterThan(20);
    expect([...places.keys()].filter((place) => place.startsWith('GET ')).length).toBeGreaterThan(40);
    const decoyed = [...places].filter(([, text]) => text.includes(DECOY)).map(([place]) => place.split(/[ /]/, 1)[0]!);
    expect(new Set(decoyed)).toEqual(new Set(['GET', 'temporal', 'table', 'file']));
    const hits: string[] = [];
    for (const [place, text] of places)
      for (const [way, value] of canaries)
        for (const [form, needle] of formsOf(value))
          if (text.includes(needle)) hits.push(`${place}: ${way} as ${form}`);
    expect(hits).toEqual([]);
  }, 120_000);
});

describe('configs', () => {
  test('are pinned when the run starts', async () => {
    const config = (at: string) => ({ kind: 'config', name: 'sec-place', values: { url: `${world.url}/${at}`, at } });
    const url = '${config.sec-place.url}';
    await stack.put(config('before'), atomOf('sec.place', { http: { method: 'POST', url } }), {
      kind: 'flow',
      name: 'sec/place',
      do: [
        { id: 'hold', call: 'notify.webhook@1', with: { url: `${world.url}/hold`, body: {} } },
        { id: 'flow', call: 'notify.webhook@1', with: { url, body: {} } },
        { id: 'atom', call: 'sec.place@1' },
      ],
      output: '${config.sec-place.at}',
    });
    held = true;
    const { body: started } = await stack.start('sec/place', { input: {} });
    await eventually(() => expect(world.calls.some(({ path }) => path === '/hold')).toBe(true));
    await stack.put(config('after'));
    held = false;
    await eventually(
      async () =>
        expect(await stack.get(`/v1/runs/${started.id}`)).toMatchObject({ status: 'succeeded', output: 'before' }),
      { timeoutMs: 40_000 },
    );
    const asked = world.calls.map(({ path }) => path).filter((path) => /^\/(before|after)/.test(path));
    expect(asked).toEqual(['/before', '/before']);
    // The next run sees the new one, within the second for which control remembers configs.
    await eventually(async () => {
      const { body } = await stack.start('sec/place', { input: {}, wait: '20s' });
      expect(body.output).toBe('after');
    });
  }, 60_000);
});

// After the secrets, which are looked for in all that the platform keeps.
atomCases(() => stack);

/** A value, and the encodings and long parts of it that would give it away. */
function formsOf(value: string): [string, string][] {
  const bytes = Buffer.from(value);
  return [
    ['text', value],
    ['first half', value.slice(0, value.length - 12)],
    ['second half', value.slice(-16)],
    ['base64', bytes.toString('base64').slice(0, 24)],
    ['hex', bytes.toString('hex')],
    ['reversed', [...value].reverse().join('')],
  ];
}

/** All that the platform says and keeps: place → text. The sealed store is read as well: it must not hold them plainly. */
async function everything(): Promise<Map<string, string>> {
  const places = new Map<string, string>([['log', stack.process.log.join('\n')]]);
  await readApi(places);
  await readTemporal(places);
  await readTables(places);
  for (const file of filesBelow(join(stack.process.dataDir, 'temporal')))
    places.set(`file ${file}`, readFileSync(file).toString('latin1'));
  return places;
}

async function readApi(places: Map<string, string>): Promise<void> {
  const { items: runs } = await stack.get('/v1/runs?limit=100');
  const { paths } = await stack.get('/openapi.json');
  const lists = Object.keys(paths).filter((path) => 'get' in paths[path] && !path.includes('{'));
  const { items: flows } = await stack.get('/v1/flows?limit=100');
  const { items: atoms } = await stack.get('/v1/atoms?limit=100');
  const { items: events } = await stack.get('/v1/events?limit=100');
  const addresses = [
    ...lists.map((path) => (path === '/v1/explain' ? '/v1/explain?resource=none' : path)),
    ...runs.flatMap(({ id }: { id: string }) => ['', '/timeline', '/logs'].map((part) => `/v1/runs/${id}${part}`)),
    ...flows.flatMap(({ name }: { name: string }) => [`/v1/flows/${name}`, `/v1/catalog/${name}`]),
    ...atoms.map(({ name }: { name: string }) => `/v1/atoms/${name}`),
    ...events.flatMap(({ eventId }: { eventId: string }) => [`/v1/events/${eventId}`, `/v1/events/${eventId}/explain`]),
    '/v1/sources/sec-hook',
    '/metrics',
    '/readyz',
    '/openapi.json',
  ];
  for (const address of addresses) {
    const response = await fetch(stack.process.url + address, {
      headers: { authorization: `Bearer ${stack.process.key}` },
    });
    places.set(`GET ${address}`, `${JSON.stringify([...response.headers])}${await response.text()}`);
  }
}

async function readTemporal(places: Map<string, string>): Promise<void> {
  const connection = await Connection.connect({ address: stack.process.temporalAddress });
  try {
    const client = new Client({ connection });
    for await (const { workflowId, runId } of client.workflow.list()) {
      const handle = client.workflow.getHandle(workflowId, runId);
      const texts: string[] = [];
      collect(await handle.fetchHistory(), texts);
      collect((await handle.describe()).raw, texts);
      places.set(`temporal ${workflowId}`, texts.join('\n'));
    }
  } finally {
    await connection.close();
  }
}

/** Every text and every byte array inside a message. */
function collect(value: unknown, texts: string[], seen = new Set<object>()): void {
  if (typeof value === 'string') return void texts.push(value);
  if (value instanceof Uint8Array) return void texts.push(Buffer.from(value).toString('latin1'));
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  for (const member of Object.values(value)) collect(member, texts, seen);
}

async function readTables(places: Map<string, string>): Promise<void> {
  const { dataDir } = stack.process;
  const { ports } = JSON.parse(readFileSync(join(dataDir, 'stack.json'), 'utf8')) as { ports: { postgres: number } };
  const password = readFileSync(join(dataDir, 'postgres.password'), 'utf8').trim();
  const client = new pg.Client({
    connectionString: `postgres://opsloop:${password}@127.0.0.1:${ports.postgres}/opsloop`,
  });
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(
      `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
       WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    );
    for (const { name } of rows) {
      const { rows: lines } = await client.query<{ line: string }>(`SELECT t::text AS line FROM ${name} t`);
      places.set(`table ${name}`, lines.map(({ line }) => line).join('\n'));
    }
  } finally {
    await client.end();
  }
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => statSync(file).isFile());
}
