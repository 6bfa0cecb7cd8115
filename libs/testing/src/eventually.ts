export interface EventuallyOptions {
  /** Default 20 s: a wait costs nothing where the condition holds, and two cores are shared with every server. */
  timeoutMs?: number;
  /** Default 25 ms. */
  everyMs?: number;
}

/** Repeats `fn` until it does not throw and gives its result; at the deadline the last failure is thrown. */
export async function eventually<T>(fn: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const { timeoutMs = 20_000, everyMs = 25 } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await fn();
    } catch (error) {
      if (performance.now() >= deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
