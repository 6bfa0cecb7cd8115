import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonObject } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { startHttpTarget } from '@opsloop/testing';
import type { HttpTarget, RecordedCall, TargetAnswer } from '@opsloop/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from './program.js';

/** The commands that check before anything runs: validate, plan, schema, and what init prepares for editors. */
let dir: string;
let server: HttpTarget;
let routes: Record<string, TargetAnswer | ((call: RecordedCall) => TargetAnswer)> = {};

beforeAll(async () => {
  server = await startHttpTarget((call) => {
    const route = routes[`${call.method} ${call.path.split('?', 1)[0]!}`] ?? {
      status: 404,
      body: { code: 'not-found', title: 'Not found', status: 404 },
    };
    return typeof route === 'function' ? route(call) : route;
  });
});
afterAll(() => server.close());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-check-'));
  routes = {};
  server.calls.length = 0;
});
afterEach(() => rmSync(dir, { recursive: true }));

async function opsloop(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await runCli(args, {
    ...{ out: (text) => void (out += text), err: (text) => void (err += text), isTTY: false, env, cwd: dir },
    stdin: () => Promise.resolve(''),
  });
  return { code, out, err };
}
const online = (): Record<string, string> => ({ OPSLOOP_URL: server.url, OPSLOOP_TOKEN: 'key-1' });
const write = (name: string, text: string): void => writeFileSync(join(dir, name), text);
const edit = (name: string, from: string, to: string): void =>
  write(name, readFileSync(join(dir, name), 'utf8').replace(from, to));

describe('validate', () => {
  it('finds mistakes between documents, says file and line, and exits 1', async () => {
    await opsloop(['init', '.']);
    edit('flow.yaml', 'service: ${input.service}', 'service: ${input.servce}');
    const { code, out, err } = await opsloop(['validate']);
    expect(code).toBe(1);
    const line =
      readFileSync(join(dir, 'flow.yaml'), 'utf8')
        .split('\n')
        .findIndex((text) => text.includes('servce')) + 1;
    expect(out).toContain(`flow.yaml:${line} error OPS1503 /do/0/with/service (restart)`);
    expect(out).toContain('did you mean "service"?');
    // The rule refers to the broken flow, and is not to blame.
    expect(out).not.toContain('rule.yaml');
    expect(err).toContain('1 mistake in 6 documents');
    edit('flow.yaml', 'servce', 'service');
    edit('rule.yaml', 'service: ${resource.path}', 'servic: ${resource.path}');
    expect((await opsloop(['validate', '.'])).out).toMatch(
      /rule\.yaml:\d+ error OPS1608 .*\n.*\n.*did you mean "service"/,
    );
  });

  it('prints one JSON value with every finding in full', async () => {
    await opsloop(['init', '.']);
    edit('atom.yaml', 'effect: mutate', 'effect: change');
    const { code, out } = await opsloop(['validate', '.', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      valid: false,
      documents: 6,
      findings: [
        {
          ...{ place: 'atom.yaml', kind: 'atom', name: 'hello.service.restart', code: 'OPS1001', severity: 'error' },
          ...{ pointer: '/effect', url: 'https://opsloop.dev/docs/findings/OPS1001', line: 8 },
        },
      ],
    });
  });

  it('warns of what leads elsewhere, which --strict takes for a mistake and --server asks about', async () => {
    await opsloop(['init', '.']);
    rmSync(join(dir, 'atom.yaml'));
    const offline = await opsloop(['validate', '.']);
    expect(offline).toMatchObject({ code: 0, out: expect.stringContaining('warning OPS1010 /do/0/call') as string });
    expect(offline.out).toContain('5 documents are valid, with 1 warning');
    expect((await opsloop(['validate', '.', '--strict'])).code).toBe(1);
    routes['POST /v1/flows/validate'] = (call) => {
      const { documents } = call.body as unknown as { documents: JsonObject[] };
      return {
        body: {
          valid: true,
          findings: [],
          documents: documents.map(({ kind, name }) => ({ kind, name, valid: true, findings: [] })),
        },
      };
    };
    expect(await opsloop(['validate', '.', '--server'], online())).toMatchObject({
      code: 0,
      out: expect.stringContaining('5 documents are valid\n') as string,
    });
    expect((await opsloop(['validate', '.', '--server'])).code).toBe(2);
  });

  it('checks flow tests against their flow', async () => {
    await opsloop(['init', '.']);
    write(
      'restart.flowtest.json',
      JSON.stringify({
        dsl: 'opsloop/v1',
        kind: 'flowtest',
        name: 'x',
        flow: 'hello/restart@1',
        input: {},
        expect: { path: ['restart', 'gone'] },
      }),
    );
    const { code, out } = await opsloop(['validate', '.']);
    expect(code).toBe(1);
    expect(out).toMatch(/restart\.flowtest\.json:1 error OPS1081 \/expect\/path\/1/);
  });

  it('a folder without documents, or one that is not there → 2', async () => {
    expect((await opsloop(['validate', '.'])).code).toBe(2);
    expect((await opsloop(['validate', 'nowhere'])).code).toBe(2);
  });
});

describe('plan', () => {
  const RUN = '018f0000-0000-7000-8000-000000000001';

  it('of a file: with what lies beside it, without a server, the same bytes each time', async () => {
    await opsloop(['init', '.']);
    const { code, out } = await opsloop(['plan', 'flow.yaml', '-i', 'service=service/hello']);
    expect(code).toBe(0);
    expect(out).toContain('hello/restart 1.0.0  mutate');
    expect(out).toContain('locks     service/hello (exclusive)');
    expect(out).toContain('└ restart  call  hello.service.restart@1.0.0  mutate');
    const json = await opsloop(['plan', 'flow.yaml', '-i', 'service=service/hello', '--json']);
    expect(JSON.parse(json.out)).toMatchObject({ changes: 1, blastRadius: { inFlight: 1, total: 1 }, findings: [] });
    expect((await opsloop(['plan', 'flow.yaml', '-i', 'service=service/hello', '--json'])).out).toBe(json.out);
  });

  it('of a file with mistakes, or an input that does not fit → 1, with the place', async () => {
    await opsloop(['init', '.']);
    const wrong = await opsloop(['plan', 'flow.yaml', '-i', 'servce=x']);
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('/service is required') as string });
    edit('flow.yaml', 'call: hello.service.restart@1', 'call: hello.service.restart');
    expect(await opsloop(['plan', 'flow.yaml'])).toMatchObject({
      code: 1,
      out: expect.stringContaining('OPS1014') as string,
    });
    expect((await opsloop(['plan'])).code).toBe(2);
  });

  it('holds a flow against the environment beside it, as validate does', async () => {
    const flow = (concurrency: number): JsonObject => ({
      ...{ dsl: 'opsloop/v1', kind: 'flow', name: 'a/wide', version: '1.0.0' },
      input: { schema: { type: 'object', required: ['hosts'], properties: { hosts: { type: 'array' } } } },
      targets: '${input.hosts}',
      do: [
        {
          id: 'each',
          forEach: { in: '${input.hosts}', as: 'host', concurrency, onItemError: 'stop' },
          do: [{ id: 'post', call: 'http.request@1', with: { method: 'POST', url: 'http://a/${host}' } }],
        },
      ],
    });
    const environment = { dsl: 'opsloop/v1', kind: 'config', name: 'environment' };
    write('environment.json', JSON.stringify({ ...environment, values: { maxInFlight: 2, maxTargets: 3 } }));
    write('wide.json', JSON.stringify(flow(3)));
    const checked = await opsloop(['validate', '--json', '.']);
    const { findings } = JSON.parse(checked.out) as { findings: { code: string; pointer: string }[] };
    expect(findings).toEqual(
      expect.arrayContaining([expect.objectContaining({ code: 'OPS1807', pointer: '/do/0/forEach/concurrency' })]),
    );
    write('wide.json', JSON.stringify(flow(2)));
    const plan = async (hosts: string): Promise<string> =>
      (await opsloop(['plan', 'wide.json', '-i', `{"hosts":${hosts}}`])).out;
    expect(await plan('["a","b","c"]')).not.toContain('OPS1807');
    expect(await plan('["a","b","c","d"]')).toContain('4 targets; the environment allows 3');
  });

  it('asks the server for a name, and for what is not beside the file', async () => {
    await opsloop(['init', '.']);
    rmSync(join(dir, 'atom.yaml'));
    expect(await opsloop(['plan', 'flow.yaml', '-i', 'service=service/hello'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('no server was found') as string,
    });
    const answer = {
      ...{
        name: 'hello/restart',
        version: '1.0.0',
        digest: '',
        effect: 'mutate',
        inputErrors: [],
        targets: [],
        locks: [],
      },
      ...{
        effects: { read: 0, mutate: 1, destroy: 0 },
        changes: 1,
        blastRadius: { inFlight: 1, total: 1 },
        pinned: [],
      },
      ...{ batches: [], approvals: [], secrets: [], local: [], findings: [] },
      ...{ worst: { duration: '1m', events: 18, continues: false } },
      steps: [
        { id: 'restart', path: 'restart', verb: 'call', effect: 'mutate' },
        { id: 'after', path: 'after', verb: 'wait' },
      ],
    };
    routes['POST /v1/flows/plan'] = { body: answer };
    expect((await opsloop(['plan', 'flow.yaml', '-i', 'service=service/hello'], online())).code).toBe(0);
    expect((await opsloop(['plan', 'hello/restart@1', '-i', 'service=a'], online())).code).toBe(0);
    expect(server.calls.map(({ body }) => body)).toMatchObject([
      { flow: { name: 'hello/restart' }, input: { service: 'service/hello' } },
      { name: 'hello/restart@1', input: { service: 'a' } },
    ]);
    routes[`GET /v1/runs/${RUN}`] = {
      body: {
        ...{ id: RUN, flow: 'hello/restart', version: '1.0.0', status: 'failed', input: { service: 'b' } },
        steps: [{ id: 'restart', path: 'restart', verb: 'call', status: 'failed', attempts: 5, startedAt: '' }],
      },
    };
    const retry = await opsloop(['plan', '--against', RUN], online());
    expect(retry.code).toBe(0);
    expect(server.calls.at(-1)!.body).toEqual({ name: 'hello/restart@1.0.0', input: { service: 'b' } });
    expect(retry.out).toMatch(/restart +it failed +mutate/);
    expect(retry.out).toMatch(/after +not reached before/);
  });
});

describe('schema', () => {
  it('prints the reference of a part, as a table and as JSON', async () => {
    const { code, out } = await opsloop(['schema', 'flow.forEach.batch']);
    expect(code).toBe(0);
    for (const text of ['canary', 'size', 'max', 'pause', 'gate', '"10%"', 'percentage']) expect(out).toContain(text);
    const json = JSON.parse((await opsloop(['schema', 'flow.loop.max', '--json'])).out) as {
      members: { name: string }[];
    };
    expect(json.members.map(({ name }) => name)).toEqual(['iterations', 'duration']);
    expect(await opsloop(['schema', 'flow.foreach'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('did you mean "forEach"?') as string,
    });
    expect((await opsloop(['schema'])).out).toContain('policy');
  });

  it('gives editors one schema, which init writes and names in their settings', async () => {
    await opsloop(['init', '.']);
    const schema = JSON.parse(readFileSync(join(dir, '.vscode/opsloop.schema.json'), 'utf8')) as JsonObject;
    expect(JSON.parse((await opsloop(['schema', '--raw'])).out)).toEqual(schema);
    const settings = JSON.parse(readFileSync(join(dir, '.vscode/settings.json'), 'utf8')) as Record<string, JsonObject>;
    expect(Object.keys(settings['yaml.schemas']!)).toEqual(['./.vscode/opsloop.schema.json']);
  });

  it('lets a document name its schema, and does not keep that', () => {
    const config = {
      $schema: './.vscode/opsloop.schema.json',
      dsl: 'opsloop/v1',
      kind: 'config',
      name: 'x',
      values: {},
    };
    const { findings, document } = validateDocument('config', config);
    expect([findings, Object.keys(document as object)]).toEqual([[], ['dsl', 'kind', 'name', 'values']]);
  });
});
