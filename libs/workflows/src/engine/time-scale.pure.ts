/** Dry runs do not wait as long as real ones: their timers are scaled, with a floor. */
import { durationMs } from '@opsloop/contracts';
import type { CompiledFlow, FlowDocument, RunContext, Step } from '@opsloop/contracts';

/** A day becomes 86 s, 5 minutes 0.3 s. */
export const TIME_SCALE = 0.001;
/** Shorter turns would only burn events: a reconcile of 20 minutes, looked at each 15 s, has 80 looks in 1.2 s. */
const FLOOR_MS = 10;

type Times = Pick<RunContext, 'dryRun' | 'timeScale'>;

/** How long a timer of this run really waits. */
export function scaledMs(context: Times, ms: number): number {
  if (context.dryRun !== true || ms <= 0) return ms;
  return Math.max(Math.min(ms, FLOOR_MS), Math.round(ms * (context.timeScale ?? TIME_SCALE)));
}

/** The flow with every timer of its verbs scaled. Timeouts of calls and steps stay: reads are real. */
export function scaledFlow(ir: CompiledFlow, context: Times): CompiledFlow {
  return context.dryRun === true ? { ...ir, flow: new Scaling(context).flow(ir.flow) } : ir;
}

class Scaling {
  constructor(private readonly context: Times) {}

  flow(flow: FlowDocument): FlowDocument {
    return {
      ...flow,
      do: this.steps(flow.do),
      ...(flow.catch === undefined ? {} : { catch: flow.catch.map((clause) => this.clause(clause)) }),
      ...(flow.finally === undefined ? {} : { finally: this.steps(flow.finally) }),
    };
  }

  private steps(steps: readonly Step[]): Step[] {
    return steps.map((step) => this.step(step));
  }

  private clause<C extends { do?: Step[] }>(clause: C): C {
    return clause.do === undefined ? clause : { ...clause, do: this.steps(clause.do) };
  }

  private step(step: Step): Step {
    if ('reconcile' in step) {
      const { every = '10s', stable, deadline } = step.reconcile;
      const times = { every: this.time(every), deadline: this.time(deadline) };
      const reconcile = { ...step.reconcile, ...times, ...(stable === undefined ? {} : { stable: this.time(stable) }) };
      return { ...step, reconcile, ...(step.do === undefined ? {} : { do: this.steps(step.do) }) };
    }
    if ('loop' in step) {
      const { every, max } = step.loop;
      const loop = {
        ...step.loop,
        ...(every === undefined ? {} : { every: this.time(every) }),
        max: { ...max, ...(max.duration === undefined ? {} : { duration: this.time(max.duration) }) },
      };
      return { ...step, loop, do: this.steps(step.do) };
    }
    if ('forEach' in step) {
      const { batch } = step.forEach;
      const scaled = batch?.pause === undefined ? batch : { ...batch, pause: this.time(batch.pause) };
      const forEach = scaled === undefined ? step.forEach : { ...step.forEach, batch: scaled };
      return { ...step, forEach, do: this.steps(step.do) };
    }
    if ('waitForEvent' in step && step.waitForEvent.timeout !== undefined)
      return { ...step, waitForEvent: { ...step.waitForEvent, timeout: this.time(step.waitForEvent.timeout) } };
    if ('switch' in step) return { ...step, switch: step.switch.map((entry) => this.clause(entry)) };
    if ('try' in step) {
      return {
        ...step,
        try: this.steps(step.try),
        ...(step.catch === undefined ? {} : { catch: step.catch.map((clause) => this.clause(clause)) }),
        ...(step.finally === undefined ? {} : { finally: this.steps(step.finally) }),
      };
    }
    return 'do' in step ? ({ ...step, do: this.steps(step.do) } as Step) : step;
  }

  private time(text: string): string {
    return `${scaledMs(this.context, durationMs(text))}ms`;
  }
}
