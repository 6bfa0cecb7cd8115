import type { AtomCall, AtomDocument, Json, JsonObject, LogBatch } from '@opsloop/contracts';
import { startHttpTarget } from '@opsloop/testing';
import { parseLogic } from '@opsloop/rules';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AtomExecutor } from './atom-executor.js';
import { defineAtom } from './define-atom.js';
import { HttpGuard } from './http-guard.js';
import { pollOnce, NotYet } from './job.js';
import { ReadCache } from './read-cache.js';
import { ScriptRunner } from './script-runner.js';
import { activitiesOf } from './serve-atoms.js';
import { StepLog } from './step-log.js';

let answer: (path: string) => { status?: number; body: Json };
let target: Awaited<ReturnType<typeof startHttpTarget>>;
let executor: AtomExecutor;
beforeAll(async () => {
  target = await startHttpTarget((call) => answer(call.path));
  executor = new AtomExecutor({
    guard: new HttpGuard({ allow: ['127.0.0.0/8'], embedded: true }),
    embedded: true,
    scripts: new ScriptRunner({ path: process.env['PATH'] ?? '', embedded: true }),
    secrets: { get: () => Promise.resolve('s3cret-token') },
    redact: (text) => text.replaceAll('hunter22', '***'),
  });
});
afterAll(() => target.close());
beforeEach(() => (target.calls.length = 0));

const job = (): NonNullable<AtomDocument['job']> => ({
  start: {
    method: 'POST',
    url: `${target.url}/jobs`,
    headers: { authorization: 'Bearer ${secrets.t}' },
    body: { base: '${input.base}' },
    id: '${response.body.job}',
  },
  poll: {
    url: `${target.url}/jobs/\${job.id}`,
    done: parseLogic("response.body.state == 'done'"),
    failed: parseLogic("response.body.state == 'failed'"),
    output: { image: '${response.body.image}', base: '${input.base}' },
    progress: { percent: '${response.body.percent?}', message: '${response.body.stage?}' },
  },
  cancel: { method: 'DELETE', url: `${target.url}/jobs/\${job.id}` },
});
const context = { run: 'r', step: 's', key: 'ops-1', fence: '7', tenant: 'default', dryRun: false };
const call = (part: AtomCall['job'], output?: JsonObject): AtomCall => ({
  input: { base: 'b' },
  context,
  atom: {
    name: 'vm.build',
    version: '1.0.0',
    job: job(),
    ...(output === undefined ? {} : { output: { schema: output } }),
  },
  ...(part === undefined ? {} : { job: part }),
});

it('a call adds its query to the address, encoded; null is left out and a list becomes several', async () => {
  answer = () => ({ body: {} });
  const http = {
    method: 'GET',
    url: `${target.url}/find?v=1`,
    query: { q: '${input.q}', none: '${input.none?}', tag: ['a', '${input.tag}'], n: 7 },
  };
  const find: AtomCall = {
    input: { q: 'x&admin=1', tag: 'b c' },
    context,
    atom: { name: 'a.b', version: '1.0.0', http },
  };
  await executor.execute(find, 'a.b');
  expect(target.calls[0]!.path).toBe('/find?v=1&q=x%26admin%3D1&tag=a&tag=b+c&n=7');
});

describe('a job over http', () => {
  it('gives the id of the start, which carries the step’s key', async () => {
    answer = () => ({ body: { job: 'j 7', token: 's3cret-token' } });
    expect(await executor.execute(call({ phase: 'start' }), 'vm.build')).toEqual({ id: 'j 7' });
    expect(target.calls[0]).toMatchObject({ method: 'POST', path: '/jobs', body: { base: 'b' } });
    expect(target.calls[0]!.headers).toMatchObject({
      'idempotency-key': 'ops-1',
      'opsloop-fence': '7',
      authorization: 'Bearer s3cret-token',
    });
  });

  it('is not done until its condition is true, and shows how far it is', async () => {
    answer = () => ({ body: { state: 'running', percent: 40, stage: 'copying s3cret-token' } });
    const poll = executor.execute(call({ phase: 'poll', id: 'j7' }), 'vm.build');
    await expect(poll).rejects.toMatchObject({ name: 'NotYet', progress: { percent: 40 } });
    expect(target.calls[0]).toMatchObject({ method: 'GET', path: '/jobs/j7' });
    // A poll under the start's key would be answered with the start's answer.
    expect(target.calls[0]!.headers['idempotency-key']).toBeUndefined();
  });

  it('gives its output when it is done, checked against the manifest', async () => {
    answer = () => ({ body: { state: 'done', image: 'i-1' } });
    const part = { phase: 'poll', id: 'j7' } as const;
    expect(await executor.execute(call(part), 'vm.build')).toEqual({ image: 'i-1', base: 'b' });
    const wrong = { type: 'object', required: ['size'] };
    await expect(executor.execute(call(part, wrong), 'vm.build')).rejects.toMatchObject({ code: 'validation' });
  });

  it('fails the step when it has failed, for good', async () => {
    answer = () => ({ body: { state: 'failed', why: 'disk full' } });
    await expect(executor.execute(call({ phase: 'poll', id: 'j7' }), 'vm.build')).rejects.toMatchObject({
      code: 'atom/vm.build/failed',
      detail: expect.stringContaining('disk full') as string,
      options: { extensions: { jobId: 'j7' } },
    });
  });

  it('is cancelled under a key of its own', async () => {
    answer = () => ({ body: {} });
    expect(await executor.execute(call({ phase: 'cancel', id: 'j7' }), 'vm.build')).toBeNull();
    expect(target.calls[0]).toMatchObject({ method: 'DELETE', path: '/jobs/j7' });
    expect(target.calls[0]!.headers['idempotency-key']).toBe('ops-1-cancel');
  });
});

describe('one poll', () => {
  const poll = async (details: unknown, attempts: number, error: Error): Promise<{ beats: Json[]; error: unknown }> => {
    const beats: Json[] = [];
    const context = { heartbeatDetails: details, heartbeat: (d: Json) => void beats.push(d) };
    const failed: unknown = await pollOnce(context, attempts, () => Promise.reject(error)).catch((e: unknown) => e);
    return { beats, error: failed };
  };

  it('that finds the job at work leaves its progress and is repeated silently', async () => {
    const { beats, error } = await poll({ failures: 2 }, 3, new NotYet({ percent: 5 }));
    expect(beats).toEqual([{ percent: 5 }]);
    expect(error).toMatchObject({ type: 'not-yet', nonRetryable: false, category: 'BENIGN' });
  });

  it.each([
    [{ percent: 5 }, 3, false, { percent: 5, failures: 1 }],
    [{ failures: 1 }, 3, false, { failures: 2 }],
    [{ failures: 2 }, 3, true, { failures: 3 }],
    [{ failures: 9 }, 0, false, { failures: 10 }],
  ])('after %j that fails counts; with %i attempts it is the last: %s', async (before, attempts, last, after) => {
    const { beats, error } = await poll(before, attempts, new Error('connection lost'));
    expect(beats).toEqual([after]);
    expect(error).toMatchObject({ type: 'runtime', nonRetryable: last, details: [{ retryable: true }] });
  });
});

describe('the memory for reads', () => {
  it('answers until the time is over, and drops the least recently used', () => {
    let now = 1_000;
    const cache = new ReadCache(() => now, { entries: 2, chars: 1_000 });
    cache.put('a', { n: 1 }, 100);
    cache.put('b', { n: 2 }, 100);
    expect(cache.get('a')).toEqual({ output: { n: 1 }, cachedAt: '1970-01-01T00:00:01.000Z' });
    cache.put('c', { n: 3 }, 100);
    expect([cache.get('a'), cache.get('b'), cache.get('c')].map((e) => e !== undefined)).toEqual([true, false, true]);
    now += 100;
    expect(cache.get('a')).toBeUndefined();
    cache.put('big', 'x'.repeat(1_001), 100);
    expect(cache.get('big')).toBeUndefined();
  });

  it('asks once for all who ask at the same time; a failure is for one alone', async () => {
    const cache = new ReadCache();
    let loads = 0;
    const load = (): Promise<Json> => {
      loads += 1;
      return loads === 1 ? Promise.reject(new Error('no')) : Promise.resolve(loads);
    };
    const [one, two] = await Promise.allSettled([cache.through('k', 1_000, load), cache.through('k', 1_000, load)]);
    expect(one.status).toBe('rejected');
    expect(two).toMatchObject({ status: 'fulfilled', value: { output: 2 } });
    const more = await Promise.all([1, 2, 3].map(() => cache.through('other', 1_000, load)));
    expect(more.map((m) => m.output)).toEqual([3, 3, 3]);
    expect(more.map((m) => m.cachedAt !== undefined)).toEqual([false, true, true]);
  });
});

describe('what a step says', () => {
  const collect = (fails = 0): { batches: LogBatch[]; log: StepLog } => {
    const batches: LogBatch[] = [];
    let left = fails;
    const sink = (_run: string, batch: LogBatch): Promise<void> => {
      if (left-- > 0) return Promise.reject(new Error('away'));
      batches.push(batch);
      return Promise.resolve();
    };
    return { batches, log: new StepLog({ run: 'r', step: 's', attempt: 2, sink }) };
  };
  const texts = (batches: LogBatch[]): string[] => batches.flatMap((b) => b.lines.map((l) => `${l.stream} ${l.text}`));

  it('comes in lines, whole, however it was cut', async () => {
    const { batches, log } = collect();
    log.write('stdout', 'one\0\ntw');
    log.write('stderr', 'oops\n');
    log.write('stdout', 'o\nthree');
    await log.close();
    expect(texts(batches)).toEqual(['stdout one␀', 'stderr oops', 'stdout two', 'stdout three']);
    expect(batches[0]).toMatchObject({ step: 's', attempt: 2 });
  });

  it('is cleaned before it is cut, bounded, and told how much is missing', async () => {
    const { batches, log } = collect();
    log.redact = (text) => text.replaceAll('SECRET', '***');
    log.line('log', `${'x'.repeat(1_997)}SECRET`);
    for (let i = 0; i < 2_010; i += 1) log.line('log', `line ${i}`);
    await log.close();
    const all = texts(batches);
    expect(all).toHaveLength(2_001);
    expect(all.join()).not.toContain('SECR');
    expect(all.at(-1)).toBe('log … 11 further lines are left out');
    expect(log.last().at(-1)).toBe('line 2009');
  });

  it('is kept while its receiver is away, and never fails the step', async () => {
    const { batches, log } = collect(1);
    log.line('log', 'a');
    await log.close();
    expect(batches).toEqual([]);
    await log.close();
    expect(texts(batches)).toEqual(['log a']);
  });

  it('of a script goes to the log as it comes, without secrets, its last lines too', async () => {
    const { batches, log } = collect();
    const script = {
      interpreter: ['bash', '-eu'],
      source: 'echo "token $T"; echo hunter22 >&2; exit 3',
      env: { T: '${secrets.t}' },
    };
    const failing: AtomCall = { input: {}, context, atom: { name: 'a.b', version: '1.0.0', script } };
    await expect(executor.execute(failing, 'a.b', undefined, { log })).rejects.toMatchObject({ code: 'atom/a.b/exit' });
    await log.close();
    expect(texts(batches).sort()).toEqual(['stderr ***', 'stdout token ***']);
    expect(log.last().sort()).toEqual(['***', 'token ***']);
  });
});

describe('a job in code', () => {
  const manifest = (more: Partial<AtomDocument>): AtomDocument => ({
    dsl: 'opsloop/v1',
    kind: 'atom',
    name: 'team.build',
    version: '1.0.0',
    effect: 'mutate',
    idempotency: 'native',
    worker: { queue: 'q', activity: 'team.build' },
    ...more,
  });
  const parts = {
    start: () => Promise.resolve({ id: 'j' }),
    poll: () => Promise.resolve({ done: true as const, output: {} }),
  };

  it('has an activity for each of its parts', () => {
    const atom = defineAtom({
      manifest: manifest({ job: { poll: {}, cancel: {} } }),
      ...parts,
      cancel: () => Promise.resolve(),
    });
    expect(Object.keys(activitiesOf(atom))).toEqual(['team.build.start', 'team.build.poll', 'team.build.cancel']);
  });

  it.each([
    ['no job in the manifest', () => defineAtom({ manifest: manifest({}), ...parts })],
    [
      'a cancel that the code lacks',
      () => defineAtom({ manifest: manifest({ job: { poll: {}, cancel: {} } }), ...parts }),
    ],
    [
      'execute where the manifest says job',
      () => defineAtom({ manifest: manifest({ job: { poll: {} } }), execute: () => Promise.resolve({}) }),
    ],
  ])('refuses %s', (_what, define) => {
    expect(define).toThrow(/job|cancel/);
  });
});
