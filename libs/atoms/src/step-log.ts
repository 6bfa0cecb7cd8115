import {
  LOG_BATCH_MAX,
  LOG_LINE_CHARS_MAX,
  LOG_STEP_CHARS_MAX,
  LOG_STEP_LINES_MAX,
  type LogBatch,
  type LogLine,
  type LogStream,
} from '@opsloop/contracts';

/** Where lines go; may fail, and is then asked again with the next lines. */
export type LogSink = (run: string, batch: LogBatch) => Promise<void>;

/** Soon enough to watch, seldom enough that a talkative script costs four small transactions a second. */
const FLUSH_MS = 250;
/** A step that has ended waits this long for its last lines to be stored, never longer: they are not its result. */
const CLOSE_MS = 2_000;
/** A text without line breaks is cut here: a program that prints no newline must not fill the memory. */
const PARTIAL_CHARS_MAX = 64 * 1024;
const LAST_LINES = 5;
const PROBLEM_CHARS_MAX = 600;

export interface StepLogOptions {
  run: string;
  step: string;
  attempt: number;
  sink?: LogSink | undefined;
}

/** What one attempt of a step says: split into lines, cleaned of secrets, bounded, and sent on in batches. */
export class StepLog {
  /** Takes secrets out of a line before anybody else sees it. */
  redact: (text: string) => string = (text) => text;
  private readonly pending: LogLine[] = [];
  private readonly tail: string[] = [];
  private readonly partial = new Map<LogStream, string>();
  private lines = 0;
  private chars = 0;
  private dropped = 0;
  private timer: NodeJS.Timeout | undefined;
  private sending: Promise<void> | undefined;

  constructor(private readonly options: StepLogOptions) {}

  /** Text of a stream as it comes, with or without line breaks. */
  write(stream: LogStream, text: string): void {
    const parts = ((this.partial.get(stream) ?? '') + text).split(/\r?\n/);
    const rest = parts.pop()!;
    for (const line of parts) this.line(stream, line);
    if (rest.length <= PARTIAL_CHARS_MAX) return void this.partial.set(stream, rest);
    // Cleaned and cut as a whole, so that no half of a secret stays at the cut.
    this.line(stream, rest);
    this.partial.delete(stream);
  }

  line(stream: LogStream, raw: string): void {
    if (raw === '') return;
    if (this.lines >= LOG_STEP_LINES_MAX || this.chars >= LOG_STEP_CHARS_MAX) {
      this.dropped += 1;
      // What a program says last is what matters when it fails.
      this.remember(this.clean(raw));
      return;
    }
    const text = this.clean(raw);
    this.lines += 1;
    this.chars += text.length;
    this.remember(text);
    this.push({ at: new Date().toISOString(), stream, text });
  }

  /** The last lines, for the problem of a step that failed. */
  last(): string[] {
    return [...this.tail];
  }

  /** Sends what is left. Never fails, and never takes longer than 2 s. */
  async close(): Promise<void> {
    for (const [stream, text] of this.partial) this.line(stream, text);
    this.partial.clear();
    if (this.dropped > 0)
      this.push({ at: new Date().toISOString(), stream: 'log', text: `… ${this.dropped} further lines are left out` });
    if (this.options.sink === undefined || (this.pending.length === 0 && this.sending === undefined)) return;
    clearTimeout(this.timer);
    let late: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => (late = setTimeout(resolve, CLOSE_MS)));
    const drained = (async () => {
      await this.sending;
      await this.send();
    })();
    await Promise.race([drained, deadline]);
    clearTimeout(late);
  }

  private clean(text: string): string {
    // The platform takes no text with the character NUL.
    const clean = this.redact(text).replaceAll('\0', '␀');
    return clean.length <= LOG_LINE_CHARS_MAX ? clean : `${clean.slice(0, LOG_LINE_CHARS_MAX - 1)}…`;
  }

  private remember(text: string): void {
    this.tail.push(text.slice(0, 200));
    if (this.tail.length > LAST_LINES) this.tail.shift();
  }

  private push(line: LogLine): void {
    if (this.options.sink === undefined) return;
    this.pending.push(line);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.sending ??= this.send().finally(() => (this.sending = undefined));
    }, FLUSH_MS);
  }

  /** The attempt is bounded, so what waits is too, however long the other side is away. */
  private async send(): Promise<void> {
    const { sink, run, step, attempt } = this.options;
    while (this.pending.length > 0) {
      const lines = this.pending.slice(0, LOG_BATCH_MAX);
      try {
        await sink!(run, { step, attempt, lines });
      } catch {
        // Kept for the next try; a step never fails for its log.
        return;
      }
      this.pending.splice(0, lines.length);
    }
  }
}

/** Of the last lines as many as a problem can carry, which stays below 2 KB. */
export function fittingLines(lines: readonly string[]): string[] {
  const kept: string[] = [];
  let left = PROBLEM_CHARS_MAX;
  for (const line of lines.toReversed()) {
    left -= line.length;
    if (left < 0) break;
    kept.unshift(line);
  }
  return kept;
}
