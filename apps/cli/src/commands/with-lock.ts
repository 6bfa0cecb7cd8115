import { type ChildProcess, spawn } from 'node:child_process';
import { constants, hostname, userInfo } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { AdmissionDetailView, LockClaim, OpsloopClient } from '@opsloop/api-client';
import { ApiProblem, ApiUnreachable } from '@opsloop/api-client';
import { durationMs, isDuration, isUnder, printDuration } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

/** A waiter that is killed is passed after this. Each question below is half of it, so that one may be lost. */
const HEARTBEAT = '12s';
const LONG_POLL = '6s';
/** While control does not answer, the place in the queue is asked for this often. */
const ASK_AGAIN_MS = 1_000;
/** The least lease: below it, one slow answer would stop the command. */
const TTL_MIN_MS = 15_000;
/** The lease counts as over this much before its end: 20 %, at least 5 s. */
const margin = (ttlMs: number): number => Math.max(5_000, ttlMs / 5);
/** Giving back is tried this often; then the lease ends by itself. */
const RELEASE_TRIES = 3;
const STATES_THAT_WAIT = ['queued', 'held', 'needs-approval'];
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

interface WithLockOptions {
  shared: string[];
  owner?: string;
  wait: string;
  ttl: string;
  tier: string;
  killAfter: string;
  conflictExitCode: string;
}

interface Wish {
  claims: LockClaim[];
  owner: string;
  ttlMs: number;
  waitMs: number;
  killAfterMs: number;
  conflictExit: number;
  tier: string;
}

export function registerWithLock(program: Command, streams: Streams): void {
  program
    .command('with-lock')
    .usage('[options] [paths...] -- <command> [arguments...]')
    .description('run a command under a lock: behind the same mutex as every flow')
    .argument('[words...]', 'paths to lock exclusively, then -- and the command')
    .option('--shared <path>', 'a path to lock shared; repeatable', (value, all: string[]) => [...all, value], [])
    .option('--owner <text>', 'who does what, as others read it while they wait (user@host: command)')
    .option('--wait <duration>', 'how long to stand in the queue; 0s: now or never', '30m')
    .option('--ttl <duration>', 'the lease, renewed while the command runs; how long a crash keeps others out', '60s')
    .option('--tier <tier>', 'place in the queue: P0 to P4', 'P3')
    .option('--kill-after <duration>', 'after SIGTERM, when the lock is lost', '10s')
    .option('-E, --conflict-exit-code <n>', 'exit code when the lock was not granted', '3')
    .addHelpText(
      'after',
      '\nThe command finds OPSLOOP_FENCE and OPSLOOP_LOCK in its environment; its exit code is the exit code.\n',
    )
    .action(async (_words: string[], options: WithLockOptions, command: Command) => {
      const { paths, argv } = splitArguments(rootOf(command));
      const code = await withLock(contextOf(command, streams), wishOf(paths, argv, options), argv);
      if (code !== 0) throw new CommandEnded(code);
    });
}

/** The command under the lock has ended with this exit code; it has said itself what there is to say. */
export class CommandEnded extends Error {
  constructor(readonly exit: number) {
    super(`the command ended with ${exit}`);
  }
}

/** Commander takes the `--` away, and a command may take words that look like paths. */
function splitArguments(root: Command): { paths: string[]; argv: string[] } {
  const raw = (root as unknown as { rawArgs: string[] }).rawArgs;
  const at = raw.indexOf('--');
  const argv = at < 0 ? [] : raw.slice(at + 1);
  const words = root.commands.find((one) => one.name() === 'with-lock')!.args;
  if (argv.length === 0)
    throw new CliError('what to run stands behind --: opsloop with-lock host/a -- make', EXIT.usage);
  return { paths: words.slice(0, words.length - argv.length), argv };
}

function rootOf(command: Command): Command {
  let root = command;
  while (root.parent !== null) root = root.parent;
  return root;
}

function wishOf(paths: readonly string[], argv: readonly string[], options: WithLockOptions): Wish {
  const claims: LockClaim[] = [
    ...paths.map((path): LockClaim => ({ path, mode: 'exclusive' })),
    ...options.shared.map((path): LockClaim => ({ path, mode: 'shared' })),
  ];
  if (claims.length === 0) throw new CliError('name at least one path to lock', EXIT.usage);
  const ms = (name: string, text: string, min: number): number => {
    if (isDuration(text) && durationMs(text) >= min) return durationMs(text);
    throw new CliError(`--${name} ${text} is no duration of at least ${printDuration(min)}`, EXIT.usage);
  };
  const conflictExit = Number(options.conflictExitCode);
  if (!Number.isInteger(conflictExit) || conflictExit < 0 || conflictExit > 255)
    throw new CliError(`--conflict-exit-code ${options.conflictExitCode} is no exit code`, EXIT.usage);
  return {
    claims,
    owner: (options.owner ?? `${userInfo().username}@${hostname()}: ${argv.join(' ')}`).slice(0, 200),
    ttlMs: ms('ttl', options.ttl, TTL_MIN_MS),
    waitMs: ms('wait', options.wait, 0),
    killAfterMs: ms('kill-after', options.killAfter, 0),
    conflictExit,
    tier: options.tier,
  };
}

interface Lease {
  id: string;
  fence: string;
  /** On the clock of this process, counted from before the request that got or renewed it. */
  endsAt: number;
}

async function withLock(context: Context, wish: Wish, argv: readonly string[]): Promise<number> {
  // From here to the end: a signal that met no listener would end this process, and leave the command and its lock.
  const signals = listen((name) => context.out.note(`${name}: the lock is not wanted any more`));
  try {
    return await underLock(context, wish, argv, signals);
  } finally {
    signals.off();
  }
}

async function underLock(context: Context, wish: Wish, argv: readonly string[], signals: Signals): Promise<number> {
  const client = context.client();
  const { env } = context.streams;
  const outer = env['OPSLOOP_LOCK'];
  const inherited = outer === undefined ? undefined : await coveredBy(client, outer, wish.claims);
  if (inherited !== undefined) {
    context.out.note(`under the lock that is held already (fence ${inherited})`);
    return runUnder(context, argv, { OPSLOOP_FENCE: inherited, OPSLOOP_LOCK: outer! }, signals).ended;
  }
  // Whoever holds one may only try for more: two that wait for each other would wait for ever.
  const waitMs = outer === undefined ? wish.waitMs : 0;
  const lease = await acquire(context, client, { ...wish, waitMs }, signals);
  if (typeof lease === 'number') return lease;
  const child = runUnder(context, argv, { OPSLOOP_FENCE: lease.fence, OPSLOOP_LOCK: lease.id }, signals);
  const keeping = new AbortController();
  const lost = keepAlive(context, client, lease, wish, keeping.signal).then((why) => {
    if (why === undefined) return undefined;
    context.out.note(`the lock is lost: ${why}; the command is stopped`);
    child.stop(wish.killAfterMs);
    return why;
  });
  const code = await child.ended;
  keeping.abort();
  if ((await lost) !== undefined) return EXIT.failed;
  await giveBack(context, client, lease.id);
  return code;
}

/** The fence under which all of it is held already, when this runs inside another `with-lock`. */
async function coveredBy(client: OpsloopClient, id: string, claims: readonly LockClaim[]): Promise<string | undefined> {
  const held = await client.getAdmission(id).catch((error: unknown) => {
    if (error instanceof ApiProblem && error.status === 404) return undefined;
    throw error;
  });
  if (held?.state !== 'admitted' || held.fence === undefined) return undefined;
  const covers = (wanted: LockClaim): boolean =>
    held.claims.some((h) => isUnder(wanted.path, h.path) && (h.mode === 'exclusive' || wanted.mode === 'shared'));
  return claims.every(covers) ? held.fence : undefined;
}

/** The lease, or the exit code without one. A signal leaves the queue, and gives back what was granted meanwhile. */
async function acquire(context: Context, client: OpsloopClient, wish: Wish, signals: Signals): Promise<Lease | number> {
  const deadline = performance.now() + wish.waitMs;
  let asked = performance.now();
  let seen = await client.admitLock({
    start: false,
    claims: wish.claims,
    owner: wish.owner,
    ttl: `${wish.ttlMs}ms`,
    tier: wish.tier,
    validFor: `${Math.max(wish.waitMs, 1_000)}ms`,
    heartbeat: HEARTBEAT,
  });
  let said = '';
  while (STATES_THAT_WAIT.includes(seen.state) && signals.first === undefined) {
    const text = waitingText(seen);
    if (text !== said) context.out.note((said = text));
    if (performance.now() >= deadline) break;
    ({ seen, asked } = await look(client, seen, asked, signals));
  }
  const granted = seen.state === 'admitted' && seen.fence !== undefined;
  if (signals.first !== undefined) {
    if (granted || STATES_THAT_WAIT.includes(seen.state)) await giveBack(context, client, seen.id);
    return 128 + constants.signals[signals.first];
  }
  // The lease began after the last question that found it waiting.
  if (granted) return { id: seen.id, fence: seen.fence!, endsAt: asked + wish.ttlMs };
  if (STATES_THAT_WAIT.includes(seen.state)) await giveBack(context, client, seen.id);
  context.out.note(
    `no lock: ${seen.reason ?? seen.state}${wish.waitMs === 0 ? '' : ` (--wait ${printDuration(wish.waitMs)})`}`,
  );
  return wish.conflictExit;
}

async function look(
  client: OpsloopClient,
  seen: AdmissionDetailView,
  asked: number,
  signals: Signals,
): Promise<{ seen: AdmissionDetailView; asked: number }> {
  const now = performance.now();
  try {
    // An interruption ends the wait, not the question: its answer is of no use any more.
    const answer = await Promise.race([client.getAdmission(seen.id, LONG_POLL), signals.any]);
    if (answer === undefined) return { seen, asked };
    return { seen: answer, asked: STATES_THAT_WAIT.includes(answer.state) ? now : asked };
  } catch (error) {
    if (!(error instanceof ApiUnreachable) && !(error instanceof ApiProblem && error.status >= 500)) throw error;
    await delay(ASK_AGAIN_MS);
    return { seen, asked };
  }
}

/** Who is in the way, since when, and when it may be over. */
export function waitingText(seen: AdmissionDetailView): string {
  const paths = seen.claims.map((c) => c.path).join(', ');
  if (seen.state !== 'queued') return `waiting for ${paths}: ${seen.reason ?? seen.state}`;
  const first = seen.blockedBy?.[0];
  const holder =
    first === undefined
      ? (seen.reason ?? 'its turn comes')
      : `${first.path} is ${first.fence === undefined ? 'wanted earlier' : 'held'} by ${first.owner}` +
        (first.since === undefined ? '' : ` since ${shortTime(first.since)}`) +
        (first.runId === undefined || first.fence === undefined ? '' : ` (opsloop runs show ${first.runId})`);
  const others = (seen.blockedBy?.length ?? 1) - 1;
  return (
    `waiting for ${paths}: ${holder}${others > 0 ? ` and ${others} more` : ''}, place ${seen.position ?? 1}` +
    (seen.eta === undefined ? '' : `, expected ${shortTime(seen.eta)}`)
  );
}

/** Renews a third of the way; resolves with why the lease is lost, or with nothing when told to end. */
async function keepAlive(
  context: Context,
  client: OpsloopClient,
  lease: Lease,
  wish: Wish,
  signal: AbortSignal,
): Promise<string | undefined> {
  let { endsAt } = lease;
  let pause = wish.ttlMs / 3;
  for (;;) {
    const last = endsAt - margin(wish.ttlMs);
    await delay(Math.max(0, Math.min(pause, last - performance.now())), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return undefined;
    const asked = performance.now();
    if (asked >= last) return 'control did not renew it in time';
    try {
      await client.renewLock(lease.fence, `${wish.ttlMs}ms`);
      endsAt = asked + wish.ttlMs;
      pause = wish.ttlMs / 3;
    } catch (error) {
      if (error instanceof ApiProblem && error.status < 500) return error.message;
      context.out.note(`cannot renew the lock, tried again: ${(error as Error).message}`);
      pause = ASK_AGAIN_MS;
    }
  }
}

async function giveBack(context: Context, client: OpsloopClient, id: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await client.endAdmission(id);
    } catch (error) {
      if (tries >= RELEASE_TRIES)
        return context.out.note(`the lock was not given back, its lease ends it: ${(error as Error).message}`);
      await delay(ASK_AGAIN_MS);
    }
  }
}

type SignalName = (typeof FORWARDED)[number];

interface Signals {
  /** The first that came before there was a command. */
  first: SignalName | undefined;
  /** Resolves with it. */
  any: Promise<undefined>;
  /** To whom they go on; nobody before there is a command. One that has ended passes them over, while its lock is given back. */
  onwards: ((name: SignalName) => void) | undefined;
  off(): void;
}

/** Without a listener the default would end this process: its place in the queue, or its command, would be left behind. */
function listen(early: (name: SignalName) => void): Signals {
  let resolve!: (value: undefined) => void;
  const state: Signals = {
    first: undefined,
    any: new Promise((r) => (resolve = r)),
    onwards: undefined,
    off: () => undefined,
  };
  const listeners = FORWARDED.map((name) => {
    const listener = (): void => {
      if (state.onwards !== undefined) return state.onwards(name);
      if (state.first !== undefined) return;
      state.first = name;
      early(name);
      resolve(undefined);
    };
    process.on(name, listener);
    return () => process.off(name, listener);
  });
  state.off = () => listeners.forEach((off) => off());
  return state;
}

/** Starts the command; signals go on to it, and its exit code or 128 + signal is the result. */
function runUnder(
  context: Context,
  [file = '', ...rest]: readonly string[],
  env: Record<string, string>,
  signals: Signals,
): { ended: Promise<number>; stop(killAfterMs: number): void } {
  // At a terminal the command belongs to the foreground group, or it could not read; elsewhere it gets a group of its
  // own, so that a stop reaches what it has started as well.
  const terminal = process.stdin.isTTY === true;
  const child = spawn(file, rest, {
    cwd: context.streams.cwd,
    env: { ...context.streams.env, ...env },
    stdio: 'inherit',
    detached: !terminal,
  });
  signals.onwards = (name) => {
    // A terminal sends Ctrl-C to the whole group itself.
    if (!terminal || name !== 'SIGINT') signalTo(child, name, !terminal);
  };
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', (error) => {
      context.out.note(`cannot run ${file}: ${error.message}`);
      // As a shell says it: not found, or not executable.
      resolve((error as NodeJS.ErrnoException).code === 'ENOENT' ? 127 : 126);
    });
    child.once('close', (code, signal) => {
      if (code === null && signal === null) reject(new Error('the command ended without an exit code'));
      else resolve(code ?? 128 + constants.signals[signal!]);
    });
  });
  const stop = (killAfterMs: number): void => {
    signalTo(child, 'SIGTERM', !terminal);
    const timer = setTimeout(() => signalTo(child, 'SIGKILL', !terminal), killAfterMs);
    void ended.finally(() => clearTimeout(timer));
  };
  return { ended, stop };
}

function signalTo(child: ChildProcess, signal: NodeJS.Signals, group: boolean): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(group ? -child.pid : child.pid, signal);
  } catch {
    // It has just ended.
  }
}
