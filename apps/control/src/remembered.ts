/** What admission remembers is at most this old: a document that changed elsewhere counts this much later. */
const FRESH_MS = 1_000;
/** From this age on an answer that is used is asked for again, so that of a stream of starts none waits for it. */
const AHEAD_FROM_MS = 400;
/** Asked when the start that noticed it is through: it takes as long as the start itself. */
const AHEAD_MS = 100;

interface Entry<T> {
  at: number;
  value: Promise<T>;
  ahead: boolean;
}

/** The answer to one question, remembered for a second. A failure is not remembered. */
export class Remembered<T> {
  private entry: Entry<T> | undefined;

  constructor(private readonly ask: () => Promise<T>) {}

  get(): Promise<T> {
    const { entry } = this;
    const age = entry === undefined ? Infinity : performance.now() - entry.at;
    if (entry === undefined || age >= FRESH_MS) return this.askNow();
    if (age >= AHEAD_FROM_MS && !entry.ahead) {
      entry.ahead = true;
      setTimeout(() => void this.askAhead(entry), AHEAD_MS).unref();
    }
    return entry.value;
  }

  /** The next question is asked. */
  forget(): void {
    this.entry = undefined;
  }

  private askNow(): Promise<T> {
    const entry = { at: performance.now(), value: this.ask(), ahead: false };
    this.entry = entry;
    entry.value.catch(() => {
      if (this.entry === entry) this.entry = undefined;
    });
    return entry.value;
  }

  /** Until the answer is there the old one counts, for as long as it is fresh. */
  private async askAhead(old: Entry<T>): Promise<void> {
    if (this.entry !== old) return;
    const at = performance.now();
    const value = this.ask();
    try {
      await value;
    } catch {
      // Whoever finds the old one too old asks once more, and is told.
      return;
    }
    if (this.entry === old) this.entry = { at, value, ahead: false };
  }
}
