/** The world around random runs whose worker is killed: what it answers, and what it remembers having been asked. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AtomCall, Json, RunOutcome } from '@opsloop/contracts';
import { claimAnswer, differencesOf } from './compare.js';
import type { RandomFlow } from './generate.js';
import { predict } from './reference.js';
import { type Outcome, RandomWorld } from './world.js';

/** What it does may not depend on the attempt: nobody knows whether the answer of a killed one arrived. */
export class SteadyWorld extends RandomWorld {
  override call(step: string): Outcome {
    const outcome = super.call(step, 1);
    return 'ok' in outcome ? outcome : { ...outcome, retryable: false };
  }

  /** Somebody always answers: real time has no hour to wait for the others. */
  override approval(step: string): { ms: number; answer: 'approve' | 'reject' } {
    return super.approval(step) ?? { ms: 10, answer: 'approve' };
  }
}

export interface Asked {
  type: string;
  argument: AtomCall & { run?: string; step?: string; outcome?: RunOutcome; report?: Report };
}

export interface Report {
  change: string;
  path: string;
  workflowId: string;
}

export interface Answered {
  value?: Json;
  code?: string;
  retryable?: boolean;
}

/** One run, and all that the world has seen of it. */
export class KilledRun {
  outcome: RunOutcome | undefined;
  private readonly emitted = new Set<string>();
  /** Under which keys each step has acted. */
  private readonly keys = new Map<string, Set<string>>();
  /** Locks that it holds. */
  private readonly held = new Set<string>();
  private readonly polls = new Map<string, number>();
  private readonly calls = new Set<string>();
  /** Calls that came again, since nobody knew how the first ended. */
  again = 0;

  constructor(
    readonly seed: number,
    readonly flow: RandomFlow,
    readonly world: SteadyWorld,
    /** A person is asked. */
    private readonly decide: (report: Report, answer: 'approve' | 'reject') => void,
  ) {}

  async answer({ type, argument }: Asked): Promise<Answered> {
    switch (type) {
      case TEMPORAL_NAMES.reportActivity:
        this.outcome = argument.outcome!;
        return { value: null };
      case TEMPORAL_NAMES.emitActivity:
        this.emitted.add(argument.context.step);
        return { value: null };
      case TEMPORAL_NAMES.approvalActivity: {
        const { change, path } = argument.report!;
        if (change === 'opened') this.decide(argument.report!, this.world.approval(path).answer);
        return { value: null };
      }
      case TEMPORAL_NAMES.claimActivity: {
        const value = claimAnswer(this.world, argument.step!);
        if ((value as { granted: boolean }).granted) this.held.add(argument.step!);
        return { value };
      }
      case TEMPORAL_NAMES.releaseActivity:
        this.held.delete(argument.step!);
        return { value: null };
      default:
        return type.startsWith('opsloop.') ? { value: null } : this.act(type, argument);
    }
  }

  private async act(type: string, { context: { step, key } }: AtomCall): Promise<Answered> {
    this.keys.set(step, (this.keys.get(step) ?? new Set()).add(key));
    const phase = /^j\.job\.(.+)$/.exec(type)?.[1];
    if (phase === 'poll') return this.poll(step);
    if (this.calls.has(`${type} ${key}`)) this.again += 1;
    this.calls.add(`${type} ${key}`);
    const outcome = this.world.call(step);
    await new Promise((resolve) => setTimeout(resolve, outcome.ms));
    if (!('ok' in outcome)) return { code: outcome.code };
    return { value: phase === 'start' ? { id: step } : outcome.ok };
  }

  private poll(step: string): Answered {
    const asked = (this.polls.get(step) ?? 0) + 1;
    this.polls.set(step, asked);
    const { polls, end } = this.world.job(step);
    if (asked < polls) return { code: 'not-yet', retryable: true };
    return 'ok' in end ? { value: end.ok } : { code: end.code };
  }

  /** What went otherwise than on paper; undefined when paper cannot tell. */
  differences(): string[] | undefined {
    const { flow, world, outcome } = this;
    const expected = predict(flow.flow, flow.flows, world, { timeless: true });
    if (expected.ambiguous) return undefined;
    const emitted = [...this.emitted].map((step) => ({ step }));
    return [
      ...[...this.keys].filter(([, keys]) => keys.size > 1).map(([step]) => `${step} has had several keys`),
      ...[...this.held].map((step) => `the lock of ${step} was never freed`),
      ...differencesOf({ ...expected, undone: [] }, { ...outcome!, emitted }),
    ].map((line) => `seed ${this.seed}: ${line}`);
  }
}
