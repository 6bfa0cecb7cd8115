/** The reference interpreter's steps that hold no others, and what they read. */
import type { Json, RetryPolicy, Step } from '@opsloop/contracts';
import {
  ATOM_RETRY,
  type End,
  type Env,
  NEAR_MS,
  NEVER,
  type RefRecord,
  UNDONE_BY,
  ms,
  pauseOf,
} from './reference-terms.js';
import { EVENTS_SENT, JOB_EVERY_MS, POLL_MS, type RandomWorld } from './world.js';

export abstract class Leaves {
  ambiguous = false;
  /** Steps that have waited for events of a type. */
  private readonly waited = new Map<string, Set<string>>();

  constructor(
    protected readonly world: RandomWorld,
    protected readonly timeless: boolean,
  ) {}

  protected wait(t: number, length: number, cancelAt: number): End {
    this.near(t + length, cancelAt);
    return t + length < cancelAt
      ? { at: t + length, kind: 'ok', output: null }
      : { at: Math.max(t, cancelAt), kind: 'cancelled' };
  }

  protected call(
    step: Extract<Step, { call: string }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    record: RefRecord,
  ): End {
    const by = step.compensate === null ? undefined : UNDONE_BY[step.call];
    const full = env.prefix + path;
    if (by !== undefined && env.forward) env.undo.push({ path: full, ref: by });
    const retry = typeof step.retry === 'object' ? step.retry : ATOM_RETRY;
    if (step.call === 'j.job@1') return this.job(full, retry, t, cancelAt, record);
    return this.attempts(full, retry, t, cancelAt, step.call === 'r.look@1', record);
  }

  /** A start that is tried again like any call, then polls until the job has ended. */
  private job(path: string, retry: RetryPolicy, t: number, cancelAt: number, record: RefRecord): End {
    const started = this.attempts(path, retry, t, cancelAt, false, record);
    if (started.kind !== 'ok') return started;
    const { polls, end } = this.world.job(path);
    const at = started.at + polls * POLL_MS + (polls - 1) * JOB_EVERY_MS;
    this.near(at, cancelAt);
    // Stopping it takes a call, and one to see that it has ended.
    if (at >= cancelAt) return { at: cancelAt + 2, kind: 'cancelled' };
    if ('ok' in end) return { at, kind: 'ok', output: end.ok };
    return { at, kind: 'failed', code: end.code, retryable: false };
  }

  protected attempts(
    path: string,
    retry: RetryPolicy,
    t: number,
    cancelAt: number,
    reads: boolean,
    record?: RefRecord,
  ): End {
    const most = retry.maximumAttempts ?? 5;
    let at = t;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = this.world.call(path, attempt);
      this.near(at + outcome.ms, cancelAt);
      if (at + outcome.ms >= cancelAt) return { at: cancelAt + (reads ? 0 : 1), kind: 'cancelled' };
      at += outcome.ms;
      if ('ok' in outcome) return { at, kind: 'ok', output: outcome.ok };
      if (!outcome.retryable || attempt >= most) {
        if (record !== undefined && outcome.retryable) record.attempts = attempt;
        return { at, kind: 'failed', code: outcome.code, retryable: outcome.retryable };
      }
      at += pauseOf(retry, attempt);
      this.near(at, cancelAt);
      if (at >= cancelAt) return { at: cancelAt, kind: 'cancelled' };
    }
  }

  protected approval(step: Extract<Step, { approval: unknown }>, path: string, t: number, cancelAt: number): End {
    const answer = this.world.approval(path);
    const limit = ms(step.approval.timeout ?? '0ms');
    this.near(answer?.ms ?? NEVER, limit);
    const answered = answer !== undefined && answer.ms < limit;
    const at = t + (answered ? answer.ms : limit);
    this.near(at, cancelAt);
    if (at >= cancelAt) return { at: cancelAt, kind: 'cancelled' };
    const { onTimeout } = step.approval;
    const yes = answered ? answer.answer === 'approve' : onTimeout === 'approve';
    // What people said is looked at elsewhere.
    if (yes) return { at, kind: 'ok', output: null };
    const code = answered || onTimeout === 'reject' ? 'approval-rejected' : 'approval-timeout';
    return { at, kind: 'failed', code, retryable: false };
  }

  /** Events come once, at a time of their own, and are kept for whoever waits later. */
  protected event(step: Extract<Step, { waitForEvent: unknown }>, path: string, t: number, cancelAt: number): End {
    const { one, any, all, timeout } = step.waitForEvent;
    const times = (one === undefined ? (any ?? all ?? []) : [one]).map(({ type }) => this.arrival(type, path));
    const at = Math.max(t, all === undefined ? Math.min(...times) : Math.max(...times));
    const limit = t + ms(timeout ?? '0ms');
    this.near(at, limit);
    this.near(Math.min(at, limit), cancelAt);
    if (Math.min(at, limit) >= cancelAt) return { at: cancelAt, kind: 'cancelled' };
    return at < limit
      ? { at, kind: 'ok', output: null }
      : { at: limit, kind: 'failed', code: 'timeout', retryable: true };
  }

  private arrival(type: string, path: string): number {
    const steps = this.waited.get(type) ?? new Set();
    this.waited.set(type, steps.add(path));
    // Who goes without depends on who comes first.
    if (steps.size > EVENTS_SENT) this.ambiguous = true;
    return this.world.event(type)?.ms ?? NEVER;
  }

  // ------------------------------------------------------------ expressions

  protected test(logic: Json, env: Env): boolean {
    const [[operator, args]] = Object.entries(logic as Record<string, [{ var: string }, number]>) as [
      [string, [{ var: string }, number]],
    ];
    const left = this.read(args[0].var, env);
    const right = args[1];
    if (operator === '<') return left < right;
    if (operator === '>') return left > right;
    return operator === '<=' ? left <= right : left >= right;
  }

  private read(path: string, env: Env): number {
    if (path === 'vars.n') return Number(env.vars['n']);
    if (path === 'iteration') return Number(env.names['iteration']);
    const id = path.split('.')[1]!;
    return (env.seen[id] as { n: number }).n;
  }

  protected render(template: Json, env: Env): Json {
    if (typeof template === 'string') {
      const id = /^\$\{steps\.(\w+)\.output\?\}$/.exec(template)?.[1];
      if (template === '${vars.n}') return env.vars['n']!;
      return id === undefined ? template : (env.seen[id] ?? null);
    }
    if (template === null || typeof template !== 'object' || Array.isArray(template)) return template;
    return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, this.render(value, env)]));
  }

  /** Notes that two times are too near to say which came first. */
  protected near(a: number, b: number): void {
    if (!this.timeless && a !== NEVER && b !== NEVER && Math.abs(a - b) < NEAR_MS) this.ambiguous = true;
  }
}
