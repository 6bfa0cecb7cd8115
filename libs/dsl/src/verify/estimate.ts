/**
 * What a run may cost: history events, time, things in flight. Numbers of Temporal: a call is 6 events (3 of the
 * activity, 3 of the workflow task), a timer 5, a child 9, an Update 4; measured on the server the project pins.
 */
import { durationMs, type CallTimeout, type FlowDocument, type RetryPolicy } from '@opsloop/contracts';
import type { JsonObject } from '@opsloop/contracts';
import { walkSchema } from './shapes.js';
import type { FlowModel, Node } from './model.js';

export const EVENTS = { call: 6, local: 1, timer: 5, child: 9, update: 4, signal: 4 } as const;
/** Where a run suggests to be continued, where Temporal warns, and where it ends the run. */
export const HISTORY = { suggest: 4_096, warn: 10_240, end: 51_200 } as const;
/** Pending activities or children of one run: our own limit and the server's. */
export const PENDING = { own: 500, server: 2_000 } as const;
/** Defaults of the interpreter, where nobody says anything. */
const START_TO_CLOSE_MS = 60_000;
const RECONCILE_EVERY_MS = 10_000;
const ATTEMPTS = 5;

export interface Estimate {
  /** Most events, when every list has its known length; an unknown one counts once. */
  events: number;
  /** Time that timers alone surely take. */
  leastMs: number;
  /** Longest time; undefined when only the run can know. */
  mostMs: number | undefined;
  /** Most things in flight at once. */
  pending: number;
}

/** Length of the list of a forEach, when something says it. */
export type ItemsOf = (node: Node) => number | undefined;

const NOTHING: Estimate = { events: 0, leastMs: 0, mostMs: 0, pending: 0 };

const plus = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a + b;
const times = (a: number | undefined, n: number): number | undefined =>
  n === 0 ? 0 : a === undefined ? undefined : a * n;
const most = (list: (number | undefined)[]): number | undefined =>
  list.some((one) => one === undefined) ? undefined : Math.max(0, ...(list as number[]));

function inOrder(list: readonly Estimate[]): Estimate {
  return list.reduce(
    (sum, one) => ({
      events: sum.events + one.events,
      leastMs: sum.leastMs + one.leastMs,
      mostMs: plus(sum.mostMs, one.mostMs),
      pending: Math.max(sum.pending, one.pending),
    }),
    NOTHING,
  );
}

function oneOf(list: readonly Estimate[]): Estimate {
  return {
    events: Math.max(0, ...list.map((one) => one.events)),
    leastMs: list.length === 0 ? 0 : Math.min(...list.map((one) => one.leastMs)),
    mostMs: most(list.map((one) => one.mostMs)),
    pending: Math.max(0, ...list.map((one) => one.pending)),
  };
}

function beside(list: readonly Estimate[], limit: number): Estimate {
  const widest = list.map((one) => one.pending).sort((a, b) => b - a);
  const rounds = Math.ceil(list.length / limit);
  return {
    events: list.reduce((sum, one) => sum + one.events, 0),
    leastMs: Math.max(0, ...list.map((one) => one.leastMs)),
    mostMs: times(most(list.map((one) => one.mostMs)), rounds),
    pending: widest.slice(0, limit).reduce((sum, one) => sum + one, 0),
  };
}

export class Estimator {
  private readonly known = new Map<Node, Estimate>();

  constructor(
    private readonly flow: FlowDocument,
    private readonly itemsOf: ItemsOf,
    /** Estimate of a sub-flow by its name; a child has a history of its own. */
    private readonly subFlow: (node: Node) => Pick<Estimate, 'mostMs'> | undefined = () => undefined,
  ) {}

  of(node: Node): Estimate {
    const known = this.known.get(node);
    if (known !== undefined) return known;
    const inner = this.verb(node);
    const { step } = node;
    let result = inner;
    if (step !== undefined) {
      if (step.if !== undefined) result = { ...result, leastMs: 0 };
      if (typeof step.timeout === 'string' && !('call' in step)) {
        const bound = durationMs(step.timeout);
        result = { ...result, mostMs: Math.min(result.mostMs ?? bound, bound) };
      }
      if (step.retry !== undefined && !('call' in step)) result = this.repeated(result, step.retry);
    }
    this.known.set(node, result);
    return result;
  }

  /** The steps of one list of a block. */
  list(node: Node, branch: string): Estimate[] {
    return node.children.filter((child) => child.branch === branch).map((child) => this.of(child));
  }

  private repeated(one: Estimate, retry: RetryPolicy | string): Estimate {
    const policy = this.policy(retry);
    const attempts = policy.maximumAttempts ?? ATTEMPTS;
    if (attempts === 0) return { ...one, mostMs: undefined };
    return {
      ...one,
      events: one.events * attempts + EVENTS.timer * (attempts - 1),
      mostMs: plus(times(one.mostMs, attempts), backoffs(policy, attempts)),
    };
  }

  policy(retry: RetryPolicy | string | undefined): RetryPolicy {
    return typeof retry === 'string' ? (this.flow.use?.retries?.[retry] ?? {}) : (retry ?? {});
  }

  private verb(node: Node): Estimate {
    const step = node.step;
    if (step === undefined) return inOrder(this.list(node, 'do'));
    if ('call' in step) return this.call(node);
    if ('run' in step) {
      const below = this.subFlow(node);
      return { events: EVENTS.child, leastMs: 0, mostMs: step.detach === true ? 0 : below?.mostMs, pending: 1 };
    }
    if ('parallel' in step) {
      const branches = this.list(node, 'do');
      const all = beside(branches, step.parallel.limit ?? Math.max(1, branches.length));
      return step.parallel.join === undefined || step.parallel.join === 'all'
        ? all
        : { ...all, leastMs: Math.min(...branches.map((one) => one.leastMs)) };
    }
    if ('switch' in step) {
      const branches = step.switch.map((_, i) => inOrder(this.list(node, `switch/${i}`)));
      return oneOf(step.switch.some((branch) => branch.when === undefined) ? branches : [...branches, NOTHING]);
    }
    if ('try' in step) return this.guarded(node, step.catch?.length ?? 0);
    if ('forEach' in step) return this.forEach(node);
    if ('loop' in step) return this.loop(node);
    if ('reconcile' in step) return this.reconcile(node);
    if ('wait' in step) {
      const { for: duration } = step.wait;
      const ms = duration === undefined || duration.includes('${') ? undefined : durationMs(duration);
      return { events: EVENTS.timer, leastMs: ms ?? 0, mostMs: ms, pending: 1 };
    }
    if ('approval' in step || 'waitForEvent' in step) {
      const spec = ('approval' in step ? step.approval : step.waitForEvent) as unknown as JsonObject;
      const timeout = spec['timeout'];
      const ms = typeof timeout === 'string' && !timeout.includes('${') ? durationMs(timeout) : undefined;
      return { events: EVENTS.timer + EVENTS.update, leastMs: 0, mostMs: ms, pending: 1 };
    }
    if ('emit' in step) return { events: EVENTS.local, leastMs: 0, mostMs: 0, pending: 1 };
    if ('do' in step && Array.isArray(step.do)) {
      const body = inOrder(this.list(node, 'do'));
      return 'lock' in step && step.lock !== undefined ? { ...body, events: body.events + 2 * EVENTS.local } : body;
    }
    return NOTHING;
  }

  private call(node: Node): Estimate {
    const { step, atom } = node;
    if (step === undefined || !('call' in step)) return NOTHING;
    const local = atom?.execution === 'local';
    return {
      events: local ? EVENTS.local : EVENTS.call,
      leastMs: 0,
      mostMs: this.callMs(node),
      pending: local ? 0 : 1,
    };
  }

  /** Attempts and the pauses between them; time in a queue is not counted, it has a limit of its own. */
  callMs(node: Node): number | undefined {
    const { step, atom } = node;
    if (step === undefined || !('call' in step)) return 0;
    const { startToClose, scheduleToClose } = timeoutsOf(node, this.flow);
    const policy = step.retry ?? this.flow.defaults?.retry ?? atom?.retry;
    const once = step.retry === undefined && atom?.idempotency === 'none';
    const attempts = once ? 1 : (this.policy(policy).maximumAttempts ?? ATTEMPTS);
    if (scheduleToClose !== undefined) return durationMs(scheduleToClose);
    if (attempts === 0) return undefined;
    const one = startToClose === undefined ? START_TO_CLOSE_MS : durationMs(startToClose);
    return one * attempts + backoffs(this.policy(policy), attempts);
  }

  private guarded(node: Node, clauses: number): Estimate {
    const body = inOrder(this.list(node, 'try'));
    const handlers = oneOf(Array.from({ length: clauses }, (_, i) => inOrder(this.list(node, `catch/${i}`))));
    const last = inOrder(this.list(node, 'finally'));
    return {
      events: body.events + handlers.events + last.events,
      leastMs: last.leastMs + (clauses === 0 ? body.leastMs : Math.min(body.leastMs, body.leastMs + handlers.leastMs)),
      mostMs: plus(plus(body.mostMs, handlers.mostMs), last.mostMs),
      pending: Math.max(body.pending, handlers.pending, last.pending),
    };
  }

  private forEach(node: Node): Estimate {
    const { step } = node;
    if (step === undefined || !('forEach' in step)) return NOTHING;
    const { batch, isolate } = step.forEach;
    const items = this.itemsOf(node);
    const item = inOrder(this.list(node, 'do'));
    const gate = inOrder(this.list(node, 'gate'));
    const batches = batch === undefined ? 1 : batchesOf(batch, items ?? 1);
    const width = Math.min(concurrencyOf(node), items ?? Number.POSITIVE_INFINITY);
    const between = Math.max(0, batches - 1);
    const pause = batch?.pause === undefined ? 0 : durationMs(batch.pause);
    const own = isolate === true ? batches * EVENTS.child : item.events * (items ?? 1);
    return {
      events: own + between * (gate.events + (pause > 0 ? EVENTS.timer : 0)),
      // A list that the input gives may be empty.
      leastMs: Array.isArray(step.forEach.in) && items !== 0 ? item.leastMs + between * pause : 0,
      mostMs:
        items === undefined
          ? undefined
          : plus(times(item.mostMs, rounds(items, batches, width)), times(plus(gate.mostMs, pause), between)),
      pending: isolate === true ? width : width * Math.max(1, item.pending),
    };
  }

  private loop(node: Node): Estimate {
    const { step } = node;
    if (step === undefined || !('loop' in step)) return NOTHING;
    const { max, every } = step.loop;
    const body = inOrder(this.list(node, 'do'));
    const pause = every === undefined ? 0 : durationMs(every);
    const turn = body.events + (pause > 0 ? EVENTS.timer : 0);
    const bound = max.duration === undefined ? undefined : durationMs(max.duration);
    // Bounded by time alone: as often as its pause lets it, a call takes 10 ms at least.
    const turns = max.iterations ?? Math.ceil((bound ?? 0) / Math.max(10, pause));
    const byTurns = plus(times(body.mostMs, turns), pause * Math.max(0, turns - 1));
    return {
      events: turns * turn,
      leastMs: 0,
      // The duration is looked at between two turns: the last one may still be going on.
      mostMs:
        bound === undefined
          ? byTurns
          : most([Math.min(byTurns ?? bound, bound), body.mostMs === undefined ? undefined : 0]),
      pending: body.pending,
    };
  }

  private reconcile(node: Node): Estimate {
    const { step } = node;
    if (step === undefined || !('reconcile' in step)) return NOTHING;
    const { every, deadline, stable } = step.reconcile;
    const look = inOrder(this.list(node, 'observe'));
    const act = inOrder(this.list(node, 'do'));
    const pause = every === undefined ? RECONCILE_EVERY_MS : durationMs(every);
    const bound = durationMs(deadline);
    const turns = Math.max(1, Math.ceil(bound / Math.max(10, pause)));
    return {
      events: turns * (look.events + act.events + EVENTS.timer),
      leastMs: stable === undefined ? 0 : durationMs(stable),
      mostMs: plus(bound, plus(look.mostMs, act.mostMs)),
      pending: Math.max(look.pending, act.pending),
    };
  }
}

function rounds(items: number, batches: number, width: number): number {
  return Math.max(batches, Math.ceil(items / Math.max(1, width)));
}

/** Batches of a list, as the interpreter cuts it without a plan. */
export function batchesOf(
  batch: { canary?: number | undefined; size?: number | string | undefined; max?: number | undefined },
  items: number,
): number {
  const max = batch.max ?? Number.POSITIVE_INFINITY;
  const text = String(batch.size ?? items);
  const wanted = text.endsWith('%') ? Math.floor((items * Number.parseFloat(text)) / 100) : Number(text);
  const size = Math.max(1, Math.min(wanted, max));
  const canary = Math.min(batch.canary ?? 0, max, items);
  return (canary > 0 ? 1 : 0) + Math.ceil((items - canary) / size);
}

/** Items in flight; a template counts as one, unless the schema of its input names a maximum. */
export function concurrencyOf(node: Node): number {
  const step = node.step;
  if (step === undefined || !('forEach' in step)) return 1;
  return typeof step.forEach.concurrency === 'number' ? step.forEach.concurrency : 1;
}

function backoffs(policy: RetryPolicy, attempts: number): number {
  const initial = policy.initialInterval === undefined ? 1_000 : durationMs(policy.initialInterval);
  const maximum = policy.maximumInterval === undefined ? 60_000 : durationMs(policy.maximumInterval);
  const coefficient = policy.backoffCoefficient ?? 2;
  let sum = 0;
  let pause = initial;
  // 10,000 attempts at most, by the schema.
  for (let n = 1; n < attempts; n += 1) {
    sum += Math.min(maximum, pause);
    pause = Math.min(maximum, pause * coefficient);
  }
  return sum;
}

/** Field by field the first that is set: step, flow defaults, manifest. `from` says who set startToClose. */
export function timeoutsOf(node: Node, flow: FlowDocument): CallTimeout & { from?: 'step' | 'flow' | 'atom' } {
  const step = node.step;
  const own: CallTimeout =
    step === undefined || step.timeout === undefined
      ? {}
      : typeof step.timeout === 'string'
        ? { scheduleToClose: step.timeout }
        : step.timeout;
  const levels = [
    ['step', own],
    ['flow', flow.defaults?.timeout ?? {}],
    ['atom', node.atom?.timeout ?? {}],
  ] as const;
  const result: CallTimeout & { from?: 'step' | 'flow' | 'atom' } = {};
  for (const key of ['startToClose', 'scheduleToClose', 'scheduleToStart', 'heartbeat'] as const) {
    const level = levels.find(([, timeout]) => timeout[key] !== undefined);
    if (level === undefined) continue;
    result[key] = level[1][key]!;
    if (key === 'startToClose') result.from = level[0];
  }
  return result;
}

/** Most items that a schema lets a list have, or the length of a literal one. */
export function itemsBySchema(model: Pick<FlowModel, 'flow'>): ItemsOf {
  return (node) => {
    const step = node.step;
    if (step === undefined || !('forEach' in step)) return undefined;
    const list = step.forEach.in;
    if (Array.isArray(list)) return list.length;
    const path = typeof list === 'string' ? /^\$\{input\.([A-Za-z0-9_]+)\??\}$/.exec(list)?.[1] : undefined;
    const schema = model.flow.input?.schema;
    if (path === undefined || schema === undefined) return undefined;
    const found = walkSchema(schema, [path]);
    const items = typeof found === 'object' && 'schema' in found ? found.schema['maxItems'] : undefined;
    return typeof items === 'number' ? items : undefined;
  };
}
