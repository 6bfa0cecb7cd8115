import { OpsError, type Json } from '@opsloop/contracts';

/** What one step may put into the history of its run: histories end at 50 MB, and journals are carried along. */
export const OUTPUT_BYTES_MAX = 64 * 1024;
/**
 * Whatever an atom answers: Temporal refuses payloads above 2 MB, and a run carries the outputs that later steps read
 * through each continuation.
 */
export const STEP_OUTPUT_BYTES_MAX = 512 * 1024;

/** The output, if it may become part of a history. */
export function checkSize(output: Json, name: string): Json {
  const size = Buffer.byteLength(JSON.stringify(output ?? null));
  if (size <= STEP_OUTPUT_BYTES_MAX) return output;
  throw new OpsError(
    'payload-too-large',
    `the output of ${name} has ${size} bytes; at most ${STEP_OUTPUT_BYTES_MAX} are kept. Store it elsewhere and answer where it is`,
  );
}

/** The head says what was started, the tail how it ended. */
const HEAD_BYTES = 16 * 1024;

/** Keeps the first 16 KB and the last 48 KB of a stream, however long it is. */
export class CappedText {
  private head = Buffer.alloc(0);
  private tail = Buffer.alloc(0);
  private dropped = 0;

  push(chunk: Buffer): void {
    let rest = chunk;
    if (this.head.length < HEAD_BYTES) {
      const taken = rest.subarray(0, HEAD_BYTES - this.head.length);
      this.head = Buffer.concat([this.head, taken]);
      rest = rest.subarray(taken.length);
    }
    if (rest.length === 0) return;
    const joined = Buffer.concat([this.tail, rest]);
    const surplus = Math.max(0, joined.length - (OUTPUT_BYTES_MAX - HEAD_BYTES));
    this.dropped += surplus;
    // Copied, so that the large chunk behind a small view can be freed.
    this.tail = Buffer.from(joined.subarray(surplus));
  }

  get truncated(): boolean {
    return this.dropped > 0;
  }

  toString(): string {
    if (!this.truncated) return Buffer.concat([this.head, this.tail]).toString('utf8');
    return `${this.head.toString('utf8')}\n… ${this.dropped} bytes left out …\n${this.tail.toString('utf8')}`;
  }
}
