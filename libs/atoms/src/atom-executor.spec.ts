import {
  AtomError,
  OpsError,
  type AtomCall,
  type HttpAtomSpec,
  type Json,
  type ScriptAtomSpec,
} from '@opsloop/contracts';
import { eventually, startHttpTarget, type HttpTarget, type TargetAnswer } from '@opsloop/testing';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AtomExecutor } from './atom-executor.js';
import { HttpGuard } from './http-guard.js';
import { ScriptRunner } from './script-runner.js';
import { EnvironmentSecrets } from './secrets.js';

/** A PATH with these programs and no sandbox, so that the specs see the same isolation on every machine. */
const PATH = mkdtempSync(join(tmpdir(), 'opsloop-tools-'));
for (const tool of ['sh', 'env', 'cat', 'sleep', 'yes', 'head', 'true', 'ln', 'rm', 'mkfifo', 'prlimit']) {
  const found = ['/usr/bin', '/bin'].map((dir) => join(dir, tool)).find((file) => existsSync(file));
  if (found !== undefined) symlinkSync(found, join(PATH, tool));
}
let target: HttpTarget;
let answer: TargetAnswer = {};
let guard: HttpGuard;
let executor: AtomExecutor;

beforeAll(async () => {
  target = await startHttpTarget(() => answer);
  guard = new HttpGuard({ allow: [], embedded: true });
  executor = new AtomExecutor({
    guard,
    embedded: true,
    scripts: new ScriptRunner({ path: PATH, embedded: true }),
    secrets: new EnvironmentSecrets({ OPSLOOP_SECRET_CMDB_TOKEN: 's3cr3t-value/+' }),
    resolveResources: (query) => Promise.resolve({ items: [{ path: 'host/a', asked: query }] }),
  });
});
afterAll(async () => {
  await guard.close();
  await target.close();
  rmSync(PATH, { recursive: true });
});
beforeEach(() => {
  answer = {};
  target.calls.length = 0;
});

const context = { run: 'run-1', step: 'a/b', key: 'ops-0123', fence: '42', tenant: 'default', dryRun: false };
const call = (input: Json, more: Partial<AtomCall> = {}): AtomCall => ({ input, context, ...more });
const run = (name: string, input: Json, more: Partial<AtomCall> = {}): Promise<Json> =>
  executor.execute(call(input, more), name);
const failureOf = async (act: Promise<unknown>): Promise<OpsError | AtomError> => {
  const error: unknown = await act.then(
    (value) => new Error(`it succeeded: ${JSON.stringify(value)}`),
    (e: unknown) => e,
  );
  if (error instanceof OpsError || error instanceof AtomError) return error;
  throw error;
};

/** State letter of a process; an orphan that nobody has waited for stays as Z. */
function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
  } catch {
    return 'gone';
  }
}

describe('http.request', () => {
  it('sends the key and the fence of the step, and reads the answer', async () => {
    answer = { status: 201, body: { id: 7 } };
    const output = await run('http.request', {
      method: 'post',
      url: `${target.url}/x?y=1`,
      headers: { 'X-Team': 'a', 'Idempotency-Key': 'forged' },
      body: { n: 1 },
    });
    expect(output).toMatchObject({ status: 201, body: { id: 7 }, headers: { 'content-type': 'application/json' } });
    expect(target.calls).toMatchObject([
      {
        method: 'POST',
        path: '/x?y=1',
        body: { n: 1 },
        headers: {
          'idempotency-key': 'ops-0123',
          'opsloop-fence': '42',
          'x-team': 'a',
          'content-type': 'application/json',
        },
      },
    ]);
  });

  it('sends no fence without a lock', async () => {
    const { fence: _fence, ...free } = context;
    await run('http.request', { method: 'GET', url: target.url }, { context: free });
    expect(target.calls[0]!.headers).not.toHaveProperty('opsloop-fence');
  });

  it.each<[number, number[] | undefined, 'ok' | 'communication' | 'atom/http.request/status', boolean?]>([
    [200, undefined, 'ok'],
    [204, undefined, 'ok'],
    [302, undefined, 'ok'],
    [400, undefined, 'atom/http.request/status', false],
    [404, undefined, 'atom/http.request/status', false],
    [408, undefined, 'communication'],
    [409, undefined, 'atom/http.request/status', false],
    [429, undefined, 'communication'],
    [500, undefined, 'communication'],
    [503, undefined, 'communication'],
    [404, [404], 'ok'],
    [200, [201], 'atom/http.request/status', false],
    [503, [503], 'ok'],
  ])('status %i, expect %j → %s', async (status, expected, result, retryable) => {
    answer = { status, body: status === 204 ? '' : { said: 'why' } };
    const attempt = run('http.request', {
      method: 'GET',
      url: target.url,
      ...(expected === undefined ? {} : { expect: expected }),
    });
    if (result === 'ok') return void expect(await attempt).toMatchObject({ status });
    const error = await failureOf(attempt);
    expect(error.code).toBe(result);
    expect(error.detail).toContain(String(status));
    if (error instanceof AtomError) expect(error.options.retryable ?? false).toBe(retryable);
  });

  it('hands on Retry-After, within reason', async () => {
    answer = { status: 503, headers: { 'retry-after': '7' } };
    expect((await failureOf(run('http.request', { method: 'GET', url: target.url }))).options).toMatchObject({
      retryAfterSec: 7,
    });
    answer = { status: 503, headers: { 'retry-after': '86400' } };
    expect((await failureOf(run('http.request', { method: 'GET', url: target.url }))).options).toMatchObject({
      retryAfterSec: 60,
    });
  });

  it.each([
    ['text/plain', 'plain', 'plain'],
    ['application/vnd.x+json; charset=utf-8', '{"a":1}', { a: 1 }],
    ['application/json', '{broken', '{broken'],
    ['application/octet-stream', 'abc', null],
  ])('reads %s', async (type, body, read) => {
    answer = { headers: { 'content-type': type }, body };
    expect(await run('http.request', { method: 'GET', url: target.url })).toMatchObject({ body: read });
  });

  it('keeps 64 KB of a long answer and says so', async () => {
    answer = { body: { long: 'x'.repeat(200_000) } };
    const output = (await run('http.request', { method: 'GET', url: target.url })) as {
      body: string;
      truncated: boolean;
    };
    expect(output.truncated).toBe(true);
    expect(output.body).toHaveLength(64 * 1024);
  });

  it.each([
    [{ method: 'GET' }, '/url'],
    [{ method: 'GET', url: 'http://127.0.0.1/', typo: 1 }, ''],
    [{ method: 'TRACE', url: 'http://127.0.0.1/' }, '/method'],
    [{ method: 'GET', url: 'http://127.0.0.1/', expect: ['200'] }, '/expect/0'],
  ])('refuses %j', async (input, pointer) => {
    const error = await failureOf(run('http.request', input as Json));
    expect(error).toMatchObject({ code: 'validation', options: { errors: [{ pointer }] } });
  });

  it('does nothing in a dry run', async () => {
    expect(
      await run('http.request', { method: 'DELETE', url: target.url }, { context: { ...context, dryRun: true } }),
    ).toEqual({ dryRun: true });
    expect(target.calls).toHaveLength(0);
  });
});

describe('probe.http', () => {
  it.each([
    [200, { state: 'up', status: 200 }],
    [302, { state: 'up', status: 302 }],
    [404, { state: 'down', status: 404, reason: 'answered 404' }],
    [500, { state: 'down', status: 500, reason: 'answered 500' }],
  ])('%i', async (status, expected) => {
    answer = { status };
    const output = await run('probe.http', { url: target.url }, { context: { ...context, dryRun: true } });
    expect(output).toMatchObject(expected);
    expect((output as { latencyMs: number }).latencyMs).toBeGreaterThan(0);
  });

  it('a target that does not answer is down, one that is not allowed is an error', async () => {
    expect(await run('probe.http', { url: 'http://127.0.0.1:1/' })).toMatchObject({
      state: 'down',
      reason: expect.stringContaining('ECONNREFUSED') as string,
    });
    expect((await failureOf(run('probe.http', { url: 'http://169.254.169.254/' }))).code).toBe('authorization');
    expect((await failureOf(run('probe.http', { url: target.url, timeout: '5 s' }))).code).toBe('validation');
  });
});

describe('notify.webhook, resource.list', () => {
  it('posts the body', async () => {
    answer = { status: 202 };
    expect(await run('notify.webhook', { url: target.url, body: { hosts: ['a'] } })).toEqual({ status: 202 });
    expect(target.calls).toMatchObject([
      { method: 'POST', body: { hosts: ['a'] }, headers: { 'idempotency-key': 'ops-0123' } },
    ]);
    answer = { status: 410 };
    expect((await failureOf(run('notify.webhook', { url: target.url }))).code).toBe('atom/notify.webhook/status');
  });

  it('asks whoever keeps the resources', async () => {
    expect(await run('resource.list', { kind: 'host', labels: { role: 'web' } })).toEqual({
      items: [{ path: 'host/a', asked: { kind: 'host', labels: { role: 'web' }, limit: 1_000 } }],
    });
    const alone = new AtomExecutor({ guard, embedded: true });
    expect((await failureOf(alone.execute(call({}), 'resource.list'))).code).toBe('configuration');
  });
});

describe('script.run', () => {
  it('runs argv without a shell, in a clean environment and a directory of its own', async () => {
    const output = (await run('script.run', {
      argv: ['sh', '-c', 'env; pwd; echo "$1"; cat; echo oops >&2', 'x', '$(id); `id`'],
      env: { TEAM: 'ops' },
      stdin: 'from stdin',
    })) as Record<string, string>;
    const lines = output['stdout']!.split('\n');
    const env = Object.fromEntries(
      lines.filter((l) => /^[A-Z_]+=/.test(l)).map((l) => [l.slice(0, l.indexOf('=')), l.slice(l.indexOf('=') + 1)]),
    );
    expect(env).toMatchObject({
      PATH,
      TEAM: 'ops',
      OPSLOOP_KEY: 'ops-0123',
      OPSLOOP_FENCE: '42',
      OPSLOOP_RUN: 'run-1',
      OPSLOOP_STEP: 'a/b',
    });
    expect(
      Object.keys(env).filter(
        (k) => !/^(PATH|HOME|TMPDIR|LANG|TEAM|PWD|OLDPWD|SHLVL|_|OPSLOOP_(KEY|FENCE|RUN|STEP|OUTPUT))$/.test(k),
      ),
    ).toEqual([]);
    expect(lines).toContain('$(id); `id`');
    expect(output).toMatchObject({
      exitCode: 0,
      stderr: 'oops\n',
      isolation: expect.stringMatching(/rlimits|none/) as string,
    });
    expect(output['stdout']).toContain('from stdin');
    expect(existsSync(env['HOME']!)).toBe(false);
  });

  it('fails with the exit code, and a retry policy may repeat it', async () => {
    const error = (await failureOf(run('script.run', { argv: ['sh', '-c', 'echo broken >&2; exit 3'] }))) as AtomError;
    expect(error).toMatchObject({
      code: 'atom/script.run/exit',
      options: { retryable: true, extensions: { exitCode: 3 } },
    });
    expect(error.detail).toContain('broken');
  });

  it.each([
    [{ argv: [] }, 'validation'],
    [{ argv: ['sh'], cwd: '/no/such/dir' }, 'validation'],
    [{ argv: 'sh' }, 'validation'],
  ])('refuses %j', async (input, code) => {
    expect((await failureOf(run('script.run', input as Json))).code).toBe(code);
  });

  it('keeps head and tail of an endless output', async () => {
    const output = (await run('script.run', {
      argv: ['sh', '-c', 'echo first; yes | head -c 3000000; echo last'],
    })) as { stdout: string; truncated: boolean };
    expect(output.truncated).toBe(true);
    expect(Buffer.byteLength(output.stdout)).toBeLessThan(65 * 1024);
    expect(output.stdout.startsWith('first\n')).toBe(true);
    expect(output.stdout.endsWith('last\n')).toBe(true);
  });

  it('stops the whole process group at the time limit, also what ignores SIGTERM', async () => {
    const pidFile = join(mkdtempSync(join(tmpdir(), 'opsloop-group-')), 'child.pid');
    const script = `trap "" TERM; (trap "" TERM; while :; do sleep 0.1; done) & echo $! > ${pidFile}; wait`;
    const started = performance.now();
    const attempt = executor.execute(call({ argv: ['sh', '-c', script] }), 'script.run', undefined, { timeoutMs: 300 });
    expect((await failureOf(attempt)).code).toBe('timeout');
    expect(performance.now() - started).toBeLessThan(5_000);
    const child = Number(readFileSync(pidFile, 'utf8'));
    rmSync(dirname(pidFile), { recursive: true });
    expect(child).toBeGreaterThan(1);
    await eventually(() => expect(stateOf(child)).toMatch(/gone|Z/));
  });

  it('stops when the step is cancelled', async () => {
    const abort = new AbortController();
    const started = performance.now();
    const attempt = executor.execute(call({ argv: ['sleep', '30'] }), 'script.run', abort.signal);
    setTimeout(() => abort.abort(new Error('cancelled')), 50);
    await expect(attempt).rejects.toThrow('cancelled');
    expect(performance.now() - started).toBeLessThan(3_000);
  });

  it('does not wait for what the script left behind', async () => {
    const started = performance.now();
    expect(await run('script.run', { argv: ['sh', '-c', 'sleep 30 & echo done'] })).toMatchObject({
      exitCode: 0,
      stdout: 'done\n',
    });
    expect(performance.now() - started).toBeLessThan(3_000);
  });

  it('needs a sandbox outside the embedded stack', async () => {
    const cluster = new AtomExecutor({
      guard,
      embedded: false,
      scripts: new ScriptRunner({ path: '/nowhere', embedded: false }),
    });
    const error = await failureOf(cluster.execute(call({ argv: ['true'] }), 'script.run'));
    expect(error).toMatchObject({ code: 'policy' });
    expect(error.detail).toContain('OPSLOOP_UNSAFE_HOST_EXEC');
    const unsafe = new AtomExecutor({
      guard,
      embedded: false,
      scripts: new ScriptRunner({ path: PATH, embedded: false, unsafeHostExec: true }),
    });
    expect(await unsafe.execute(call({ argv: ['true'] }), 'script.run')).toMatchObject({ exitCode: 0 });
  });
});

describe('secrets', () => {
  it('resolves references, and takes values out of outputs and errors', async () => {
    answer = {
      body: {
        echoed: 's3cr3t-value/+',
        coded: encodeURIComponent('s3cr3t-value/+'),
        base64: Buffer.from('s3cr3t-value/+').toString('base64'),
      },
    };
    const output = await run(
      'http.request',
      { method: 'GET', url: target.url, headers: { authorization: { $secret: 'cmdb-token' } } },
      { secrets: ['/headers/authorization'] },
    );
    expect(target.calls[0]!.headers.authorization).toBe('s3cr3t-value/+');
    expect(output).toMatchObject({ body: { echoed: '***', coded: '***', base64: '***' } });
    answer = { status: 400, body: { bad: 's3cr3t-value/+' } };
    const error = await failureOf(
      run(
        'http.request',
        { method: 'POST', url: target.url, body: { t: { $secret: 'cmdb-token' } } },
        { secrets: ['/body/t'] },
      ),
    );
    expect(JSON.stringify([error.detail, error.message, error.options, error.stack])).not.toContain('s3cr3t');
    expect(error.detail).toContain('***');
  });

  it('stay where they are when data only looks like a reference', async () => {
    const body = { list: [{ $secret: 'cmdb-token' }], own: { $secret: 'cmdb-token' } };
    const named = { secrets: ['/body/own', '/body/nowhere/at/all', '/body/list'] };
    await run('notify.webhook', { url: target.url, body }, named);
    expect(target.calls[0]!.body).toEqual({ list: [{ $secret: 'cmdb-token' }], own: 's3cr3t-value/+' });
  });

  it('tells who runs the worker when a target gives one back, without the value', async () => {
    const warnings: unknown[] = [];
    const telling = new AtomExecutor({
      guard,
      embedded: true,
      secrets: new EnvironmentSecrets({ OPSLOOP_SECRET_CMDB_TOKEN: 's3cr3t-value/+' }),
      warn: (message, fields) => warnings.push({ message, ...fields }),
    });
    const asked = call({ method: 'POST', url: target.url, body: { $secret: 'cmdb-token' } }, { secrets: ['/body'] });
    answer = { body: { ok: true } };
    await telling.execute(asked, 'http.request');
    expect(warnings).toEqual([]);
    answer = { body: { you: 'sent s3cr3t-value/+', hex: Buffer.from('s3cr3t-value/+').toString('hex') } };
    expect(await telling.execute(asked, 'http.request')).toMatchObject({ body: { you: 'sent ***', hex: '***' } });
    expect(warnings).toEqual([
      { message: expect.stringContaining('held a secret') as string, atom: 'http.request', run: 'run-1', step: 'a/b' },
    ]);
    expect(JSON.stringify(warnings)).not.toContain('s3cr3t');
  });

  it('keeps them out of what a script says while it runs and how it fails', async () => {
    const beats: Json[] = [];
    const script = {
      name: 'team.leaky',
      version: '1.0.0',
      script: {
        interpreter: ['sh', '-u'],
        source: 'echo "with $KEY"; echo "$KEY" >&2; exit 7',
        env: { KEY: '${secrets.cmdb-token}' },
      },
    };
    const error = await failureOf(
      executor.execute(call({}, { atom: script }), 'team.leaky', undefined, { heartbeat: (said) => beats.push(said) }),
    );
    expect(error.detail).toContain('***');
    expect(JSON.stringify([error.detail, error.options, error.message, error.stack, beats])).not.toContain('s3cr3t');
  });

  it('an output above 512 KB does not get into the history, whichever atom made it', async () => {
    const large = new AtomExecutor({
      guard,
      embedded: true,
      resolveResources: () => Promise.resolve({ items: [{ path: 'x'.repeat(600_000) }] }),
    });
    const error = await failureOf(large.execute(call({ kind: 'host' }), 'resource.list'));
    expect([error.code, error.detail]).toEqual(['payload-too-large', expect.stringContaining('524288') as string]);
  });

  it('says which secret is missing', async () => {
    const error = await failureOf(
      run('notify.webhook', { url: target.url, body: { $secret: 'no-such' } }, { secrets: ['/body'] }),
    );
    expect(error).toMatchObject({
      code: 'configuration',
      detail: expect.stringContaining('OPSLOOP_SECRET_NO_SUCH') as string,
    });
    expect(target.calls).toHaveLength(0);
  });
});

describe('declared atoms', () => {
  const http = (spec: Partial<HttpAtomSpec>): Partial<AtomCall> => ({
    atom: {
      name: 'cmdb.host.retire',
      version: '1.0.0',
      http: { method: 'POST', url: '${config.cmdb.url}/v2/retire', ...spec },
    },
    config: { cmdb: { url: target.url } },
  });

  it('http: templates over input, config and secrets; output over the answer', async () => {
    answer = { status: 202, headers: { 'x-request': 'r-1' }, body: { ticket: 'T-7', items: [1, 2] } };
    const output = await run(
      'cmdb.host.retire',
      { host: 'host/a', n: 3 },
      http({
        headers: { authorization: 'Bearer ${secrets.cmdb-token}', 'x-count': '${input.n}' },
        body: { host: '${input.host}', all: '${input}', literal: '$${x}' },
        expect: [202],
        output: {
          ticket: '${response.body.ticket}',
          status: '${response.status}',
          request: '${response.headers["x-request"]}',
        },
      }),
    );
    expect(output).toEqual({ ticket: 'T-7', status: 202, request: 'r-1' });
    expect(target.calls).toMatchObject([
      {
        path: '/v2/retire',
        headers: { authorization: 'Bearer s3cr3t-value/+', 'x-count': '3', 'idempotency-key': 'ops-0123' },
        body: { host: 'host/a', all: { host: 'host/a', n: 3 }, literal: '${x}' },
      },
    ]);
  });

  it('http: failures carry the name of the atom', async () => {
    answer = { status: 409, body: { why: 'retired' } };
    expect((await failureOf(run('cmdb.host.retire', {}, http({})))).code).toBe('atom/cmdb.host.retire/status');
    expect((await failureOf(run('cmdb.host.retire', {}, http({ url: '${config.missing.url}' })))).code).toBe(
      'expression',
    );
    expect((await failureOf(run('cmdb.host.retire', {}, http({ url: '${config.cmdb}' })))).code).toBe('expression');
    expect((await failureOf(run('cmdb.host.retire', {}, http({ headers: { a: '${secrets.unknown}' } })))).code).toBe(
      'configuration',
    );
  });

  it('http: an output above 64 KB is refused, since its template can pick', async () => {
    answer = { body: { long: 'x'.repeat(100_000), id: 1 } };
    expect((await failureOf(run('cmdb.host.retire', {}, http({ output: '${response.body}' })))).code).toBe(
      'payload-too-large',
    );
    expect(await run('cmdb.host.retire', {}, http({ output: { id: '${response.body.id}' } }))).toEqual({ id: 1 });
  });

  it('what comes back is never evaluated', async () => {
    answer = { body: { evil: '${secrets.cmdb-token}', logic: { $logic: { var: 'input' } } } };
    expect(await run('cmdb.host.retire', {}, http({ output: '${response.body}' }))).toEqual({
      evil: '${secrets.cmdb-token}',
      logic: { $logic: { var: 'input' } },
    });
  });

  const script = (spec: Partial<ScriptAtomSpec>): Partial<AtomCall> => ({
    atom: { name: 'fleet.log.clean', version: '1.0.0', script: { interpreter: ['sh', '-eu'], ...spec } },
  });

  it('script: values by env and stdin only, results from $OPSLOOP_OUTPUT', async () => {
    const output = await run(
      'fleet.log.clean',
      { days: 7, host: '$(touch /tmp/x); rm -rf /' },
      script({
        source: 'echo "days=$DAYS" > "$OPSLOOP_OUTPUT"; echo "$HOST_PATH"; cat',
        env: { DAYS: '${input.days|string}', HOST_PATH: '${input.host}' },
        stdin: { all: '${input.days}' },
      }),
    );
    expect(output).toMatchObject({
      exitCode: 0,
      stdout: '$(touch /tmp/x); rm -rf /\n{"all":7}',
      values: { days: '7' },
    });
    expect(await run('fleet.log.clean', {}, script({ source: 'printf "[1,2]" > "$OPSLOOP_OUTPUT"' }))).toMatchObject({
      values: [1, 2],
    });
  });

  it.each([
    ['exit 4', 'atom/fleet.log.clean/exit'],
    ['echo "{broken" > "$OPSLOOP_OUTPUT"', 'atom/fleet.log.clean/output'],
    ['head -c 70000 /dev/zero > "$OPSLOOP_OUTPUT"', 'payload-too-large'],
  ])('script: %s → %s', async (source, code) => {
    expect((await failureOf(run('fleet.log.clean', {}, script({ source })))).code).toBe(code);
  });

  it.each([
    'ln -sf /etc/hostname "$OPSLOOP_OUTPUT"',
    'rm "$OPSLOOP_OUTPUT"; mkfifo "$OPSLOOP_OUTPUT"',
    'rm "$OPSLOOP_OUTPUT"',
  ])('script: %s gives no values', async (source) => {
    expect(await run('fleet.log.clean', {}, script({ source }))).not.toHaveProperty('values');
  });

  it('script: a text alone is no script', async () => {
    expect((await failureOf(run('fleet.log.clean', {}, script({})))).code).toBe('configuration');
  });
});

it('does not know atoms that are neither bundled nor declared', async () => {
  for (const name of ['fleet.unknown', 'constructor', '__proto__'])
    expect((await failureOf(run(name, {}))).code).toBe('configuration');
});
