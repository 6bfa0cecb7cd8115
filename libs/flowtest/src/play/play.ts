/** Plays one flow test: the real interpreter, the test's mocks, and a verdict. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type {
  ApprovalReport,
  AtomCall,
  AtomDocument,
  CompiledFlow,
  FlowDocument,
  Json,
  StepRecord,
} from '@opsloop/contracts';
import { compileFlow, computeTargets, validateInput } from '@opsloop/dsl';
import type { Sandbox } from '../virtual/sandbox.js';
import type { ActivityAnswer, ActivityCall } from '../virtual/activity.js';
import { runVirtually } from '../virtual-run.js';
import type { VirtualResult } from '../virtual-run.js';
import { describe, judge, seenOf } from './expectations.pure.js';
import type { Mismatch, Seen } from './expectations.pure.js';
import type { FlowTest } from './flowtest.js';
import { Happenings } from './happenings.js';
import { MockTable, answerOf } from './mocks.pure.js';
import { staticPath } from './paths.pure.js';
import { resolveIn } from './resolve.pure.js';
import type { Library } from './resolve.pure.js';

/** A test with more holes than this is filled in step by step. */
const MISSING_MAX = 20;

export interface Played {
  test: string;
  flow: string;
  passed: boolean;
  mismatches: Mismatch[];
  /** Mocks that no call came to, acts that never came about. */
  warnings: string[];
  seen?: Seen;
  steps: StepRecord[];
  document?: FlowDocument;
}

interface Missing {
  path: string;
  atom: AtomDocument | undefined;
  name: string;
  input: Json;
}

/** Compiles the flow of the test among the documents at hand, runs it and judges what it did. */
export function playTest(sandbox: Sandbox, test: FlowTest, library: Library): Played {
  const base = { test: test.name, flow: test.flow, steps: [], warnings: [] };
  const failed = (of: string, message: string, lines: string[] = []): Played => ({
    ...base,
    passed: false,
    mismatches: [{ of, message, lines }],
  });
  const resolve = resolveIn(library);
  const document = resolve(test.flow, 'flow') as FlowDocument | undefined;
  if (document === undefined)
    return failed('flow', `no flow among the documents answers to "${test.flow}"; name its folder as well`);
  const { compiled, findings } = compileFlow(document, resolve);
  if (compiled === undefined)
    return failed(
      'flow',
      `${document.name}@${document.version} does not compile`,
      findings.filter((f) => f.severity === 'error').map((f) => `${f.pointer}: ${f.message}`),
    );
  const given = document.input === undefined ? undefined : validateInput(document.input.schema, test.input);
  if (given !== undefined && given.errors.length > 0)
    return failed(
      'input',
      'the input does not match the schema of the flow',
      given.errors.map((error) => `/input${error.pointer}: ${error.message}`),
    );
  const play = new Play(test, library, compiled);
  const input = given?.value ?? test.input ?? {};
  try {
    return { ...base, document, ...play.run(sandbox, input) };
  } catch (error) {
    return { ...failed('run', error instanceof Error ? error.message : String(error)), document };
  }
}

class Play {
  private readonly mocks: MockTable;
  private readonly happenings: Happenings;
  private readonly missing = new Map<string, Missing>();
  private readonly unfit: string[] = [];
  private readonly jobs = new Map<string, { answer: ActivityAnswer; dueAt: number }>();
  private readonly atoms: ReadonlyMap<string, AtomDocument>;

  constructor(
    private readonly test: FlowTest,
    private readonly library: Library,
    private readonly ir: CompiledFlow,
  ) {
    this.mocks = new MockTable(test.mocks);
    this.happenings = new Happenings(test);
    this.atoms = new Map(library.atoms.map((atom) => [atom.worker?.activity ?? atom.name, atom]));
  }

  run(sandbox: Sandbox, input: Json): Pick<Played, 'passed' | 'mismatches' | 'warnings' | 'seen' | 'steps'> {
    const { test, ir } = this;
    const config = { ...this.library.configs, ...test.config };
    const result = runVirtually(sandbox, {
      ir,
      input,
      config,
      ...(test.start?.at === undefined ? {} : { startMs: Date.parse(test.start.at) }),
      continueAsNewAt: 4_096,
      context: {
        targets: computeTargets(ir.flow, input, config),
        initiator: { kind: 'user', name: test.start?.by ?? 'tester' },
        ...(test.start?.tier === undefined ? {} : { tier: test.start.tier }),
      },
      answer: (call) => this.answer(call),
      begun: (run) => this.happenings.begin(run),
      meanwhile: (run) => this.happenings.look(run),
    });
    const seen = seenOf(result);
    const mismatches = [
      ...this.troubles(result),
      ...(this.missing.size > 0 ? [] : judge(test.expect, seen, result.steps)),
    ];
    return { passed: mismatches.length === 0, mismatches, warnings: this.warnings(), seen, steps: result.steps };
  }

  private answer(call: ActivityCall): ActivityAnswer | undefined {
    if (call.type === TEMPORAL_NAMES.approvalActivity) {
      this.happenings.asked((call.argument as unknown as { report: ApprovalReport }).report);
      return undefined;
    }
    if (call.type.startsWith('opsloop.')) return undefined;
    const atomCall = call.argument as unknown as AtomCall;
    if (atomCall.job !== undefined) return this.answerJob(call, atomCall);
    const answer = this.answerCall(call, call.type);
    // A worker that may answer from its memory says whether it did.
    if (atomCall.cache === undefined || !('value' in answer)) return answer;
    const { value, ...timing } = answer;
    return { ...timing, value: { output: value ?? null } };
  }

  /** A job answers when its mock's time has come, polled or not. */
  private answerJob(call: ActivityCall, { job, context }: AtomCall): ActivityAnswer {
    if (job?.phase === 'cancel') return { value: null };
    if (job?.phase === 'start') {
      const answer = this.answerCall(call, call.type.replace(/\.start$/, ''));
      // A start that did not get through is made again; a job that ends badly has ended.
      if ('thrown' in answer && answer.thrown.nonRetryable === false && answer.afterMs === undefined) return answer;
      this.jobs.set(context.key, { answer, dueAt: call.at + (answer.afterMs ?? 0) });
      return { value: { id: `job-${this.jobs.size}` } };
    }
    const { answer, dueAt } = this.jobs.get(context.key)!;
    const left = 'hangs' in answer ? 60_000 : dueAt - call.at;
    if (left <= 0) return { ...answer, afterMs: 0 };
    return { thrown: { type: 'not-yet', message: 'not yet', nextRetryDelayMs: left } };
  }

  private answerCall(call: ActivityCall, activity: string): ActivityAnswer {
    const { context, input } = call.argument as unknown as AtomCall;
    const atom = this.atoms.get(activity);
    const name = atom?.name ?? activity;
    const mock = this.mocks.next(context.step, name);
    if (mock !== undefined) {
      this.checkResult(context.step, atom, mock.result);
      return answerOf(mock);
    }
    const example = atom?.effect === 'read' ? atom.examples?.find((one) => one.output !== undefined) : undefined;
    if (example?.output !== undefined) return { value: example.output };
    if (!this.missing.has(context.step)) this.missing.set(context.step, { path: context.step, atom, name, input });
    if (this.missing.size > MISSING_MAX) throw new Error(missingText([...this.missing.values()]).join('\n'));
    return { value: exampleOf(atom) };
  }

  private checkResult(step: string, atom: AtomDocument | undefined, result: Json | undefined): void {
    if (result === undefined || atom?.output === undefined) return;
    const { errors } = validateInput(atom.output.schema, result);
    for (const { pointer, message } of errors)
      this.unfit.push(
        `${step}: the result does not fit the output of ${atom.name}@${atom.version}: ${pointer || '(value)'} ${message}`,
      );
  }

  /** What is wrong with the test or the run itself, before anything is compared. */
  private troubles(result: VirtualResult): Mismatch[] {
    const found: Mismatch[] = [];
    if (this.missing.size > 0)
      found.push({
        of: 'mocks',
        message: `${this.missing.size === 1 ? 'a call has' : `${this.missing.size} calls have`} no mock; nothing real was called`,
        lines: missingText([...this.missing.values()]),
      });
    if (this.unfit.length > 0)
      found.push({ of: 'mocks', message: 'a mock does not fit', lines: [...new Set(this.unfit)] });
    if (this.happenings.refused.length > 0)
      found.push({ of: 'events', message: 'something was refused', lines: this.happenings.refused });
    if (result.status === 'stuck') {
      const waiting = result.steps.filter((step) => step.endedAt === undefined).map((step) => step.path);
      found.push({ of: 'run', message: 'the run waits for something that never comes', lines: waiting });
    }
    return found;
  }

  private warnings(): string[] {
    return [
      ...this.mocks.unused().map((key) => `the mock "${key}" answers no call`),
      ...this.happenings.missed().map((when) => `${when} never came about`),
      ...this.happenings.unanswered.map(({ path, needed, approvers }) => {
        const who = [...(approvers.users ?? []), ...(approvers.groups ?? [])].join(' or ') || 'anybody';
        return `nobody answers ${path} (${needed} of ${who}); add { "step": "${staticPath(path)}", "by": "…", "answer": "approve" } to "approvals"`;
      }),
    ];
  }
}

/** Something of the right shape, so that the rest of the flow can be looked at. */
function exampleOf(atom: AtomDocument | undefined): Json {
  return atom?.examples?.find((one) => one.output !== undefined)?.output ?? {};
}

function missingText(missing: readonly Missing[]): string[] {
  const mocks = missing.map(({ path, atom }) => [staticPath(path), { result: exampleOf(atom) }] as const);
  return [
    ...missing.map(
      ({ path, name, atom, input }) =>
        `${path} calls ${name} (${atom?.effect ?? 'unknown effect'}) with ${JSON.stringify(input)}`,
    ),
    'paste into "mocks":',
    ...JSON.stringify(Object.fromEntries(mocks), null, 2).split('\n').slice(1, -1),
  ];
}

/** One line about a run, for a list. */
export function summaryOf(seen: Seen): string {
  return seen.problem === undefined ? seen.status : `${seen.status} with ${describe(seen.problem)}`;
}
