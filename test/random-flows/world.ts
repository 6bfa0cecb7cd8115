/** What the world answers in a random run: a function of seed, step and attempt, whatever the order of calls. */
import type { Json } from '@opsloop/contracts';
import { Seeded, hash } from './seed.js';

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
}
