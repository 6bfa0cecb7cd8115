import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { constants, existsSync } from 'node:fs';
import { access, chmod, mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises';
import { constants as osConstants, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { AtomError, OpsError, type AtomContext, type Json, type LogStream } from '@opsloop/contracts';
import { CappedText, OUTPUT_BYTES_MAX } from './output.js';
import {
  bubblewrapArgv,
  nsjailArgv,
  parseScriptOutput,
  PRLIMIT_ARGS,
  readOnlyPaths,
  type Isolation,
} from './script-sandbox.pure.js';

import type { StepLog } from './step-log.js';

/** Between SIGTERM and SIGKILL: enough to remove a lock file, too little to miss the step's deadline by much. */
const KILL_GRACE_MS = 2_000;
/** A heartbeat tells the server that the worker lives and brings cancellations back; manifests use 10 s and more. */
const HEARTBEAT_MS = 3_000;
/** How long output is read after the program has ended; what is in the pipe arrives at once. */
const PIPES_CLOSE_MS = 1_000;
/** Building a sandbox takes milliseconds; one that takes seconds is of no use. */
const SANDBOX_TRY_MS = 5_000;
const DEFAULT_TIMEOUT_MS = 30_000;

export interface ScriptRunnerOptions {
  /** PATH of the worker: where sandboxes are looked up, and the PATH of scripts. */
  path: string;
  /** The stack of one person on one machine: scripts may run on the host, with limits. */
  embedded: boolean;
  /** `OPSLOOP_UNSAFE_HOST_EXEC=true`. */
  unsafeHostExec?: boolean;
  /** `OPSLOOP_SCRIPT_NETWORK=true`: sandboxed scripts see the network. */
  network?: boolean;
}

export interface ScriptJob {
  atom: string;
  context: AtomContext;
  argv: readonly string[];
  /** Text of a script; a file that holds it becomes the last argument. */
  source?: string;
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  stdin?: string;
  timeoutMs?: number;
  signal?: AbortSignal;
  heartbeat?: (details: Json) => void;
  log?: StepLog;
}

export interface ScriptResult {
  exitCode: number;
  stdout: string;
  stderr: string;
  truncated: boolean;
  values?: Json;
  isolation: Isolation;
}

interface Tools {
  bwrap?: string;
  nsjail?: string;
  prlimit?: string;
}

/** Runs programs for atoms: own directory, environment built from nothing, no shell, a time limit on the whole process group. */
export class ScriptRunner {
  private tools: Promise<Tools> | undefined;

  constructor(private readonly options: ScriptRunnerOptions) {}

  /** How scripts would be isolated here. Throws `policy` where they do not run at all. */
  async isolation(): Promise<Isolation> {
    const tools = await this.findTools();
    if (tools.bwrap !== undefined) return 'bubblewrap';
    if (tools.nsjail !== undefined) return 'nsjail';
    if (!this.options.embedded && this.options.unsafeHostExec !== true) {
      throw new OpsError(
        'policy',
        'scripts run only in a sandbox, and this worker has no working bubblewrap (bwrap) or nsjail. Install one, or set OPSLOOP_UNSAFE_HOST_EXEC=true to run scripts on the worker itself',
      );
    }
    return tools.prlimit === undefined ? 'none' : 'rlimits';
  }

  async run(job: ScriptJob): Promise<ScriptResult> {
    if (job.argv.length === 0)
      throw new OpsError('validation', 'argv is empty', { errors: [{ pointer: '/argv', message: 'name a program' }] });
    const isolation = await this.isolation();
    const work = await mkdtemp(join(tmpdir(), 'opsloop-script-'));
    try {
      await chmod(work, 0o700);
      const argv = [...job.argv];
      if (job.source !== undefined) {
        const file = join(work, 'script');
        await writeFile(file, job.source, { mode: 0o700 });
        argv.push(file);
      }
      const outputFile = join(work, 'output');
      await writeFile(outputFile, '', { mode: 0o600 });
      const cwd = job.cwd ?? work;
      if (!(await isDirectory(cwd)))
        throw new OpsError('validation', `cwd "${cwd}" is no directory of the worker`, {
          errors: [{ pointer: '/cwd', message: 'name a directory that exists' }],
        });
      const command = await this.command(isolation, { work, cwd }, argv, job.timeoutMs ?? DEFAULT_TIMEOUT_MS);
      const ended = await execute(command, { cwd, env: this.environment(job, work, outputFile), job });
      return { ...ended, ...(await readValues(job.atom, outputFile)), isolation };
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  private async command(
    isolation: Isolation,
    place: { work: string; cwd: string },
    argv: string[],
    timeoutMs: number,
  ): Promise<string[]> {
    const tools = await this.findTools();
    const network = this.options.network ?? false;
    const paths = { ...place, network, readOnly: readOnlyPaths(network).filter((path) => existsSync(path)) };
    if (isolation === 'bubblewrap')
      return [
        ...(tools.prlimit === undefined ? [] : [tools.prlimit, ...PRLIMIT_ARGS, '--']),
        ...bubblewrapArgv(tools.bwrap!, paths, argv),
      ];
    if (isolation === 'nsjail') return nsjailArgv(tools.nsjail!, paths, Math.ceil(timeoutMs / 1000) + 1, argv);
    if (isolation === 'rlimits') return [tools.prlimit!, ...PRLIMIT_ARGS, '--', ...argv];
    return argv;
  }

  /** Nothing of the worker's environment but PATH: it holds tokens. */
  private environment(job: ScriptJob, work: string, outputFile: string): Record<string, string> {
    const { context } = job;
    return {
      PATH: this.options.path,
      HOME: work,
      TMPDIR: work,
      LANG: 'C.UTF-8',
      ...job.env,
      OPSLOOP_KEY: context.key,
      ...(context.fence === undefined ? {} : { OPSLOOP_FENCE: context.fence }),
      OPSLOOP_RUN: context.run,
      OPSLOOP_STEP: context.step,
      OPSLOOP_OUTPUT: outputFile,
    };
  }

  private findTools(): Promise<Tools> {
    this.tools ??= (async () => {
      const [bwrap, nsjail, prlimit] = await Promise.all(
        ['bwrap', 'nsjail', 'prlimit'].map((name) => onPath(this.options.path, name)),
      );
      return {
        // Inside a container namespaces are often forbidden; a sandbox that cannot be built is none.
        ...(bwrap !== undefined && (await succeeds([bwrap, '--unshare-all', '--ro-bind', '/', '/', 'true']))
          ? { bwrap }
          : {}),
        ...(nsjail !== undefined &&
        (await succeeds([nsjail, '--mode', 'o', '--really_quiet', '--chroot', '/', '--', '/bin/true']))
          ? { nsjail }
          : {}),
        ...(prlimit === undefined ? {} : { prlimit }),
      };
    })();
    return this.tools;
  }
}

async function onPath(path: string, name: string): Promise<string | undefined> {
  for (const dir of path.split(delimiter).filter((d) => d !== '')) {
    const file = join(dir, name);
    try {
      await access(file, constants.X_OK);
      return file;
    } catch {
      // not here
    }
  }
  return undefined;
}

/** Whether a short command ends with 0; used once per process to try the sandbox. */
function succeeds(argv: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(argv[0]!, argv.slice(1), { timeout: SANDBOX_TRY_MS }, (error) => resolve(error === null));
  });
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

async function readValues(atom: string, file: string): Promise<{ values?: Json }> {
  // The script may have put anything in the place of the file: no link is followed and no pipe is waited for.
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  if (handle === undefined) return {};
  try {
    const info = await handle.stat();
    if (!info.isFile()) return {};
    const { size } = info;
    if (size > OUTPUT_BYTES_MAX)
      throw new OpsError(
        'payload-too-large',
        `the script wrote ${size} bytes to $OPSLOOP_OUTPUT; at most ${OUTPUT_BYTES_MAX} are kept`,
      );
    const parsed = parseScriptOutput(await handle.readFile('utf8'));
    if (parsed.problem !== undefined) throw new AtomError(`atom/${atom}/output`, parsed.problem);
    return parsed.values === undefined ? {} : { values: parsed.values as Json };
  } finally {
    await handle.close();
  }
}

interface Running {
  cwd: string;
  env: Record<string, string>;
  job: ScriptJob;
}

async function execute(
  command: readonly string[],
  { cwd, env, job }: Running,
): Promise<Omit<ScriptResult, 'isolation' | 'values'>> {
  const timeoutMs = job.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const started = Date.now();
  job.signal?.throwIfAborted();
  // Detached: a process group of its own, so that the children of the script are stopped with it.
  const child = spawn(command[0]!, command.slice(1), { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  const stdout = new CappedText();
  const stderr = new CappedText();
  listen(child.stdout, 'stdout', stdout, job.log);
  listen(child.stderr, 'stderr', stderr, job.log);
  // A script that does not read its stdin closes the pipe; that is no failure.
  child.stdin.on('error', () => undefined);
  child.stdin.end(job.stdin ?? '');

  let stoppedBy: 'timeout' | 'cancel' | undefined;
  const stop = (why: 'timeout' | 'cancel'): void => {
    stoppedBy ??= why;
    killGroup(child, 'SIGTERM');
    setTimeout(() => killGroup(child, 'SIGKILL'), KILL_GRACE_MS).unref();
  };
  const onAbort = (): void => stop('cancel');
  job.signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => stop('timeout'), timeoutMs);
  const beat = setInterval(
    () => job.heartbeat?.({ message: `running for ${Math.round((Date.now() - started) / 1000)}s` }),
    HEARTBEAT_MS,
  );
  try {
    const exitCode = await ended(child, command[0]!);
    if (stoppedBy === 'cancel') throw job.signal!.reason;
    if (stoppedBy === 'timeout')
      throw new OpsError('timeout', `the script ran longer than ${timeoutMs} ms and was stopped`);
    return {
      exitCode,
      stdout: stdout.toString(),
      stderr: stderr.toString(),
      truncated: stdout.truncated || stderr.truncated,
    };
  } finally {
    clearTimeout(timer);
    clearInterval(beat);
    job.signal?.removeEventListener('abort', onAbort);
  }
}

/** Keeps what a stream says, and hands its lines on as they come; a character may be split between two chunks. */
function listen(from: Readable, stream: LogStream, kept: CappedText, log: StepLog | undefined): void {
  const decoder = new StringDecoder('utf8');
  from.on('data', (chunk: Buffer) => {
    kept.push(chunk);
    log?.write(stream, decoder.write(chunk));
  });
}

/** Exit code, 128 + n for signal n. What the script left running in its group is killed: nobody would ever look after it. */
function ended(child: ChildProcess, program: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'ENOENT'
          ? new OpsError('configuration', `there is no program "${program}" on the worker`)
          : error,
      );
    });
    child.once('exit', (code, signal) => {
      killGroup(child, 'SIGKILL');
      // The pipes close once the last process of the group is gone. One that left the group may hold them open for ever.
      const letGo = setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, PIPES_CLOSE_MS);
      child.once('close', () => {
        clearTimeout(letGo);
        resolve(code ?? 128 + (osConstants.signals[signal!] ?? 0));
      });
    });
  });
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group is gone.
  }
}
