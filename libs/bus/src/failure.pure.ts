import { ERRORS, OpsError } from '@opsloop/contracts';

/** 100 + 200 + 400 + 800 ms: a poison message holds its partition for at most 1.5 s. */
export const ATTEMPTS_MAX = 5;
const FIRST_DELAY_MS = 100;
/** While a part we need is away, one try per second is enough to notice its return. */
const DELAY_MAX_MS = 1_000;
/** The cause is read by people; a stack or a SQL text of megabytes is not. */
const CAUSE_CHARS_MAX = 2_000;

export type Reaction = { do: 'single' } | { do: 'retry'; delayMs: number } | { do: 'dead'; cause: string };

/**
 * What to do after a handler failed. A batch is redone one by one, so that only the culprit pays. Of a single message:
 * errors that a repeat cannot heal are put aside at once, others after the fifth failure. `unavailable` and `overload`
 * are no fault of the message: it waits for the missing part, however long that takes, and nothing is lost.
 */
export function reactionTo(error: unknown, batch: number, attempts: number): Reaction {
  if (batch > 1) return { do: 'single' };
  if (error instanceof OpsError) {
    if (error.code === 'unavailable' || error.code === 'overload') return { do: 'retry', delayMs: delayMs(attempts) };
    if (ERRORS[error.code].bus === 'dead') return { do: 'dead', cause: causeOf(error) };
  }
  if (attempts + 1 >= ATTEMPTS_MAX) return { do: 'dead', cause: causeOf(error) };
  return { do: 'retry', delayMs: delayMs(attempts) };
}

function delayMs(attempts: number): number {
  // Above 2^10 the cap has long been reached, and shifts must not overflow after days of trying.
  return Math.min(DELAY_MAX_MS, FIRST_DELAY_MS * 2 ** Math.min(attempts, 10));
}

function causeOf(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return text.slice(0, CAUSE_CHARS_MAX);
}
