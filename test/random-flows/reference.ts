/**
 * What a flow does, told a second time: a plain reading of the flow language that computes with times instead of
 * waiting. It shares no code with the interpreter. A step is asked when it would end if a cancel came at a given
 * moment; regions with branches are worked out twice, without and with the moment at which they cancel their branches.
 */
import type { CatchClause, DoStep, FlowDocument, Step } from '@opsloop/contracts';
import { Branches } from './reference-branches.js';
import {
  ATOM_RETRY,
  type End,
  type Env,
  FINAL,
  type Log,
  NEVER,
  type RefRecord,
  type RefResult,
  type Undo,
  join,
  ms,
  pauseOf,
  repeat,
} from './reference-terms.js';
import type { RandomWorld } from './world.js';

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

class Paper extends Branches {
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
  protected compensate(env: Env, undo: readonly Undo[], t: number, log: Log): number {
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

  protected list(steps: readonly Step[], env: Env, path: string, t: number, cancelAt: number, log: Log): End {
    let at = t;
    for (const step of steps) {
      const end = this.step(step, env, path, at, cancelAt, log);
      if (end.kind !== 'ok') return end;
      at = end.at;
    }
    return { at, kind: 'ok', output: null };
  }

  protected step(step: Step, env: Env, parent: string, t: number, cancelAt: number, log: Log): End {
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
    if ('waitForEvent' in step) return this.event(step, env.prefix + path, t, cancelAt);
    if ('do' in step) return this.group(step as DoStep, env, path, t, cancelAt, log);
    throw new Error(`unknown step ${JSON.stringify(step)}`);
  }

  /** A lock is taken by try: it is there or it is not. */
  private group(step: DoStep, env: Env, path: string, t: number, cancelAt: number, log: Log): End {
    if (step.lock === undefined) return this.list(step.do, env, path, t, cancelAt, log);
    if (!this.world.claim(env.prefix + path))
      return { at: t + 1, kind: 'failed', code: 'lock-conflict', retryable: true };
    const end = this.list(step.do, env, path, t + 1, cancelAt, log);
    return { ...end, at: end.at + 1 };
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
}
