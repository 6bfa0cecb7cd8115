/**
 * What a flow does, told a second time: a plain reading of the flow language that computes with times instead of
 * waiting. It shares no code with the interpreter. A step is asked when it would end if a cancel came at a given
 * moment; regions with branches are worked out twice, without and with the moment at which they cancel their branches.
 */
import type { CatchClause, FlowDocument, Json, RetryPolicy, Step } from '@opsloop/contracts';
import type { RandomWorld } from './world.js';

export interface RefRecord {
  status: string;
  attempts?: number;
  output?: Json;
}

export interface RefResult {
  status: 'succeeded' | 'failed' | 'cancelled';
  output?: Json;
  code?: string;
  records: Map<string, RefRecord>;
  /** Undone steps with the time at which their undoing began. */
  undone: { path: string; at: number }[];
  emitted: string[];
  /** Two things that decide happened at about the same time: either order is right. */
  ambiguous: boolean;
}

type End =
  | { at: number; kind: 'ok'; output: Json }
  | { at: number; kind: 'failed'; code: string; retryable: boolean }
  | { at: number; kind: 'cancelled' }
  | { at: number; kind: 'return'; output: Json }
  /** A branch that never started, since one that it needs did not end well. */
  | { at: number; kind: 'unmet' };

/** Undo of one step, or of branches side by side. */
type Undo = { path: string; ref: string } | { branches: Undo[][] };

interface Log {
  records: [string, RefRecord][];
  undone: { path: string; at: number }[];
  emitted: string[];
}

interface Env {
  flow: FlowDocument;
  flows: Record<string, FlowDocument>;
  vars: Record<string, Json>;
  /** Outputs of calls by id, innermost scope last. */
  seen: Record<string, Json>;
  names: Record<string, Json>;
  prefix: string;
  undo: Undo[];
  forward: boolean;
}

const NEVER = Infinity;
/** Bookkeeping takes some ms that are not worth telling exactly; what is nearer than this may go either way. */
const NEAR_MS = 60;
const UNDONE_BY: Readonly<Record<string, string>> = { 'a.one@1': 'u.undo@1', 'a.two@1': 'u.undo@1' };
/** Codes that the table of errors never tries again. */
const FINAL = new Set(['policy', 'batch-threshold', 'goal-not-met', 'approval-rejected', 'approval-timeout']);
const ATOM_RETRY: RetryPolicy = { maximumAttempts: 2, initialInterval: '50ms', backoffCoefficient: 2 };

const ms = (text: string): number => Number(text.slice(0, -2));
const join = (a: string, b: string): string => (a === '' ? b : `${a}/${b}`);
const repeat = (path: string, n: number): string => (n === 1 ? path : `${path}~${n}`);
const pauseOf = (retry: RetryPolicy, attempt: number): number =>
  Math.round(ms(retry.initialInterval ?? '1000ms') * (retry.backoffCoefficient ?? 2) ** (attempt - 1));

/** Runs the flow on paper. `cancelAt`: somebody cancels the run then; `timeless`: things may take longer than told. */
export function predict(
  flow: FlowDocument,
  flows: Record<string, FlowDocument>,
  world: RandomWorld,
  { cancelAt = NEVER, timeless = false }: { cancelAt?: number | undefined; timeless?: boolean } = {},
): RefResult {
  const paper = new Paper(world, timeless);
  const log: Log = { records: [], undone: [], emitted: [] };
  const end = paper.flow(flow, flows, '', 0, cancelAt, log);
  const common = {
    records: new Map(log.records.filter(([path]) => !path.includes('>'))),
    undone: log.undone,
    emitted: log.emitted,
    ambiguous: paper.ambiguous,
  };
  if (end.kind === 'failed') return { status: 'failed', code: end.code, ...common };
  if (end.kind === 'cancelled') return { status: 'cancelled', ...common };
  if (end.kind === 'unmet') throw new Error('a flow has no branches of its own');
  return { status: 'succeeded', output: end.output, ...common };
}

class Paper {
  ambiguous = false;

  constructor(
    private readonly world: RandomWorld,
    private readonly timeless: boolean,
  ) {}

  // ------------------------------------------------------------ flows and guarded blocks

  flow(flow: FlowDocument, flows: Env['flows'], prefix: string, t: number, cancelAt: number, log: Log): End {
    const env: Env = { flow, flows, vars: { ...flow.vars }, seen: {}, names: {}, prefix, undo: [], forward: true };
    const body = (at: number, path: string): End => this.list(flow.do, env, path, at, cancelAt, log);
    const end = this.guarded(env, '', flow.catch, flow.finally, body, t, cancelAt, log);
    if (end.kind !== 'ok') return end.kind === 'return' ? { ...end, kind: 'ok' } : end;
    return { at: end.at, kind: 'ok', output: this.render(flow.output ?? null, env) };
  }

  /** Body → catch → compensation → finally. The caller has given the block an undo list of its own. */
  private guarded(
    env: Env,
    path: string,
    catches: readonly CatchClause[] | undefined,
    last: readonly Step[] | undefined,
    body: (t: number, path: string) => End,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    let end: End = { at: t, kind: 'ok', output: null };
    for (let attempt = 1; ; attempt += 1) {
      end = body(attempt === 1 ? t : end.at, repeat(path, attempt));
      const failed = end;
      if (failed.kind !== 'failed') break;
      const clause = catches?.find((one) => one.errors?.type === undefined || one.errors.type === failed.code);
      if (clause === undefined) break;
      if (clause.retry !== undefined && attempt < (clause.retry.maximumAttempts ?? 5)) {
        const next = this.wait(failed.at, pauseOf(clause.retry, attempt), cancelAt);
        end = next;
        if (next.kind === 'cancelled') break;
        continue;
      }
      if (clause.do === undefined) {
        if (clause.retry === undefined) end = { at: failed.at, kind: 'ok', output: null };
        break;
      }
      end = this.list(clause.do, env, repeat(path, attempt), failed.at, cancelAt, log);
      break;
    }
    return this.cleanUp(env, path, last, end, log);
  }

  private cleanUp(env: Env, path: string, last: readonly Step[] | undefined, end: End, log: Log): End {
    let at = end.at;
    if (end.kind === 'failed' || end.kind === 'cancelled') at = this.compensate(env, env.undo.splice(0), at, log);
    if (last === undefined || last.length === 0) return { ...end, at };
    const late = this.list(last, { ...env, forward: false }, path, at, NEVER, log);
    if (late.kind === 'failed' && (end.kind === 'ok' || end.kind === 'return')) return late;
    return { ...end, at: late.at };
  }

  /** Newest first; branches side by side. A failed undoing stops nothing. */
  private compensate(env: Env, undo: readonly Undo[], t: number, log: Log): number {
    let at = t;
    for (const entry of [...undo].reverse()) {
      if ('branches' in entry) at = Math.max(at, ...entry.branches.map((one) => this.compensate(env, one, at, log)));
      else {
        const end = this.attempts(`${entry.path}~undo`, ATOM_RETRY, at, NEVER, false);
        log.records.push([`${entry.path}~undo`, { status: end.kind === 'ok' ? 'succeeded' : 'failed' }]);
        log.undone.push({ path: entry.path, at });
        at = end.at;
      }
    }
    return at;
  }

  // ------------------------------------------------------------ steps

  private list(steps: readonly Step[], env: Env, path: string, t: number, cancelAt: number, log: Log): End {
    let at = t;
    for (const step of steps) {
      const end = this.step(step, env, path, at, cancelAt, log);
      if (end.kind !== 'ok') return end;
      at = end.at;
    }
    return { at, kind: 'ok', output: null };
  }

  private step(step: Step, env: Env, parent: string, t: number, cancelAt: number, log: Log): End {
    const local = join(parent, step.id);
    const path = env.prefix + local;
    if (t >= cancelAt) return { at: t, kind: 'cancelled' };
    const record: RefRecord = { status: 'running' };
    log.records.push([path, record]);
    if (step.if !== undefined && !this.test(step.if, env)) {
      record.status = 'skipped';
      env.seen[step.id] = null;
      return { at: t, kind: 'ok', output: null };
    }
    const end =
      'call' in step
        ? this.call(step, env, local, t, cancelAt, record)
        : this.block(step, env, local, t, cancelAt, log, record);
    const status = {
      ok: 'succeeded',
      return: 'succeeded',
      failed: 'failed',
      cancelled: 'cancelled',
      unmet: 'failed',
    } as const;
    record.status = status[end.kind];
    if (end.kind === 'ok') {
      env.seen[step.id] = end.output;
      if (end.output !== null) record.output = end.output;
    }
    return end;
  }

  /** The verb under the step's own timeout and retry. */
  private block(step: Step, env: Env, path: string, t: number, cancelAt: number, log: Log, record: RefRecord): End {
    const retry = typeof step.retry === 'object' ? step.retry : undefined;
    let at = t;
    for (let attempt = 1; ; attempt += 1) {
      if (retry !== undefined) record.attempts = attempt;
      const end = this.bounded(step, env, repeat(path, attempt), at, cancelAt, log);
      if (retry === undefined || end.kind !== 'failed') return end;
      if (!end.retryable || attempt >= (retry.maximumAttempts ?? 5)) return end;
      const next = this.wait(end.at, pauseOf(retry, attempt), cancelAt);
      if (next.kind === 'cancelled') return next;
      at = next.at;
    }
  }

  private bounded(step: Step, env: Env, path: string, t: number, cancelAt: number, log: Log): End {
    if (typeof step.timeout !== 'string') return this.verb(step, env, path, t, cancelAt, log);
    const late = t + ms(step.timeout);
    const end = this.verb(step, env, path, t, Math.min(late, cancelAt), log);
    this.near(end.at, late);
    this.near(cancelAt, late);
    if (end.kind === 'cancelled' && late < cancelAt)
      return { at: end.at, kind: 'failed', code: 'timeout', retryable: true };
    return end;
  }

  private verb(step: Step, env: Env, path: string, t: number, cancelAt: number, log: Log): End {
    if ('wait' in step) return this.wait(t, ms(step.wait.for ?? '0ms'), cancelAt);
    if ('set' in step) {
      env.vars['n'] = Number(env.vars['n']) + 1;
      return { at: t, kind: 'ok', output: null };
    }
    if ('emit' in step) {
      log.emitted.push(env.prefix + path);
      return { at: t + 1, kind: 'ok', output: null };
    }
    if ('raise' in step)
      return { at: t, kind: 'failed', code: step.raise.type, retryable: !FINAL.has(step.raise.type) };
    if ('return' in step) return { at: t, kind: 'return', output: this.render(step.return, env) };
    if ('approval' in step) return this.approval(step, env.prefix + path, t, cancelAt);
    if ('run' in step) return this.child(step, env, path, t, cancelAt, log);
    if ('try' in step) return this.tried(step, env, path, t, cancelAt, log);
    if ('parallel' in step) return this.parallel(step, env, path, t, cancelAt, log);
    if ('switch' in step) return this.choice(step, env, path, t, cancelAt, log);
    if ('forEach' in step) return this.each(step, env, path, t, cancelAt, log);
    if ('loop' in step) return this.loop(step, env, path, t, cancelAt, log);
    if ('reconcile' in step) return this.reconcile(step, env, path, t, cancelAt, log);
    if ('do' in step) return this.list(step.do, env, path, t, cancelAt, log);
    throw new Error(`unknown step ${JSON.stringify(step)}`);
  }

  private wait(t: number, length: number, cancelAt: number): End {
    this.near(t + length, cancelAt);
    return t + length < cancelAt
      ? { at: t + length, kind: 'ok', output: null }
      : { at: Math.max(t, cancelAt), kind: 'cancelled' };
  }

  private call(
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
    return this.attempts(full, retry, t, cancelAt, step.call === 'r.look@1', record);
  }

  private attempts(
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

  private approval(step: Extract<Step, { approval: unknown }>, path: string, t: number, cancelAt: number): End {
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

  private child(
    step: Extract<Step, { run: string }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    if (step.compensate != null && env.forward) env.undo.push({ path: env.prefix + path, ref: step.compensate.call });
    // Steps of a sub-flow have records of their own; here they only must not be mixed with ours.
    const own: Log = { records: [], undone: [], emitted: [] };
    const end = this.flow(env.flows[step.run]!, {}, `${env.prefix}${path}/`, t, cancelAt, own);
    log.emitted.push(...own.emitted);
    return end;
  }

  private tried(
    step: Extract<Step, { try: Step[] }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const inner: Env = { ...env, undo: [] };
    const body = (at: number, p: string): End => this.list(step.try, inner, p, at, cancelAt, log);
    const end = this.guarded(inner, path, step.catch, step.finally, body, t, cancelAt, log);
    if (end.kind === 'ok' && env.forward) env.undo.push(...inner.undo);
    return end;
  }

  private choice(
    step: Extract<Step, { switch: unknown[] }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const chosen = step.switch.findIndex((entry) => entry.when === undefined || this.test(entry.when, env));
    if (chosen < 0) return { at: t, kind: 'ok', output: { case: null } };
    const end = this.list(step.switch[chosen]!.do, env, path, t, cancelAt, log);
    return end.kind === 'ok' ? { ...end, output: { case: chosen } } : end;
  }

  private loop(
    step: Extract<Step, { loop: unknown }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const { until, every, max } = step.loop;
    const most = max.iterations ?? NEVER;
    let at = t;
    for (let turn = 1; turn <= most; turn += 1) {
      const inner: Env = { ...env, seen: { ...env.seen }, names: { ...env.names, iteration: turn } };
      const end = this.list(step.do, inner, `${path}[${turn}]`, at, cancelAt, log);
      if (end.kind !== 'ok') return end;
      at = end.at;
      if (until !== undefined && this.test(until, inner)) return { at, kind: 'ok', output: { iterations: turn } };
      if (every !== undefined && turn < most) {
        const next = this.wait(at, ms(every), cancelAt);
        if (next.kind === 'cancelled') return next;
        at = next.at;
      }
    }
    if (until === undefined) return { at, kind: 'ok', output: { iterations: most } };
    return { at, kind: 'failed', code: 'goal-not-met', retryable: false };
  }

  private reconcile(
    step: Extract<Step, { reconcile: unknown }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const { goal, every, deadline } = step.reconcile;
    const last = t + ms(deadline);
    let at = t;
    for (let turn = 1; ; turn += 1) {
      const inner: Env = { ...env, seen: { ...env.seen }, names: { ...env.names, iteration: turn } };
      const look = this.step(step.observe, inner, `${path}[${turn}]`, at, cancelAt, log);
      if (look.kind === 'cancelled' || look.kind === 'return') return look;
      at = look.at;
      this.near(at, last);
      if (look.kind === 'ok' && this.test(goal, inner)) return { at, kind: 'ok', output: look.output };
      if (look.kind === 'ok' && at < last && step.do !== undefined) {
        const acted = this.list(step.do, inner, `${path}[${turn}]`, at, cancelAt, log);
        if (acted.kind !== 'ok') return acted;
        at = acted.at;
      }
      this.near(at, last);
      if (at >= last) return { at, kind: 'failed', code: 'goal-not-met', retryable: false };
      const next = this.wait(at, Math.min(ms(every ?? '10000ms'), last - at), cancelAt);
      if (next.kind === 'cancelled') return next;
      at = next.at;
    }
  }

  // ------------------------------------------------------------ branches

  private parallel(
    step: Extract<Step, { parallel: unknown }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const { join: wants = 'all', onError = 'cancel', limit } = step.parallel;
    const wanted = wants === 'all' ? step.do.length : wants === 'any' ? 1 : wants.count;
    const once = (stopAt: number): { ends: Map<string, End>; log: Log; undo: Undo[][] } =>
      this.branches(step.do, limit ?? step.do.length, env, path, t, Math.min(stopAt, cancelAt));
    const first = once(NEVER);
    const stop = this.stopOf([...first.ends.values()], (ok, failed) =>
      wants !== 'all' && ok >= wanted ? true : onError === 'cancel' && failed > 0 && step.do.length - failed < wanted,
    );
    this.near(stop, cancelAt);
    // What decided has happened; the cancel follows it.
    const final = stop < cancelAt ? once(stop + 0.5) : first;
    if (stop - t < NEAR_MS && step.do.length > 1) this.ambiguous = true;
    log.records.push(...final.log.records);
    log.undone.push(...final.log.undone);
    log.emitted.push(...final.log.emitted);
    if (env.forward) env.undo.push({ branches: final.undo });
    const ends = [...final.ends.values()].sort((a, b) => a.at - b.at);
    const at = Math.max(t, ...ends.map((end) => end.at));
    // A cancel from outside counts only when nothing inside had decided before; what a branch came to first goes outward.
    const deciding = ends.filter((end) => end.kind === 'return' || (stop >= cancelAt && end.kind === 'cancelled'));
    const outward = deciding[0];
    if (outward !== undefined) return { ...outward, at };
    const done = ends.filter((end) => end.kind === 'ok').length;
    if (done >= wanted) return { at, kind: 'ok', output: null };
    const failures = ends.filter((end) => end.kind === 'failed');
    // The first one counts, whichever that is when things take longer.
    if (this.timeless && failures.length > 1) this.ambiguous = true;
    const [failure] = failures;
    return failure === undefined ? { at, kind: 'failed', code: 'runtime', retryable: true } : { ...failure, at };
  }

  /** All branches, each started when its needs and a slot allow it, none at or after `stopAt`. */
  private branches(
    steps: readonly Step[],
    limit: number,
    env: Env,
    path: string,
    t: number,
    stopAt: number,
  ): { ends: Map<string, End>; log: Log; undo: Undo[][] } {
    const log: Log = { records: [], undone: [], emitted: [] };
    const undo: Undo[][] = [];
    const ends = new Map<string, End>();
    const slots = Array.from({ length: limit }, () => t);
    const open = [...steps];
    while (open.length > 0) {
      const ready = open
        .filter((step) => (step.needs ?? []).every((id) => ends.has(id)))
        .map((step) => ({ step, at: Math.max(t, ...(step.needs ?? []).map((id) => ends.get(id)!.at)) }))
        .sort((a, b) => a.at - b.at);
      const { step, at } = ready[0]!;
      // Who asks for a slot first, of those that are ready at the same moment?
      for (const other of ready.slice(1))
        if (limit < steps.length && (step.needs ?? other.step.needs) !== undefined) this.near(other.at, at);
      open.splice(open.indexOf(step), 1);
      if ((step.needs ?? []).some((id) => ends.get(id)!.kind !== 'ok')) {
        ends.set(step.id, { at, kind: 'unmet' });
        continue;
      }
      slots.sort((a, b) => a - b);
      const start = Math.max(at, slots[0]!);
      if (start >= stopAt || (start > t && start >= stopAt - 0.5)) {
        ends.set(step.id, { at: stopAt, kind: 'cancelled' });
        continue;
      }
      const own: Undo[] = [];
      const end = this.step(step, { ...env, undo: own, seen: { ...env.seen } }, path, start, stopAt, log);
      ends.set(step.id, end);
      undo.push(own);
      slots[0] = end.at;
    }
    return { ends, log, undo };
  }

  /** When a region stops itself: the first end at which `decides` says so, or a `return`. */
  private stopOf(ends: readonly End[], decides: (ok: number, failed: number) => boolean): number {
    const sorted = ends.filter((end) => end.kind !== 'cancelled' && end.kind !== 'unmet').sort((a, b) => a.at - b.at);
    let ok = 0;
    let failed = 0;
    for (const end of sorted) {
      if (end.kind === 'ok') ok += 1;
      if (end.kind === 'failed') failed += 1;
      if (end.kind === 'return' || decides(ok, failed)) {
        for (const other of sorted) if (other !== end) this.near(other.at, end.at);
        return end.at;
      }
    }
    return NEVER;
  }

  private each(
    step: Extract<Step, { forEach: unknown }>,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const { batch, tolerate, onItemError, collect } = step.forEach;
    const items = step.forEach.in as string[];
    const collected: Json[] = [];
    let failed = 0;
    let at = t;
    const tooMany = (count: number): boolean =>
      count > 0 && (onItemError === 'stop' || tolerate?.failures === undefined || count > tolerate.failures);
    for (const [i, keys] of batchesOf(items, batch).entries()) {
      if (i > 0 && batch?.pause !== undefined) {
        const pause = this.wait(at, ms(batch.pause), cancelAt);
        if (pause.kind === 'cancelled') return pause;
        at = pause.at;
      }
      const before = failed;
      const run = (stopAt: number): ItemsEnd =>
        this.items(step, keys, env, path, at, stopAt, (count) => tooMany(before + count));
      let result = run(cancelAt);
      if (result.returnedAt < cancelAt) {
        for (const end of result.ends) if (end.kind !== 'return') this.near(end.at, result.returnedAt);
        result = run(result.returnedAt + 0.5);
      }
      log.records.push(...result.log.records);
      log.undone.push(...result.log.undone);
      log.emitted.push(...result.log.emitted);
      at = Math.max(at, ...result.ends.map((end) => end.at));
      const inOrder = [...result.ends].sort((a, b) => a.at - b.at);
      // Items that a `return` has cancelled end after it.
      const outward = inOrder.find((end) => end.kind === 'return' || end.kind === 'cancelled');
      if (outward !== undefined) return { ...outward, at };
      if (result.cancelled) return { at, kind: 'cancelled' };
      failed += result.ends.filter((end) => end.kind === 'failed').length;
      if (collect !== undefined) collected.push(...result.done);
      if (tooMany(failed)) return { at, kind: 'failed', code: 'batch-threshold', retryable: false };
    }
    const order = (item: Json): number => items.indexOf(item as string);
    return { at, kind: 'ok', output: collect === undefined ? null : collected.sort((a, b) => order(a) - order(b)) };
  }

  /** One batch: a pool of workers that take items in order, until too many have failed. */
  private items(
    step: Extract<Step, { forEach: unknown }>,
    keys: readonly string[],
    env: Env,
    path: string,
    t: number,
    stopAt: number,
    tooMany: (failed: number) => boolean,
  ): ItemsEnd {
    const log: Log = { records: [], undone: [], emitted: [] };
    const ends: End[] = [];
    const done: Json[] = [];
    const workers = Array.from({ length: Number(step.forEach.concurrency ?? 1) }, (): { free: number; last?: End } => ({
      free: t,
    }));
    let cancelled = false;
    for (const key of keys) {
      workers.sort((a, b) => a.free - b.free);
      const worker = workers[0]!;
      const start = worker.free;
      for (const end of ends) if (end !== worker.last && end.kind !== 'ok') this.near(end.at, start);
      if (worker.last !== undefined && worker.last.kind !== 'ok')
        for (const other of workers.slice(1)) this.near(other.free, start);
      const failures = ends.filter((end) => end.kind === 'failed' && end.at <= start).length;
      if (tooMany(failures)) break;
      if (ends.some((end) => end.kind === 'return' && end.at <= start)) break;
      if (start >= stopAt) {
        cancelled = true;
        break;
      }
      const end = this.item(step, key, env, path, start, stopAt, log);
      ends.push(end);
      if (end.kind === 'ok') done.push(key);
      worker.free = end.kind === 'cancelled' ? NEVER : end.at;
      worker.last = end;
    }
    const returnedAt = Math.min(NEVER, ...ends.filter((end) => end.kind === 'return').map((end) => end.at));
    return { ends, log, done, returnedAt, cancelled };
  }

  private item(
    step: Extract<Step, { forEach: unknown }>,
    key: string,
    env: Env,
    path: string,
    t: number,
    cancelAt: number,
    log: Log,
  ): End {
    const own: Undo[] = [];
    const inner: Env = { ...env, undo: own, seen: { ...env.seen }, names: { ...env.names, item: key } };
    const end = this.list(step.do, inner, `${path}[${key}]`, t, cancelAt, log);
    const undoes = end.kind === 'cancelled' || (end.kind === 'failed' && step.forEach.onItemError === 'compensate');
    return undoes ? { ...end, at: this.compensate(env, own, end.at, log) } : end;
  }

  // ------------------------------------------------------------ expressions

  private test(logic: Json, env: Env): boolean {
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

  private render(template: Json, env: Env): Json {
    if (typeof template === 'string') {
      const id = /^\$\{steps\.(\w+)\.output\?\}$/.exec(template)?.[1];
      if (template === '${vars.n}') return env.vars['n']!;
      return id === undefined ? template : (env.seen[id] ?? null);
    }
    if (template === null || typeof template !== 'object' || Array.isArray(template)) return template;
    return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, this.render(value, env)]));
  }

  /** Notes that two times are too near to say which came first. */
  private near(a: number, b: number): void {
    if (!this.timeless && a !== NEVER && b !== NEVER && Math.abs(a - b) < NEAR_MS) this.ambiguous = true;
  }
}

interface ItemsEnd {
  ends: End[];
  log: Log;
  done: Json[];
  returnedAt: number;
  cancelled: boolean;
}

function batchesOf(
  items: readonly string[],
  batch: { canary?: number; size?: number | string } | undefined,
): string[][] {
  if (items.length === 0) return [];
  if (batch === undefined) return [[...items]];
  const first = batch.canary ?? 0;
  const batches = first > 0 ? [items.slice(0, first)] : [];
  const size = Number(batch.size ?? items.length);
  for (let at = first; at < items.length; at += size) batches.push(items.slice(at, at + size));
  return batches;
}
