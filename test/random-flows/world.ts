/** What the world answers in a random run: a function of seed, step and attempt, whatever the order of calls. */
import type { Json } from '@opsloop/contracts';
import { Seeded, hash } from './seed.js';

/** How many events of a type come, all at once: more than one step in many repetitions waits for. */
export const EVENTS_SENT = 60;
/** How often a job is asked, and how long each answer takes. */
export const JOB_EVERY_MS = 200;
export const POLL_MS = 20;

export type Outcome = { ms: number } & ({ ok: Json } | { code: string; retryable: boolean });

/** Chances are so that most runs succeed and most of those have failed somewhere on the way. */
export class RandomWorld {
  constructor(
    private readonly seed: number,
    /** Share of attempts that fail. */
    private readonly trouble: number,
    /** Longest call. */
    private readonly longestMs = 5_000,
  ) {}

  call(step: string, attempt: number): Outcome {
    const random = new Seeded(hash(`${this.seed} ${step} ${attempt}`));
    const ms = random.int(1, this.longestMs);
    if (random.chance(this.trouble))
      return random.chance(0.6)
        ? { ms, code: 'communication', retryable: true }
        : { ms, code: 'atom/a.x/broken', retryable: false };
    return { ms, ok: { n: random.int(0, 5) } };
  }

  /** How people answer an approval: after a time, or not at all. */
  approval(step: string): { ms: number; answer: 'approve' | 'reject' } | undefined {
    const random = new Seeded(hash(`${this.seed} ${step} approval`));
    const ms = random.int(10, 9_000);
    return random.chance(0.2) ? undefined : { ms, answer: random.chance(0.75) ? 'approve' : 'reject' };
  }

  /** How often a job is asked until it has ended, and how. */
  job(step: string): { polls: number; end: { ok: Json } | { code: string } } {
    const random = new Seeded(hash(`${this.seed} ${step} job`));
    const polls = random.int(1, 4);
    if (random.chance(this.trouble)) return { polls, end: { code: 'atom/a.x/broken' } };
    return { polls, end: { ok: { n: random.int(0, 5) } } };
  }

  /** Whether a lock is free when it is tried. */
  claim(step: string): boolean {
    return new Seeded(hash(`${this.seed} ${step} claim`)).chance(0.85);
  }

  /** When events of the type come, counted from the start of the run, if they do. Names say what must be sure. */
  event(type: string): { ms: number } | undefined {
    const random = new Seeded(hash(`${this.seed} ${type} event`));
    const ms = random.int(1, 20_000);
    if (type.startsWith('sure.')) return { ms };
    return type.startsWith('never.') || random.chance(0.3) ? undefined : { ms };
  }
}
