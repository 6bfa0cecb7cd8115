/** Judges what a run did against what a test expects of it. */
import { durationMs } from '@opsloop/contracts';
import type { Json, JsonObject, Problem, StepRecord } from '@opsloop/contracts';
import type { AtomAttempt, VirtualResult } from '../virtual-run.js';
import { listDifferences, memberDifferences, shown, valueDifferences } from './differences.pure.js';
import type { Entry } from './differences.pure.js';
import { ANY } from './flowtest.js';
import type { Expectation, ExpectedCall } from './flowtest.js';
import { namesPath } from './paths.pure.js';

/** One expectation that was not met. */
export interface Mismatch {
  /** Member of `expect`, or what else went wrong. */
  of: string;
  message: string;
  /** A diff, or one line per place. */
  lines: string[];
}

/** One call of an atom with all its attempts. */
export interface CallSeen {
  step: string;
  atom: string;
  with: Json;
  attempts: number;
}

/** What a run did, in the words of a test. */
export interface Seen {
  status: string;
  output?: Json;
  problem?: Problem;
  path: string[];
  calls: CallSeen[];
  compensated: string[];
  emitted: { type: string; subject?: string; data?: Json }[];
  tookMs: number;
}

export function seenOf(result: VirtualResult): Seen {
  return {
    status: result.status,
    ...(result.output === undefined ? {} : { output: result.output }),
    ...(result.problem === undefined ? {} : { problem: result.problem }),
    path: pathOf(result.steps),
    calls: callsOf(result.attempts),
    compensated: compensatedOf(result.steps),
    emitted: result.emitted.map(({ step: _step, ...event }) => event),
    tookMs: result.tookMs,
  };
}

/** Steps that ran, in the order in which they began; undoing is told apart. */
export function pathOf(steps: readonly StepRecord[]): string[] {
  return steps.filter((step) => step.status !== 'skipped' && !step.path.endsWith('~undo')).map((step) => step.path);
}

export function compensatedOf(steps: readonly StepRecord[]): string[] {
  return steps
    .filter((step) => step.path.endsWith('~undo') && step.status === 'succeeded')
    .map((step) => step.path.slice(0, -'~undo'.length));
}

export function callsOf(attempts: readonly AtomAttempt[]): CallSeen[] {
  const calls = new Map<string, CallSeen>();
  for (const { step, atom, input, key } of attempts) {
    const known = calls.get(key);
    if (known === undefined) calls.set(key, { step, atom, with: input, attempts: 1 });
    else known.attempts += 1;
  }
  return [...calls.values()];
}

/** Everything that differs; a test without any is passed. */
export function judge(expect: Expectation, seen: Seen, steps: readonly StepRecord[]): Mismatch[] {
  const found: Mismatch[] = [];
  const add = (of: string, message: string, lines: string[]): void => {
    if (lines.length > 0) found.push({ of, message, lines });
  };
  if (expect.status !== undefined && expect.status !== seen.status) {
    const why = seen.problem === undefined ? [] : [`it ended with ${describe(seen.problem)}`];
    found.push({ of: 'status', message: `expected ${expect.status}, got ${seen.status}`, lines: why });
  }
  if (expect.output !== undefined)
    add('output', 'the output differs', valueDifferences(expect.output, seen.output ?? null));
  if (expect.problem !== undefined) add('problem', 'the problem differs', problemLines(expect.problem, seen.problem));
  if (expect.path !== undefined) add('path', 'the path differs', pathLines(expect.path, seen.path));
  if (expect.calls !== undefined) add('calls', 'the calls differ', callLines(expect.calls, seen.calls));
  if (expect.compensated !== undefined)
    add('compensated', 'other steps were undone', pathLines(expect.compensated, seen.compensated));
  if (expect.emitted !== undefined)
    add('emitted', 'the published events differ', valueDifferences(expect.emitted as Json, seen.emitted as Json));
  for (const [path, members] of Object.entries(expect.steps ?? {}))
    add('steps', `step ${path}`, stepLines(path, members, steps));
  if (expect.within !== undefined && seen.tookMs > durationMs(expect.within))
    found.push({
      of: 'within',
      message: `expected at most ${expect.within}, it took ${seconds(seen.tookMs)}`,
      lines: [],
    });
  return found;
}

function problemLines(expected: JsonObject, problem: Problem | undefined): string[] {
  if (problem === undefined) return ['(problem): expected one, got none'];
  const { type, ...rest } = expected;
  const wrongType =
    type === undefined || type === problem.type || type === problem.code
      ? []
      : [`/type: expected ${shown(type)}, got ${shown(problem.code)}`];
  return [...wrongType, ...memberDifferences(rest, problem as unknown as Json)];
}

function stepLines(path: string, members: JsonObject, steps: readonly StepRecord[]): string[] {
  const records = steps.filter((step) => namesPath(path, step.path) !== undefined);
  if (records.length === 0) return ['it never came to this step'];
  return records.flatMap((record) => memberDifferences(members, record as unknown as Json, record.path));
}

const textEntry = (text: string): Entry<string> => ({ text, value: text });

function pathLines(expected: readonly string[], actual: readonly string[]): string[] {
  return listDifferences(
    expected.map(textEntry),
    actual.map(textEntry),
    (want, path) => namesPath(want, path) !== undefined,
    (want) => want === ANY,
  );
}

function callLines(expected: readonly (string | ExpectedCall)[], actual: readonly CallSeen[]): string[] {
  return listDifferences<string | ExpectedCall, CallSeen>(
    expected.map((value) => ({ value, text: typeof value === 'string' ? value : JSON.stringify(value) })),
    actual.map((value) => ({ value, text: callText(value) })),
    fitsCall,
    (want) => want === ANY,
  );
}

function callText({ step, atom, with: input, attempts }: CallSeen): string {
  return `${step} ${atom} ${shown(input)}${attempts === 1 ? '' : ` (${attempts} attempts)`}`;
}

function fitsCall(want: string | ExpectedCall, call: CallSeen): boolean {
  if (typeof want === 'string') return namesPath(want, call.step) !== undefined;
  if (want.step !== undefined && namesPath(want.step, call.step) === undefined) return false;
  if (want.atom !== undefined && want.atom.split('@', 1)[0] !== call.atom) return false;
  if (want.attempts !== undefined && want.attempts !== call.attempts) return false;
  return want.with === undefined || valueDifferences(want.with, call.with).length === 0;
}

/** `timeout at drain: no heartbeat for 30s`. */
export function describe(problem: Problem): string {
  const at = problem.instance === undefined || problem.instance === '' ? '' : ` at ${problem.instance}`;
  return `${problem.code}${at}${problem.detail === undefined ? '' : `: ${problem.detail}`}`;
}

export function seconds(ms: number): string {
  return ms < 60_000 ? `${ms / 1_000} s` : `${Math.round(ms / 6_000) / 10} min`;
}
