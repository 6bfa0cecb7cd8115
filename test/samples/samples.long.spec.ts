/** The sample workers in other languages, built with their own tools and held to what flows rely on. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Trial, type TrialOutcome, verifyAtom } from '@opsloop/atoms';
import { type AtomDocument, TEMPORAL_NAMES } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { eventually, testTemporal } from '@opsloop/testing';
import { Client, type WorkflowHandle } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installRuntime, workflowBundle } from '../../libs/workflows/test/harness.js';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Downloads included; with warm caches 5 s. */
const BUILD_MS = 300_000;

interface Sample {
  language: 'go' | 'java';
  tools: string[];
  /** Builds it and gives the command that serves it. Caches and results lie outside of the checkout. */
  build(folder: string, out: string): Promise<string[]>;
}

const SAMPLES: Sample[] = [
  {
    language: 'go',
    tools: ['go'],
    build: async (cwd, out) => {
      await run('go', ['build', '-o', join(out, 'worker'), '.'], { cwd, timeout: BUILD_MS });
      return [join(out, 'worker')];
    },
  },
  {
    language: 'java',
    tools: ['java', 'mvn'],
    build: async (cwd, out) => {
      const classpath = join(out, 'classpath');
      const args = ['-q', '-B', 'compile', 'dependency:build-classpath', `-Dmdep.outputFile=${classpath}`];
      await run('mvn', [...args, '-DincludeScope=runtime'], { cwd, timeout: BUILD_MS });
      const jars = readFileSync(classpath, 'utf8').trim();
      return ['java', '-cp', [join(cwd, 'target/classes'), jars].join(delimiter), 'opsloop.sample.Main'];
    },
  },
];

const longLines = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true }))
    .filter((file) => file.endsWith('.java'))
    .flatMap((file) => readFileSync(join(folder, file), 'utf8').split('\n'))
    .filter((line) => line.length > 120);

const present = async (tool: string): Promise<boolean> =>
  run(tool, [tool === 'go' ? 'version' : '-version']).then(
    () => true,
    () => false,
  );

describe.each(SAMPLES)('the sample in $language', ({ language, tools, build }) => {
  const folder = join(ROOT, `examples/atoms-${language}`);
  const manifest = (name: string): AtomDocument =>
    JSON.parse(readFileSync(join(folder, `opsloop/atom.${language}.account.${name}.json`), 'utf8')) as AtomDocument;
  const queue = `sample-${language}`;
  let missing: string[];
  let out: string;
  let child: ChildProcess | undefined;
  let said = '';
  let connection: NativeConnection;
  let client: Client;
  let flows: Worker;
  let running: Promise<void>;

  beforeAll(async () => {
    out = mkdtempSync(join(tmpdir(), 'opsloop-sample-'));
    const there = await Promise.all(tools.map(present));
    missing = tools.filter((_, i) => !there[i]);
    if (missing.length > 0) return;
    installRuntime();
    const [command, { address }] = await Promise.all([build(folder, out), testTemporal()]);
    connection = await NativeConnection.connect({ address });
    client = new Client({ connection });
    flows = await Worker.create({
      connection,
      taskQueue: `try-${language}`,
      workflowBundle: await workflowBundle(),
    });
    running = flows.run();
    child = spawn(command[0]!, command.slice(1), {
      env: { ...process.env, TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: 'default' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream!.on('data', (text) => (said = `${said}${text}`.slice(-4_000)));
    await eventually(async () => expect(await pollers(queue), said).toBeGreaterThan(0), { timeoutMs: 60_000 });
  }, BUILD_MS + 90_000);

  afterAll(async () => {
    if (child !== undefined && child.exitCode === null) {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }
    flows?.shutdown();
    await running;
    await connection?.close();
    rmSync(out, { recursive: true, force: true });
  });

  const pollers = async (taskQueue: string): Promise<number> => {
    const answer = await client.workflowService.describeTaskQueue({
      namespace: 'default',
      taskQueue: { name: taskQueue },
      taskQueueType: 2,
    });
    return answer.pollers?.length ?? 0;
  };
  const start = ({ call, ...trial }: Trial): Promise<WorkflowHandle> =>
    client.workflow.start(TEMPORAL_NAMES.tryWorkflow, {
      taskQueue: `try-${language}`,
      workflowId: `sample-${randomUUID()}`,
      args: [{ ...trial, argument: call }],
    });
  const attempt = async (trial: Trial): Promise<TrialOutcome> => (await start(trial)).result() as Promise<TrialOutcome>;
  const credit = (input: object, dryRun = false): Trial => ({
    activity: `${language}.account.credit`,
    taskQueue: queue,
    startToCloseMs: 30_000,
    call: {
      input: input as never,
      context: { run: 'r', step: 's', key: randomUUID(), tenant: 'default', dryRun },
    },
  });
  /** Where the tools are missing nothing can be said about the sample: loudly here, as a failure in CI. */
  const tested = (): boolean => {
    if (missing.length === 0) return true;
    process.stderr.write(`\n!!! the sample in ${language} was NOT tested: ${missing.join(', ')} is not installed\n\n`);
    expect(process.env['CI'], `${missing.join(', ')} must be installed in CI`).not.toBe('true');
    return false;
  };

  it('is formatted', async () => {
    if (!tested()) return;
    // Nothing formats Java here; its lines are at least no longer than everybody's.
    if (language === 'go') expect((await run('gofmt', ['-l', '.'], { cwd: folder })).stdout).toBe('');
    else expect(await longLines(folder)).toEqual([]);
  });

  it('has manifests that are valid', () => {
    for (const name of ['credit', 'read'])
      expect(validateDocument('atom', manifest(name)).findings.filter((f) => f.severity === 'error')).toEqual([]);
  });

  it('passes every check of verify', async () => {
    if (!tested()) return;
    let fence = 100;
    const checks = await verifyAtom(manifest('credit'), {
      attempt,
      pollers,
      resolve: () => Promise.resolve(manifest('read')),
      fence: () => Promise.resolve(String((fence += 1))),
      newKey: randomUUID,
      config: {},
    });
    expect(
      checks.map(({ check, status, detail }) => `${check} ${status}${status === 'passed' ? '' : `: ${detail}`}`),
    ).toEqual([
      'worker passed',
      'answers passed',
      'same-key passed',
      'stale-fence passed',
      'dry-run passed',
      'cancel passed',
    ]);
  }, 60_000);

  it('fails with codes that a flow can catch', async () => {
    if (!tested()) return;
    expect(await attempt(credit({ account: 'verify', amount: -1 }))).toMatchObject({
      ok: false,
      problem: { code: `atom/${language}.account.credit/amount`, status: 409, retryable: false },
    });
    expect(await attempt(credit({ amount: 1 }))).toMatchObject({ ok: false, problem: { code: 'validation' } });
  });

  it('says how far it is', async () => {
    if (!tested()) return;
    const handle = await start(credit({ account: 'verify', amount: 1, seconds: 20 }));
    const { payloadConverter } = client.options.loadedDataConverter;
    await eventually(
      async () => {
        const { raw } = await handle.describe();
        const details = raw.pendingActivities?.[0]?.heartbeatDetails?.payloads?.[0];
        expect(details && payloadConverter.fromPayload(details)).toMatchObject({
          percent: expect.any(Number) as number,
          message: 'counting',
        });
      },
      { timeoutMs: 40_000 },
    );
    await handle.terminate('seen');
  });
});
