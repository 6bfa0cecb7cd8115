import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, RecordedCall, TargetAnswer } from '@opsloop/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from './program.js';

const BIN = fileURLToPath(new URL('../bin/opsloop.mjs', import.meta.url));
const RUN = '018f0000-0000-7000-8000-000000000001';
const EVENT = '018f0000-0000-7000-8000-000000000002';

let dir: string;
let server: HttpTarget;
let routes: Record<string, TargetAnswer | ((call: RecordedCall) => TargetAnswer)> = {};
const problem = (status: number, code: string, more: object = {}): TargetAnswer => ({
  status,
  headers: { 'content-type': 'application/problem+json' },
  body: { type: `https://opsloop.dev/errors/${code}`, title: code, status, code, detail: `it is ${code}`, ...more },
});

beforeAll(async () => {
  server = await startHttpTarget((call) => {
    const route = routes[`${call.method} ${call.path.split('?', 1)[0]!}`] ?? problem(404, 'not-found');
    return typeof route === 'function' ? route(call) : route;
  });
});
afterAll(() => server.close());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-cli-'));
  routes = {};
  server.calls.length = 0;
});
afterEach(() => rmSync(dir, { recursive: true }));

interface Ended {
  code: number;
  out: string;
  err: string;
}

/** Without `env` a command is pointed at the server of this spec. */
const pointed = (): Record<string, string> => ({ OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key-1' });

/** A command line as `main.ts` runs it: a process of its own would cost half a second of a core each time. */
async function opsloop(args: string[], env = pointed()): Promise<Ended> {
  const said = { out: '', err: '' };
  const code = await runCli(args, {
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    isTTY: false,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    cwd: dir,
    stdin: () => Promise.resolve(''),
  });
  return { code, ...said };
}

/** The real command, in a process. */
function command(args: string[], env = pointed()): Promise<Ended> {
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd: dir,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => void (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => void (err += chunk.toString()));
  return new Promise((resolve, reject) =>
    child.on('error', reject).on('close', (code) => resolve({ code: code ?? -1, out, err })),
  );
}
const calls = () => server.calls.map(({ method, path }) => `${method} ${path}`);

describe('arguments', () => {
  it.each<[string, string[]]>([
    ['an unknown command', ['dance']],
    ['an unknown option', ['status', '--loud']],
    ['a missing argument', ['explain']],
    ['a missing reason', ['halt', '--all']],
    ['a halt of nothing in particular', ['halt', '--reason', 'x']],
    ['an unknown kind', ['get', 'flowers']],
    ['an unknown mode', ['rules', 'mode', 'a/b', 'loud', '--reason', 'x']],
    ['an input that is none', ['run', 'a/b', '-i', 'x']],
    ['a file that is not there', ['apply', '-f', 'nowhere']],
  ])('%s → 2, a sentence, nothing asked', async (_what, args) => {
    const { code, err, out } = await opsloop(args);
    expect(code).toBe(2);
    expect(err).not.toBe('');
    expect(err).not.toMatch(/\n\s+at /);
    expect(out).toBe('');
    expect(calls()).toEqual([]);
  });

  it('help → 0, with the exit codes', async () => {
    const { code, out } = await command(['--help']);
    expect(code).toBe(0);
    for (const command of [
      'up',
      'demo',
      'init',
      'doctor',
      'apply',
      'publish',
      'rollback',
      'rules',
      'validate',
      'run',
      'runs',
      'halt',
      'halts',
      'explain',
      'events',
      'locks',
      'secrets',
      'tokens',
      'get',
      'status',
    ]) {
      expect(out).toMatch(new RegExp(`^ {2}${command}\\b`, 'm'));
    }
    expect(out).toContain('3 rejected by control');
  });
});

describe('where the server is', () => {
  it('uses the nearest .opsloop upwards and says so', async () => {
    mkdirSync(join(dir, '.opsloop'));
    writeFileSync(join(dir, '.opsloop/endpoint.json'), JSON.stringify({ url: server.url }));
    writeFileSync(join(dir, '.opsloop/admin.key'), 'admin-1\n');
    routes['GET /v1/halts'] = { body: { items: [] } };
    const { code, err, out } = await command(['halts', 'ls'], {});
    expect(code).toBe(0);
    expect(err).toContain(join(dir, '.opsloop'));
    expect(out).toContain('no halts');
    expect(server.calls[0]!.headers.authorization).toBe('Bearer admin-1');
  });

  it('nowhere, nobody there, or a wrong key → 2 with the remedy', async () => {
    expect(await command(['halts', 'ls'], {})).toMatchObject({ code: 2, err: expect.stringContaining('opsloop up') });
    expect(await opsloop(['halts', 'ls'], { OPSLOOP_URL: `http://127.0.0.1:${await freePort()}` })).toMatchObject({
      code: 2,
      err: expect.stringMatching(/ECONNREFUSED.*opsloop up/),
    });
    routes['GET /v1/halts'] = problem(401, 'authentication');
    expect(await opsloop(['halts', 'ls'])).toMatchObject({ code: 2, err: expect.stringContaining('OPSLOOP_TOKEN') });
  });
});

describe('init, validate and apply', () => {
  it('writes a starter that is valid, and not into a folder with other things', async () => {
    const { code, out } = await opsloop(['init', 'my-ops']);
    expect(code).toBe(0);
    expect(out).toContain('opsloop apply -f . --publish');
    expect(readdirSync(join(dir, 'my-ops')).sort()).toEqual([
      '.vscode',
      'README.md',
      'atom.yaml',
      'config.yaml',
      'flow.yaml',
      'resource.yaml',
      'rule.yaml',
      'service.mjs',
      'source.yaml',
    ]);
    expect(await opsloop(['validate', 'my-ops'])).toMatchObject({
      code: 0,
      err: '',
      out: expect.stringContaining('6 documents are valid'),
    });
    expect(await opsloop(['init', 'my-ops'])).toMatchObject({ code: 2, err: expect.stringContaining('not empty') });
  });

  it('applies in dependency order and publishes when asked', async () => {
    await opsloop(['init', '.']);
    for (const path of [
      'configs/hello',
      'resources/service/hello',
      'atoms/hello.service.restart',
      'flows/hello/restart',
      'rules/hello/service-down',
      'sources/hello-probe',
    ]) {
      routes[`PUT /v1/${path}`] = {
        status: 201,
        body: { change: 'created', digest: 'd', ...(path.startsWith('flows') ? { status: 'draft' } : {}) },
      };
    }
    routes['POST /v1/flows/validate'] = {
      body: { valid: true, findings: [], documents: [{ findings: [] }, { findings: [] }] },
    };
    const draft = await opsloop(['apply', '-f', '.']);
    expect(draft).toMatchObject({ code: 0, out: expect.stringContaining('opsloop publish hello/restart@1.0.0') });
    expect(draft.out).toContain('6 created, 0 changed, 0 unchanged');
    expect(calls()).toEqual([
      'POST /v1/flows/validate',
      'PUT /v1/configs/hello',
      'PUT /v1/resources/service/hello',
      'PUT /v1/atoms/hello.service.restart',
      'PUT /v1/flows/hello/restart',
      'PUT /v1/rules/hello/service-down',
      'PUT /v1/sources/hello-probe',
    ]);
    routes['POST /v1/flows/hello/restart/publish'] = {
      body: { name: 'hello/restart', version: '1.0.0', status: 'published', changed: true, deprecated: [] },
    };
    const published = await opsloop(['apply', '-f', '.', '--publish', '--json']);
    expect(published.code).toBe(0);
    expect(JSON.parse(published.out).items.find((item: { kind: string }) => item.kind === 'flow')).toMatchObject({
      status: 'published',
      version: '1.0.0',
    });
  });

  it('writes nothing when one document is wrong, and says where', async () => {
    await opsloop(['init', '.']);
    writeFileSync(join(dir, 'wrong.yaml'), 'dsl: opsloop/v1\nkind: config\nname: Not A Word\nowner: me\nvalues: {}\n');
    const { code, err } = await opsloop(['apply', '-f', '.']);
    expect(code).toBe(1);
    expect(err).toMatch(/wrong\.yaml: \/name/);
    expect(calls()).toEqual([]);
  });

  it('takes what only the server can see as mistakes too', async () => {
    await opsloop(['init', '.']);
    routes['POST /v1/flows/validate'] = {
      body: {
        documents: [
          { findings: [] },
          { findings: [] },
          { findings: [{ severity: 'error', pointer: '/do/0/call', message: 'is unknown' }] },
        ],
      },
    };
    const { code, err } = await opsloop(['apply', '-f', '.']);
    expect(code).toBe(1);
    expect(err).toContain('flow.yaml: /do/0/call is unknown');
    expect(calls()).toEqual(['POST /v1/flows/validate']);
  });

  it('--dry-run only asks', async () => {
    writeFileSync(join(dir, 'c.yaml'), 'dsl: opsloop/v1\nkind: config\nname: hello\nowner: me\nvalues: { a: 1 }\n');
    const { code, out } = await opsloop(['apply', '-f', 'c.yaml', '--dry-run', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      dryRun: true,
      items: [{ kind: 'config', name: 'hello', change: 'would create' }],
    });
    expect(calls()).toEqual(['GET /v1/configs/hello']);
  });

  it('writes rules together, and names the one that the server refuses', async () => {
    const rule = (name: string) =>
      `dsl: opsloop/v1\nkind: rule\nname: hello/${name}\nversion: 1.0.0\nowner: me\non: [{ type: hello.state }]\nbranches: [{ id: default, ladder: [{ id: go, run: hello/restart@1 }] }]\n`;
    for (const name of ['a', 'b', 'c']) writeFileSync(join(dir, `${name}.yaml`), rule(name));
    routes['PUT /v1/rules'] = {
      body: { items: ['created', 'changed', 'unchanged'].map((change) => ({ kind: 'rule', change })) },
    };
    expect((await opsloop(['apply', '-f', '.'])).out).toContain('1 created, 1 changed, 1 unchanged');
    expect(calls()).toEqual(['PUT /v1/rules']);
    expect(server.calls[0]!.body).toMatchObject({
      items: [{ name: 'hello/a' }, { name: 'hello/b' }, { name: 'hello/c' }],
    });
    routes['PUT /v1/rules'] = problem(409, 'version-conflict', {
      errors: [{ pointer: '/items/1/version', message: 'is published already' }],
    });
    expect(await opsloop(['apply', '-f', '.'])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/b\.yaml: rule hello\/b: .*raise its version; nothing was written/),
    });
  });

  it('names the remedy of a version that was published with other content', async () => {
    writeFileSync(join(dir, 'c.yaml'), 'dsl: opsloop/v1\nkind: config\nname: hello\nowner: me\nvalues: { a: 1 }\n');
    routes['PUT /v1/configs/hello'] = problem(409, 'version-conflict');
    expect(await opsloop(['apply', '-f', 'c.yaml'])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/c\.yaml: config hello: .*raise its version/),
    });
  });
});

describe('runs', () => {
  const run = (more: object) => ({
    id: RUN,
    flow: 'a/b',
    version: '1.0.0',
    status: 'running',
    targets: ['host/a'],
    tier: 'P2',
    admission: { verdict: 'admitted' },
    createdAt: '2026-01-01T00:00:00Z',
    initiator: { kind: 'token', name: 'admin' },
    ...more,
  });
  const started: TargetAnswer = {
    status: 202,
    body: { id: RUN, status: 'running', admission: { verdict: 'admitted' } },
  };

  it('starts with a key and names the next command', async () => {
    routes['POST /v1/catalog/a/b/runs'] = started;
    const { code, out } = await opsloop(['run', 'a/b@^1', '-i', 'host=host/a', '-i', 'n=2']);
    expect(code).toBe(0);
    expect(out).toContain(`opsloop runs show ${RUN}`);
    expect(server.calls[0]).toMatchObject({ body: { input: { host: 'host/a', n: 2 }, version: '^1' } });
    expect(server.calls[0]!.headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('waits and shows each change of a step once', async () => {
    routes['POST /v1/catalog/atom/probe.http/runs'] = started;
    const step = { path: 'call', id: 'call', verb: 'call', attempts: 1, startedAt: '' };
    let looks = 0;
    routes[`GET /v1/runs/${RUN}`] = () => ({
      body:
        looks++ < 2
          ? run({ steps: [{ ...step, status: 'running' }] })
          : run({ status: 'succeeded', output: { state: 'up' }, steps: [{ ...step, status: 'succeeded' }] }),
    });
    const { code, out } = await opsloop(['run', 'probe.http', '-i', 'url=http://x', '--wait']);
    expect(code).toBe(0);
    expect(out.match(/call {2}call {2}running/g)).toHaveLength(1);
    expect(out.match(/call {2}call {2}succeeded/g)).toHaveLength(1);
    expect(out).toContain('output: {"state":"up"}');
  });

  it.each<[string, object, number]>([
    ['failed', { status: 'failed', problem: { code: 'timeout', title: 'Timed out', detail: 'no answer' } }, 1],
    ['withdrawn', { status: 'cancelled', admission: { verdict: 'withdrawn' } }, 3],
    ['waiting for a person', { status: 'queued', admission: { verdict: 'needs-approval' } }, 4],
  ])('%s at the end of --wait, one JSON value, the right code', async (_what, more, exit) => {
    routes['POST /v1/catalog/a/b/runs'] = started;
    routes[`GET /v1/runs/${RUN}`] = { body: run(more) };
    const { code, out } = await opsloop(['run', 'a/b', '--wait', '--timeout', '1s', '--json']);
    expect(code).toBe(exit);
    expect(JSON.parse(out)).toMatchObject(more);
  });

  it('rejected by control → 3 with the policies', async () => {
    routes['POST /v1/catalog/a/b/runs'] = problem(409, 'admission-rejected', { policies: ['ops/no-mondays'] });
    expect(await opsloop(['run', 'a/b'])).toMatchObject({ code: 3, err: expect.stringContaining('ops/no-mondays') });
    const json = await command(['run', 'a/b', '--json']);
    expect(json.code).toBe(3);
    expect(JSON.parse(json.out).error).toMatchObject({ code: 'admission-rejected', policies: ['ops/no-mondays'] });
  });

  it('prints tables without colours into a pipe', async () => {
    const refused = run({ status: 'cancelled', admission: { verdict: 'rejected' } });
    routes['GET /v1/runs'] = { body: { items: [run({}), refused] } };
    const { out } = await command(['runs', 'ls', '--status', 'running', '--under', 'host/a']);
    expect(out).toMatch(/^ID +FLOW +STATUS/);
    expect(out).toContain('cancelled (rejected)');
    expect(out).not.toContain('(admitted)');
    expect(out).not.toMatch(/\u001b/);
    expect(calls()).toEqual(['GET /v1/runs?limit=20&status=running&under=host%2Fa']);
  });
});

describe('explain, events, halts and locks', () => {
  it.each<[string, string, string, Record<string, TargetAnswer>]>([
    [
      'an event',
      EVENT,
      'event',
      {
        [`GET /v1/events/${EVENT}/explain`]: {
          body: { event: { subject: 'host/a' }, rules: [], decisions: [], text: 'because of the event' },
        },
      },
    ],
    [
      'a decision',
      RUN,
      'decision',
      {
        [`GET /v1/decisions/${RUN}`]: {
          body: {
            id: RUN,
            rule: 'a/b',
            version: '1',
            branch: 'x',
            rung: 'y',
            tier: 'P0',
            ref: 'f/g@1',
            targets: ['host/a'],
            batches: [],
            at: '2026-01-01T00:00:00Z',
            admissions: [],
          },
        },
      },
    ],
    [
      'a run',
      RUN,
      'run',
      {
        [`GET /v1/runs/${RUN}`]: {
          body: {
            id: RUN,
            flow: 'f/g',
            version: '1',
            status: 'failed',
            targets: [],
            admission: { verdict: 'admitted' },
            initiator: { kind: 'user', name: 'me' },
          },
        },
        [`GET /v1/runs/${RUN}/timeline`]: { body: { items: [] } },
      },
    ],
    [
      'a resource',
      'host/a',
      'resource',
      {
        'GET /v1/explain': {
          body: {
            resource: {},
            episodes: [],
            locks: [],
            waiting: [],
            halts: [],
            maintenance: [],
            decisions: [],
            text: 'because of the host',
          },
        },
      },
    ],
  ])('finds out that it is %s', async (_what, id, kind, answers) => {
    routes = answers;
    const json = await opsloop(['explain', id, '--json']);
    expect(json.code).toBe(0);
    expect(JSON.parse(json.out).kind).toBe(kind);
    const text = await opsloop(['explain', id]);
    expect(text).toMatchObject({ code: 0, out: expect.stringMatching(/because of|decision|run /) });
    expect(text.out).toContain('Next: opsloop');
  });

  it('says that nothing has an id', async () => {
    expect(await opsloop(['explain', EVENT])).toMatchObject({
      code: 1,
      err: expect.stringContaining('no event, decision or run'),
    });
  });

  it('sends an event as a CloudEvent', async () => {
    routes['POST /v1/events'] = {
      status: 202,
      body: { items: [{ id: 'e', source: 's', eventId: EVENT, duplicate: false }] },
    };
    const { code, out } = await opsloop([
      'events',
      'send',
      '--type',
      'host.state',
      '--subject',
      'host/a',
      '-d',
      'state=down',
      '--id',
      'e-1',
    ]);
    expect(code).toBe(0);
    expect(out).toContain(`opsloop explain ${EVENT}`);
    expect(server.calls[0]!.headers['content-type']).toBe('application/cloudevents+json');
    expect(server.calls[0]!.body).toEqual({
      specversion: '1.0',
      id: 'e-1',
      source: '/opsloop-cli',
      type: 'host.state',
      subject: 'host/a',
      data: { state: 'down' },
    });
  });

  it('halts, lists and lifts', async () => {
    routes['POST /v1/halts'] = {
      status: 201,
      body: { id: 'h-1', hits: { rules: 1, queued: 2, running: 3, targets: 4 } },
    };
    routes['POST /v1/halts/h-1/lift'] = { body: {} };
    expect(await opsloop(['halt', '--path', 'host/*', '--reason', 'x'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('2 queued and 3 running runs'),
    });
    expect(server.calls[0]!.body).toEqual({ scope: { paths: ['host/*'] }, running: 'pause', reason: 'x' });
    expect(await opsloop(['halts', 'lift', 'h-1', '--reason', 'y', '--per-minute', '5'])).toMatchObject({ code: 0 });
    expect(server.calls[1]!.body).toEqual({ reason: 'y', perMinute: 5 });
  });

  it('lists locks on a path, breaks one, and shows the status', async () => {
    routes['GET /v1/locks'] = { body: { items: [] } };
    routes['POST /v1/locks/42/break'] = { body: {} };
    routes['GET /readyz'] = {
      status: 503,
      body: { ready: false, parts: [{ name: 'temporal', ok: false, detail: 'away' }] },
    };
    routes['GET /v1/status'] = {
      body: {
        ok: true,
        counts: { running: 2 },
        items: [{ level: 'waiting', code: 'queued', title: 'one run waits', next: 'opsloop locks ls' }],
      },
    };
    expect((await opsloop(['locks', 'ls', 'host/a'])).out).toContain('host/a is free');
    expect((await opsloop(['locks', 'break', '42', '--reason', 'x'])).code).toBe(0);
    const status = await opsloop(['status']);
    expect(status).toMatchObject({
      code: 1,
      out: expect.stringMatching(
        /running 2\n {2}temporal: away\nwaiting {2}one run waits\n {9}(npx )?opsloop locks ls/,
      ),
    });
    expect(calls().slice(0, 2)).toEqual(['GET /v1/locks?path=host%2Fa', 'POST /v1/locks/42/break']);
  });

  it('doctor says what is there', async () => {
    routes['GET /readyz'] = { body: { ready: true, parts: [{ name: 'database', ok: true }] } };
    const { out } = await opsloop(['doctor', '--json']);
    const names = JSON.parse(out).checks.map((check: { name: string }) => check.name);
    expect(names).toEqual(
      expect.arrayContaining(['Node', 'Temporal', 'PostgreSQL', 'data folder', 'stack', 'database']),
    );
  });
});
