/** Lets at most `size` tasks run at a time; the others wait in order. */
export class Gate {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly size: number) {}

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.running >= this.size) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      return await task();
    } finally {
      // The place is handed on without being freed, so that nobody can overtake the one who waits.
      const next = this.waiting.shift();
      if (next === undefined) this.running--;
      else next();
    }
  }
}
