/** Tries an atom of any language against what a flow relies on, and says what is missing and how to mend it. */
import { durationMs, type AtomCall, type AtomDocument, type Json, type Problem } from '@opsloop/contracts';
import { pinnedAtom, validateInput } from '@opsloop/dsl';
import { renderTemplate, toScopeValue } from '@opsloop/rules';

export interface Trial {
  activity: string;
  taskQueue: string;
  call: AtomCall;
  startToCloseMs: number;
  heartbeatMs?: number;
  cancelAfterMs?: number;
}

export type TrialOutcome = ({ ok: true; output: Json } | { ok: false; problem: Problem }) & { tookMs: number };

export interface VerifyTools {
  /** Makes one attempt of an activity. */
  attempt(trial: Trial): Promise<TrialOutcome>;
  /** How many workers ask the queue for activities. */
  pollers(taskQueue: string): Promise<number>;
  /** The manifest that answers to `name@range`. */
  resolve(ref: string): Promise<AtomDocument>;
  /** The next fence of the platform's sequence: never older than any that a target has seen. */
  fence(): Promise<string>;
  newKey(): string;
  /** Configs for the templates of http atoms. */
  config: AtomCall['config'];
}

export interface VerifyCheck {
  check: 'worker' | 'answers' | 'same-key' | 'stale-fence' | 'dry-run' | 'cancel';
  status: 'passed' | 'failed' | 'skipped';
  detail: string;
  /** What to do about it. */
  remedy?: string;
}

/** Own queue of atoms without a worker. */
const OWN_QUEUE = 'opsloop-atoms';
const CALL_MS_MAX = 60_000;
/** When the trial of a cancel is cancelled, and how soon the worker must have heard it. */
const CANCEL_AFTER_MS = 1_500;
const CANCEL_HEARD_MS = 5_000;
/** A job of a verify input is meant to be short. */
const JOB_MS_MAX = 60_000;

const passed = (check: VerifyCheck['check'], detail: string): VerifyCheck => ({ check, status: 'passed', detail });
const skipped = (check: VerifyCheck['check'], detail: string, remedy: string): VerifyCheck => ({
  check,
  status: 'skipped',
  detail,
  remedy,
});
const failed = (check: VerifyCheck['check'], detail: string, remedy: string): VerifyCheck => ({
  check,
  status: 'failed',
  detail,
  remedy,
});

/** The atom that counts failed, or a template of the manifest: nothing is known about the atom itself. */
function notTried(check: VerifyCheck['check'], error: unknown): VerifyCheck {
  return failed(check, error instanceof Error ? error.message : String(error), 'correct "verify" in the manifest');
}

/** All checks, in the order in which they build on each other; without a worker nothing else is tried. */
export async function verifyAtom(atom: AtomDocument, tools: VerifyTools): Promise<VerifyCheck[]> {
  return new Verification(atom, tools).run();
}

class Verification {
  private readonly pinned;
  private readonly input: Json | undefined;
  private readonly changes: boolean;

  constructor(
    private readonly atom: AtomDocument,
    private readonly tools: VerifyTools,
  ) {
    this.pinned = pinnedAtom(atom);
    this.changes = atom.effect !== 'read';
    // Only its author knows which input of a change is harmless; a read may take any.
    this.input = atom.verify?.input ?? (this.changes ? undefined : (atom.examples?.[0]?.input ?? undefined));
  }

  async run(): Promise<VerifyCheck[]> {
    const worker = await this.worker();
    if (worker.status === 'failed') return [worker];
    if (this.input === undefined) return [worker, this.noInput()];
    const answers = await this.answers();
    if (answers.status === 'failed') return [worker, answers];
    const rest = [
      ['same-key', () => this.sameKey()],
      ['stale-fence', () => this.staleFence()],
      ['dry-run', () => this.dryRun()],
      ['cancel', () => this.cancel()],
    ] as const;
    const checks = [worker, answers];
    for (const [name, check] of rest) checks.push(await check().catch((error: unknown) => notTried(name, error)));
    return checks;
  }

  private noInput(): VerifyCheck {
    return skipped(
      'answers',
      'nothing was tried: the manifest names no input that is safe to act on',
      this.changes
        ? 'add "verify": { "input": … } with an input that may be acted on at any time, such as a test account'
        : 'add "verify": { "input": … } or an example',
    );
  }

  private async worker(): Promise<VerifyCheck> {
    const queue = this.queue(this.input ?? null);
    const count = await this.tools.pollers(queue);
    return count > 0
      ? passed('worker', `${count} poller${count === 1 ? '' : 's'} on the queue ${queue}`)
      : failed(
          'worker',
          `nobody asks the queue ${queue} for activities`,
          `start a worker of ${queue} in this namespace that registers the activity ${this.pinned.activity}`,
        );
  }

  private async answers(): Promise<VerifyCheck> {
    const outcome = await this.call();
    if (!outcome.ok) {
      const { code, detail, title } = outcome.problem;
      const unknown = /not registered|unable to find activity/i.test(detail ?? '');
      return failed(
        'answers',
        `${code}: ${detail ?? title}`,
        unknown
          ? `register ${this.pinned.activity} with the worker; its queue has pollers that do not know it`
          : 'correct the atom, or choose a "verify": { "input" } that it accepts',
      );
    }
    const schema = this.atom.output?.schema;
    if (schema === undefined) return passed('answers', 'it answered; the manifest declares no output schema');
    const { errors } = validateInput(schema, outcome.output);
    const text = errors.map((e) => `${e.pointer || '/'} ${e.message}`).join('; ');
    return errors.length === 0
      ? passed('answers', 'its output matches the schema')
      : failed(
          'answers',
          `the output does not match its schema: ${text}`,
          'correct the output, or the schema of the manifest',
        );
  }

  private async sameKey(): Promise<VerifyCheck> {
    if (!this.changes) return skipped('same-key', 'a read has no effect', 'nothing to do');
    if (this.atom.idempotency === 'none')
      return skipped(
        'same-key',
        'the manifest says that a repeat acts again',
        'nothing to do: such a step gets one attempt',
      );
    const key = this.tools.newKey();
    const before = await this.count();
    const [one, two] = [await this.call({ key }), await this.call({ key })];
    if (!one.ok || !two.ok) {
      const { problem } = (one.ok ? two : one) as { problem: Problem };
      return failed(
        'same-key',
        `${one.ok ? 'the repeat' : 'the call'} failed: ${problem.detail ?? problem.code}`,
        KEY_REMEDY,
      );
    }
    if (before === undefined) {
      return JSON.stringify(one.output) === JSON.stringify(two.output)
        ? skipped('same-key', 'both calls gave the same output; how often it acted is not known', COUNT_REMEDY)
        : failed('same-key', 'two calls with one key gave different outputs', KEY_REMEDY);
    }
    const effects = (await this.count())! - before;
    return effects === 1
      ? passed('same-key', 'two calls with one key had one effect')
      : failed('same-key', `two calls with one key had ${effects} effects`, KEY_REMEDY);
  }

  private async staleFence(): Promise<VerifyCheck> {
    if (!this.changes) return skipped('stale-fence', 'a read needs no lock', 'nothing to do');
    const [older, newer] = [await this.tools.fence(), await this.tools.fence()];
    const current = await this.call({ fence: newer });
    if (!current.ok)
      return failed(
        'stale-fence',
        `the newest fence was refused: ${current.problem.detail ?? current.problem.code}`,
        FENCE_REMEDY,
      );
    const before = await this.count();
    const stale = await this.call({ fence: older });
    const after = await this.count();
    if (stale.ok || before !== after)
      return failed('stale-fence', 'a holder whose lock had passed to another was let through', FENCE_REMEDY);
    return stale.problem.code === 'stale-fence' || stale.problem['targetStatus'] === 409
      ? passed('stale-fence', 'an older fence than the newest seen was refused')
      : failed(
          'stale-fence',
          `refused, but as ${stale.problem.code}`,
          'fail with the type stale-fence, so that flows can tell it apart',
        );
  }

  private async dryRun(): Promise<VerifyCheck> {
    if (!this.changes) return skipped('dry-run', 'a read runs in a dry run too', 'nothing to do');
    const before = await this.count();
    const outcome = await this.call({ dryRun: true });
    if (!outcome.ok)
      return failed(
        'dry-run',
        `it failed: ${outcome.problem.detail ?? outcome.problem.code}`,
        'answer a dry run with what would happen',
      );
    if (before === undefined) return skipped('dry-run', 'it answered; whether it acted is not known', COUNT_REMEDY);
    return (await this.count()) === before
      ? passed('dry-run', 'nothing was changed')
      : failed('dry-run', 'a dry run changed something', 'return before any change when context.dryRun is true');
  }

  private async cancel(): Promise<VerifyCheck> {
    const slow = this.atom.verify?.slow;
    if (slow === undefined)
      return skipped('cancel', 'not tried', 'add "verify": { "slow": … } with an input whose work takes at least 10 s');
    if (this.atom.job !== undefined) return this.cancelJob(slow);
    const outcome = await this.attempt({ input: slow, cancelAfterMs: CANCEL_AFTER_MS, startToCloseMs: 30_000 });
    const remedy =
      'heartbeat at least every 2 s, with a heartbeat throttle of 1–3 s, and stop when the context is cancelled';
    if (outcome.ok) return failed('cancel', 'it went on to its end', remedy);
    if (outcome.problem.code !== 'cancelled')
      return failed('cancel', `it ended as ${outcome.problem.code}: ${outcome.problem.detail ?? ''}`, remedy);
    return outcome.tookMs <= CANCEL_HEARD_MS
      ? passed('cancel', `heard after ${(outcome.tookMs / 1_000).toFixed(1)} s`)
      : failed('cancel', `heard only after ${(outcome.tookMs / 1_000).toFixed(1)} s`, remedy);
  }

  private async cancelJob(slow: Json): Promise<VerifyCheck> {
    const remedy = 'let cancel stop the job, and the poll of a stopped job fail for good';
    if (this.atom.job!.cancel === undefined)
      return failed('cancel', 'the job cannot be told to stop', 'add "cancel" to the job of the manifest');
    const key = this.tools.newKey();
    const started = await this.attempt({ input: slow, key, job: { phase: 'start' } });
    if (!started.ok) return failed('cancel', `it did not start: ${started.problem.detail ?? ''}`, remedy);
    const id = idOf(started.output);
    const stopped = await this.attempt({ input: slow, key, job: { phase: 'cancel', id } });
    if (!stopped.ok) return failed('cancel', `the cancel failed: ${stopped.problem.detail ?? ''}`, remedy);
    const end = await this.pollToEnd(slow, key, id, CANCEL_HEARD_MS);
    return end === undefined
      ? failed('cancel', `${CANCEL_HEARD_MS / 1_000} s later the job still went on`, remedy)
      : end.ok
        ? failed('cancel', 'the job went on to its end', remedy)
        : passed('cancel', `the job ended as ${end.problem.code}`);
  }

  // ---------------------------------------------------------------- calls

  private async call(options: { key?: string; fence?: string; dryRun?: boolean } = {}): Promise<TrialOutcome> {
    const key = options.key ?? this.tools.newKey();
    if (this.atom.job === undefined || options.dryRun === true)
      return this.attempt({ ...options, key, ...(this.atom.job === undefined ? {} : { job: { phase: 'start' } }) });
    const started = await this.attempt({ ...options, key, job: { phase: 'start' } });
    if (!started.ok) return started;
    const end = await this.pollToEnd(this.input!, key, idOf(started.output), JOB_MS_MAX);
    if (end !== undefined) return end;
    const detail = `the job took longer than ${JOB_MS_MAX / 1_000} s`;
    return {
      ok: false,
      tookMs: JOB_MS_MAX,
      problem: { type: 'about:blank', title: 'Timed out', status: 408, code: 'timeout', detail },
    };
  }

  private async pollToEnd(input: Json, key: string, id: string, withinMs: number): Promise<TrialOutcome | undefined> {
    const pause = Math.min(1_000, durationMs(this.pinned.job!.every));
    for (const until = Date.now() + withinMs; Date.now() < until;) {
      const outcome = await this.attempt({ input, key, job: { phase: 'poll', id, attempts: 1 } });
      if (outcome.ok || outcome.problem.code !== 'not-yet') return outcome;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    return undefined;
  }

  private attempt(options: {
    input?: Json;
    key?: string;
    fence?: string;
    dryRun?: boolean;
    job?: AtomCall['job'];
    cancelAfterMs?: number;
    startToCloseMs?: number;
  }): Promise<TrialOutcome> {
    const { job, cancelAfterMs, key = this.tools.newKey() } = options;
    const input = options.input ?? this.input!;
    const { timeout } = this.atom;
    const limit = timeout?.startToClose === undefined ? CALL_MS_MAX : durationMs(timeout.startToClose);
    const context = {
      run: 'verify',
      step: 'verify',
      key,
      ...(options.fence === undefined ? {} : { fence: options.fence }),
      tenant: 'default',
      dryRun: options.dryRun ?? false,
    };
    const activity =
      job === undefined || this.pinned.manifest !== undefined
        ? this.pinned.activity
        : `${this.pinned.activity}.${job.phase}`;
    return this.tools.attempt({
      activity,
      taskQueue: this.queue(input),
      startToCloseMs: options.startToCloseMs ?? Math.min(limit, CALL_MS_MAX),
      ...(timeout?.heartbeat === undefined ? {} : { heartbeatMs: durationMs(timeout.heartbeat) }),
      ...(cancelAfterMs === undefined ? {} : { cancelAfterMs }),
      call: {
        input,
        context,
        ...(this.pinned.manifest === undefined ? {} : { atom: this.pinned.manifest, config: this.tools.config }),
        ...(job === undefined ? {} : { job }),
        ...(this.changes && this.pinned.queue === undefined ? { gate: this.gate(input) } : {}),
      } as AtomCall,
    });
  }

  /** Halts hold for trials too; our own worker asks. */
  private gate(input: Json): AtomCall['gate'] {
    const targets =
      this.atom.targets === undefined ? [] : renderTemplate(this.atom.targets, { input: toScopeValue(input) });
    return {
      flow: `atom/${this.atom.name}`,
      tier: 'P3',
      atom: this.atom.name,
      effect: this.atom.effect,
      targets: (Array.isArray(targets) ? targets.flat() : [targets]).filter((path) => typeof path === 'string'),
      phase: 'forward',
    };
  }

  private queue(input: Json): string {
    const { queue } = this.pinned;
    if (queue === undefined) return OWN_QUEUE;
    if (!queue.includes('${')) return queue;
    return String(renderTemplate(queue, { input: toScopeValue(input) }));
  }

  /** How often the effect was applied so far; `undefined` when the manifest names no way to count. */
  private async count(): Promise<number | undefined> {
    const spec = this.atom.verify?.count;
    if (spec === undefined) return undefined;
    const reader = await this.tools.resolve(spec.call);
    const input = renderTemplate(spec.with ?? {}, { input: toScopeValue(this.input!) });
    const one = new Verification({ ...reader, verify: { input } }, this.tools);
    const outcome = await one.attempt({ input });
    if (!outcome.ok) throw new Error(`${spec.call} failed: ${outcome.problem.detail ?? outcome.problem.code}`);
    const value = renderTemplate(spec.value, {
      input: toScopeValue(this.input!),
      result: toScopeValue(outcome.output),
    });
    if (typeof value === 'number') return value;
    throw new Error(`verify.count.value gives ${JSON.stringify(value)}, where a number is needed`);
  }
}

function idOf(output: Json): string {
  const id = output === null || typeof output !== 'object' || Array.isArray(output) ? undefined : output['id'];
  return typeof id === 'string' || typeof id === 'number' ? String(id) : '';
}

const KEY_REMEDY =
  'keep context.key beside the work, in the same transaction, and answer a known key with the first answer';
const COUNT_REMEDY =
  'add "verify": { "count": { "call", "value" } }: a read atom that tells how often the effect was applied';
const FENCE_REMEDY = 'keep the highest context.fence per resource and refuse a lower one with the type stale-fence';
