/** Random flows that are valid by construction. */
import type { CatchClause, FlowDocument, ForEachSpec, Json, RetryPolicy, Step } from '@opsloop/contracts';
import { Seeded } from './seed.js';

/** Atoms of the random world; `a.*` change things and are undone by `u.undo`, `r.*` read, `j.*` are jobs. */
export const ATOMS = ['a.one@1', 'a.two@1', 'a.bare@1', 'r.look@1', 'j.job@1'] as const;

/** Types of all events that steps of the flow and of its sub-flows wait for. */
export function eventTypesOf(flow: RandomFlow): string[] {
  return [...new Set(JSON.stringify(flow).match(/(?<="type":")(?:sure|some|never)\.[^"]+/g))];
}

export interface RandomFlow {
  flow: FlowDocument;
  /** Flows that it runs, by reference. */
  flows: Record<string, FlowDocument>;
}

export interface Shape {
  /** Steps at most, about. */
  steps: number;
  depth: number;
  /** How it ends must not depend on how long things take: leaving for a new Temporal run waits for what is under way. */
  timeless?: boolean;
}

interface Place {
  depth: number;
  /** Other branches run meanwhile: nothing here may write `vars`. */
  concurrent: boolean;
  /** Calls of this and outer lists that surely have an output here. */
  known: string[];
  /** `iteration` is there. */
  turns: boolean;
}

/** Sub-flows are small, and there are no flows in them. */
const SUB_FLOW = { steps: 5, depth: 2 };
const USUAL: Shape = { steps: 22, depth: 4 };

export function randomFlow(seed: number, timeless = false): RandomFlow {
  const random = new Seeded(seed);
  const flows: Record<string, FlowDocument> = {};
  if (random.chance(0.35)) flows['test/child@1'] = new Maker(random, { ...SUB_FLOW, timeless }, {}).flow('test/child');
  return { flow: new Maker(random, { ...USUAL, timeless }, flows).flow('test/random'), flows };
}

class Maker {
  private left: number;
  private ids = 0;

  constructor(
    private readonly random: Seeded,
    private readonly shape: Shape,
    private readonly flows: Record<string, FlowDocument>,
  ) {
    this.left = shape.steps;
  }

  flow(name: string): FlowDocument {
    const { random } = this;
    const body = this.list({ depth: 0, concurrent: false, known: [], turns: false });
    const calls = body.filter((step) => 'call' in step && step.if === undefined).map((step) => step.id);
    return {
      dsl: 'opsloop/v1',
      kind: 'flow',
      name,
      version: '1.0.0',
      vars: { n: 0 },
      do: body,
      ...(random.chance(0.25) ? { catch: [this.clause(0)] } : {}),
      ...(random.chance(0.3) ? { finally: [this.call({ depth: 9, concurrent: true, known: [], turns: false })] } : {}),
      output: { n: '${vars.n}', seen: Object.fromEntries(calls.map((id) => [id, `\${steps.${id}.output?}`])) },
    };
  }

  /** One to four steps that see each other. */
  private list(place: Place, most = 4): Step[] {
    const count = Math.max(1, Math.min(this.left, this.random.int(1, most)));
    const inner = { ...place, known: [...place.known] };
    const steps: Step[] = [];
    for (let i = 0; i < count; i += 1) {
      const step = this.step(inner);
      steps.push(step);
      if ('call' in step && step.if === undefined) inner.known.push(step.id);
      if ('return' in step || 'raise' in step) if (step.if === undefined) break;
    }
    return steps;
  }

  private step(place: Place): Step {
    this.left -= 1;
    const { random } = this;
    const simple = place.depth >= this.shape.depth || this.left <= 0;
    const step = simple || random.chance(0.45) ? this.simple(place) : this.block(place);
    if (random.chance(0.15)) step.if = this.condition(place);
    return step;
  }

  private simple(place: Place): Step {
    const { random } = this;
    const roll = random.next();
    if (roll < 0.66) return this.call(place);
    if (roll < 0.74) return { id: this.id('w'), wait: { for: `${random.int(1, 9_000)}ms` } };
    if (roll < 0.84 && !place.concurrent)
      return { id: this.id('s'), set: { n: { $logic: { '+': [{ var: 'vars.n' }, 1] } } } };
    if (roll < 0.88) return { id: this.id('e'), emit: { type: 'test.happened', data: { n: '${vars.n}' } } };
    if (roll < 0.9)
      return { id: this.id('x'), if: this.condition(place), raise: { type: random.pick(['runtime', 'policy']) } };
    if (roll < 0.915 && !(place.concurrent && this.shape.timeless === true))
      return { id: this.id('r'), if: this.condition(place), return: { n: '${vars.n}' } };
    if (roll < 0.945 && Object.keys(this.flows).length > 0)
      return {
        id: this.id('f'),
        run: 'test/child@1',
        ...(random.chance(0.3) ? { compensate: { call: 'u.undo@1' } } : {}),
      };
    if (roll < 0.97)
      return {
        id: this.id('h'),
        approval: {
          title: 'go on?',
          approvers: {},
          timeout: this.shape.timeless === true ? '3600000ms' : `${random.int(100, 8_000)}ms`,
          onTimeout: random.pick(['reject', 'approve', 'fail'] as const),
        },
      };
    return this.event();
  }

  /** Without times it must be certain whether the events come. */
  private event(): Step {
    const { random } = this;
    const id = this.id('v');
    const timeless = this.shape.timeless === true;
    const comes = random.chance(0.8);
    const sort = timeless ? (comes ? 'sure' : 'never') : 'some';
    const types = [{ type: `${sort}.${id}.a` }, { type: `${sort}.${id}.b` }];
    return {
      id,
      waitForEvent: {
        ...random.pick([{ one: types[0]! }, { any: types }, { all: types }]),
        timeout: timeless && comes ? '3600000ms' : `${random.int(100, 15_000)}ms`,
      },
    };
  }

  private call(_place: Place): Step {
    const { random } = this;
    return {
      id: this.id('c'),
      call: random.pick(ATOMS),
      with: {},
      ...(random.chance(0.3) ? { retry: this.retry() } : {}),
      ...(random.chance(0.1) ? { compensate: null } : {}),
    };
  }

  private block(place: Place): Step {
    const { random } = this;
    const inner: Place = { ...place, depth: place.depth + 1 };
    const roll = random.next();
    if (roll < 0.16) return this.group(inner);
    if (roll < 0.36) return this.tryBlock(inner);
    if (roll < 0.56) return this.parallel(inner);
    if (roll < 0.66) return this.choice(inner);
    if (roll < 0.84) return this.each(inner);
    if (roll < 0.94) return this.loop(inner);
    return this.reconcile(inner);
  }

  private group(place: Place): Step {
    const { random } = this;
    const id = this.id('d');
    const locked = random.chance(0.35);
    return {
      id,
      // Under a lock nothing may write `vars`.
      do: this.list(locked ? { ...place, concurrent: true } : place),
      ...(locked ? { lock: { claims: [{ path: `service/${id}`, mode: 'exclusive' as const }] } } : {}),
      ...(random.chance(0.35) && this.shape.timeless !== true ? { timeout: `${random.int(200, 12_000)}ms` } : {}),
      ...(random.chance(0.35) ? { retry: this.retry() } : {}),
    };
  }

  private tryBlock(place: Place): Step {
    const { random } = this;
    const clauses = random.chance(0.7)
      ? [this.clause(place.depth), ...(random.chance(0.3) ? [this.clause(place.depth)] : [])]
      : undefined;
    return {
      id: this.id('t'),
      try: this.list(place),
      ...(clauses === undefined ? {} : { catch: clauses }),
      ...(clauses === undefined || random.chance(0.5) ? { finally: [this.call(place)] } : {}),
    };
  }

  private clause(depth: number): CatchClause {
    const { random } = this;
    const retries = random.chance(0.4);
    return {
      ...(random.chance(0.6)
        ? {
            errors: {
              type: random.pick([
                'communication',
                'atom/a.x/broken',
                'runtime',
                'timeout',
                'batch-threshold',
                'lock-conflict',
              ]),
            },
          }
        : {}),
      ...(retries ? { retry: this.retry() } : {}),
      ...(retries && random.chance(0.5)
        ? {}
        : {
            do: random.chance(0.2) ? [] : [this.call({ depth: depth + 1, concurrent: true, known: [], turns: false })],
          }),
    };
  }

  private parallel(place: Place): Step {
    const { random } = this;
    const inner: Place = { ...place, concurrent: true };
    const count = random.int(2, 4);
    const branches: Step[] = [];
    for (let i = 0; i < count; i += 1) {
      const branch = this.step({ ...inner, known: [...place.known] });
      if (i > 0 && random.chance(0.25)) branch.needs = [random.pick(branches).id];
      branches.push(branch);
    }
    return {
      id: this.id('p'),
      parallel:
        this.shape.timeless === true
          ? { onError: 'waitAll' }
          : {
              ...(random.chance(0.35) ? { join: random.pick(['any', { count: random.int(1, count) }] as const) } : {}),
              ...(random.chance(0.35) ? { onError: 'waitAll' as const } : {}),
              ...(random.chance(0.25) ? { limit: random.int(1, 2) } : {}),
            },
      do: branches,
    };
  }

  private choice(place: Place): Step {
    const { random } = this;
    const cases = Array.from({ length: random.int(1, 2) }, () => ({
      when: this.condition(place),
      do: this.list(place, 2),
    }));
    return { id: this.id('k'), switch: [...cases, ...(random.chance(0.6) ? [{ do: this.list(place, 2) }] : [])] };
  }

  private each(place: Place): Step {
    const { random } = this;
    const items = Array.from({ length: random.int(0, 5) }, (_, i) => `i${i}`);
    const concurrency = random.pick([1, 1, 2, 3]);
    return {
      id: this.id('m'),
      forEach: {
        in: items as Json,
        as: 'item',
        concurrency,
        ...(random.chance(0.5) ? { collect: '${item}' } : {}),
        ...this.tolerance(concurrency),
        ...(random.chance(0.4)
          ? {
              batch: {
                ...(random.chance(0.5) ? { canary: 1 } : {}),
                size: random.int(1, 3),
                ...(random.chance(0.5) ? { pause: `${random.int(1, 5_000)}ms` } : {}),
              },
              ...(random.chance(0.2) ? { isolate: true } : {}),
            }
          : {}),
      },
      do: this.list({ ...place, concurrent: true }, 3),
    };
  }

  private tolerance(concurrency: number): Partial<ForEachSpec> {
    const { random } = this;
    const onItemError = random.pick(['continue', 'stop', 'compensate', undefined] as const);
    // Which items have begun when one fails depends on the time, unless they come one by one or all may fail.
    if (this.shape.timeless === true && concurrency > 1)
      return { tolerate: { failures: 99 }, ...(onItemError === 'compensate' ? { onItemError } : {}) };
    return {
      ...(random.chance(0.4) ? { tolerate: { failures: random.int(0, 2) } } : {}),
      ...(onItemError === undefined ? {} : { onItemError }),
    };
  }

  private loop(place: Place): Step {
    const { random } = this;
    const inner: Place = { ...place, turns: true };
    const until = random.chance(0.5);
    return {
      id: this.id('l'),
      loop: {
        ...(until ? { until: { '>=': [{ var: 'iteration' }, random.int(1, 4)] } } : {}),
        ...(random.chance(0.4) ? { every: `${random.int(1, 3_000)}ms` } : {}),
        max: { iterations: random.int(1, 4) },
      },
      do: this.list(inner, 2),
    };
  }

  private reconcile(_place: Place): Step {
    const { random } = this;
    const look = this.id('o');
    return {
      id: this.id('g'),
      reconcile: {
        goal: { '>=': [{ var: `steps.${look}.output.n` }, random.int(1, 5)] },
        every: `${random.int(500, 4_000)}ms`,
        deadline: this.shape.timeless === true ? '86400000ms' : `${random.int(5_000, 30_000)}ms`,
      },
      observe: { id: look, call: 'r.look@1', with: {}, retry: this.retry() },
      ...(random.chance(0.6)
        ? {
            do: [
              { id: this.id('c'), call: 'a.bare@1', with: {}, retry: { maximumAttempts: 2, initialInterval: '100ms' } },
            ],
          }
        : {}),
    };
  }

  private retry(): RetryPolicy {
    const { random } = this;
    return { maximumAttempts: random.int(1, 3), initialInterval: `${random.int(1, 2_000)}ms`, backoffCoefficient: 2 };
  }

  /** True or false about equally often, over what is surely there. */
  private condition({ known, turns }: Place): Json {
    const { random } = this;
    const left: Json[] = [{ var: 'vars.n' }, ...known.map((id) => ({ var: `steps.${id}.output.n` }))];
    if (turns) left.push({ var: 'iteration' });
    return { [random.pick(['<', '>', '<=', '>='])]: [random.pick(left), random.int(0, 4)] };
  }

  private id(prefix: string): string {
    return `${prefix}${(this.ids += 1)}`;
  }
}
