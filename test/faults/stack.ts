/** The whole platform as a child process that can be killed and started again on the same data directory. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, isAlive, type ProcessMark, stopProcess } from '@opsloop/embedded';
import { createTestDatabase, createTestNamespace } from '@opsloop/testing';
import { carrierEnvironment, childEnvironment } from './config.js';

const MAIN = fileURLToPath(new URL('../../apps/stack/dist/main.js', import.meta.url));
/** A warm start takes 3–6 s on two cores that other tests use as well, and many times that where much else runs. */
const READY_MS = 180_000;
const STOP_MS = 40_000;

export class FaultStack {
  readonly url: string;
  private child: ChildProcess | undefined;
  private log = '';
  /** Times that a process ended without being asked to by `stop`. */
  deaths = 0;

  /** A test run that is ended the hard way must not leave servers behind. */
  private readonly onExit = (): void => {
    const { temporal, postgres } = this.marks();
    this.child?.kill('SIGKILL');
    if (temporal !== undefined && isAlive(temporal)) process.kill(temporal.pid, 'SIGKILL');
    if (postgres !== undefined && isAlive(postgres)) process.kill(postgres.pid, 'SIGQUIT');
  };

  private constructor(
    readonly dataDir: string,
    private readonly port: number,
    private readonly env: Record<string, string>,
  ) {
    this.url = `http://127.0.0.1:${port}`;
    process.once('exit', this.onExit);
  }

  static async create(env: Record<string, string> = {}): Promise<FaultStack> {
    if (!existsSync(MAIN)) throw new Error('apps/stack is not built: tsc -b apps/stack');
    const dataDir = mkdtempSync(join(tmpdir(), 'opsloop-faults-'));
    // As root, PostgreSQL runs as another user, who must reach its directory.
    chmodSync(dataDir, 0o711);
    const stack = new FaultStack(dataDir, await freePort(4), {
      // Hundreds of starts of one rule within a minute are what these tests are about.
      OPSLOOP_BRAKE: 'off',
      ...(await carrierEnvironment()),
      ...env,
      OPSLOOP_LOG_LEVEL: 'warn',
      OPSLOOP_FAILPOINT: `@${join(dataDir, 'failpoint')}`,
    });
    stack.arm('');
    return stack;
  }

  /** Where the process is to die from now on: `name:n`; '' for nowhere. */
  arm(failpoint: string): void {
    writeFileSync(join(this.dataDir, 'failpoint'), failpoint);
  }

  async start(): Promise<void> {
    const child = fork(MAIN, ['--port', String(this.port), '--data-dir', this.dataDir, '--no-ui'], {
      cwd: this.dataDir,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: childEnvironment(this.env),
    });
    this.child = child;
    child.stderr!.on('data', (chunk: Buffer) => (this.log = (this.log + chunk.toString()).slice(-200_000)));
    child.once('exit', () => {
      this.deaths += 1;
      if (this.child === child) this.child = undefined;
    });
    const late = AbortSignal.timeout(READY_MS);
    const ended = once(child, 'exit', { signal: late }).then(([code, signal]) => {
      throw new Error(`the platform ended with ${String(signal ?? code)} while it started:\n${this.log.slice(-4_000)}`);
    });
    ended.catch(() => undefined);
    await Promise.race([once(child, 'message', { signal: late }), ended]);
  }

  get alive(): boolean {
    return this.child !== undefined;
  }

  /** The signal that ended the process. */
  async died(withinMs: number): Promise<string> {
    if (this.child === undefined) return 'already';
    const [code, signal] = await once(this.child, 'exit', { signal: AbortSignal.timeout(withinMs) });
    return String(signal ?? code);
  }

  /** Ends everything, however far it came, and removes the data. */
  async dispose(): Promise<void> {
    const child = this.child;
    if (child !== undefined) {
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      const forced = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await exit;
      clearTimeout(forced);
    }
    const { temporal, postgres } = this.marks();
    if (temporal !== undefined) await stopProcess(temporal, 'SIGKILL', 5_000);
    if (postgres !== undefined) await stopProcess(postgres, 'SIGINT', 10_000);
    process.off('exit', this.onExit);
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  get key(): string {
    return readFileSync(join(this.dataDir, 'admin.key'), 'utf8').trim();
  }

  get databaseUrl(): string {
    const own = this.env['DATABASE_URL'];
    if (own !== undefined) return own;
    const password = readFileSync(join(this.dataDir, 'postgres.password'), 'utf8').trim();
    return `postgres://opsloop:${password}@127.0.0.1:${this.state().ports.postgres}/opsloop`;
  }

  get temporalAddress(): string {
    return this.env['TEMPORAL_ADDRESS'] ?? `127.0.0.1:${this.state().ports.temporal}`;
  }

  get temporalNamespace(): string {
    return this.env['TEMPORAL_NAMESPACE'] ?? 'default';
  }

  /** The last lines, for a failure's message. */
  tail(lines = 30): string {
    return this.log.split('\n').slice(-lines).join('\n');
  }

  private state(): { ports: { postgres: number; temporal: number }; postgres?: ProcessMark; temporal?: ProcessMark } {
    return JSON.parse(readFileSync(join(this.dataDir, 'stack.json'), 'utf8')) as ReturnType<FaultStack['state']>;
  }

  private marks(): { postgres?: ProcessMark; temporal?: ProcessMark } {
    try {
      return this.state();
    } catch {
      return {};
    }
  }
}

/**
 * For `FaultStack.create`: a database and a namespace of its own on the servers of the test run. They are no part of
 * what is killed, so a restart need not start them again.
 */
export async function ownServers(): Promise<{ env: Record<string, string>; drop(): Promise<void> }> {
  const [{ url, drop }, { address, namespace }] = await Promise.all([
    createTestDatabase(),
    createTestNamespace('faults', { searchAttributes: true }),
  ]);
  return { env: { DATABASE_URL: url, TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace }, drop };
}
