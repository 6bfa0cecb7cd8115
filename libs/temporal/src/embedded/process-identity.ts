import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** A process that cannot be mistaken for another one: pids are reused, a pid with its start time is not. */
export interface ProcessRecord {
  pid: number;
  startTime: string;
}

/** How often a stopping process is looked at. */
const POLL_MS = 50;

/**
 * When a process was started, as an opaque text; `undefined` when there is no such process. Linux: boot id and clock
 * ticks since boot, which no later process of this pid can repeat. Elsewhere `ps`, whose resolution is a second.
 */
export function processStartTime(pid: number): string | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  if (process.platform === 'linux') {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      // The command name stands in parentheses and may hold anything, blanks and parentheses too.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
      return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}:${fields[19]}`;
    } catch {
      return undefined;
    }
  }
  try {
    const text = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.trim() || undefined;
  } catch {
    return undefined;
  }
}

/** True when the recorded process still runs. */
export function isSameProcess(record: ProcessRecord): boolean {
  return processStartTime(record.pid) === record.startTime;
}

/**
 * Stops a recorded process: SIGTERM, and SIGKILL after the grace time. Does nothing when the pid meanwhile belongs to
 * somebody else. Answers whether there was anything to stop.
 */
export async function stopRecordedProcess(record: ProcessRecord, graceMs = 10_000): Promise<boolean> {
  if (!isSameProcess(record)) return false;
  signal(record, 'SIGTERM');
  if (await goneWithin(record, graceMs)) return true;
  signal(record, 'SIGKILL');
  // The kernel may need a moment to take a large process down; it cannot refuse.
  await goneWithin(record, 5_000);
  return true;
}

function signal(record: ProcessRecord, name: NodeJS.Signals): void {
  try {
    process.kill(record.pid, name);
  } catch {
    // It ended between the look and the signal.
  }
}

async function goneWithin(record: ProcessRecord, ms: number): Promise<boolean> {
  const deadline = Date.now() + ms;
  while (isSameProcess(record)) {
    if (Date.now() >= deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}
