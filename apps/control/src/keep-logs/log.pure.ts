import { LOG_RUN_CHARS_MAX, LOG_RUN_LINES_MAX, type LogLine } from '@opsloop/contracts';

export interface LogSize {
  lines: number;
  chars: number;
}

/** What of the lines still fits into the log of a run; the line that fills it says so, and after it nothing is kept. */
export function fittingLines(size: LogSize, lines: readonly LogLine[]): LogLine[] {
  const kept: LogLine[] = [];
  let { lines: count, chars } = size;
  for (const line of lines) {
    if (isFull({ lines: count, chars })) return kept;
    count += 1;
    chars += line.text.length;
    kept.push(isFull({ lines: count, chars }) ? { ...line, stream: 'log', text: FULL } : line);
  }
  return kept;
}

function isFull({ lines, chars }: LogSize): boolean {
  return lines >= LOG_RUN_LINES_MAX || chars >= LOG_RUN_CHARS_MAX;
}

const FULL = `… the log of this run is full (${LOG_RUN_LINES_MAX} lines or ${LOG_RUN_CHARS_MAX / 1024 / 1024} MB); further lines are left out`;
