import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

/** A process as it can be recognised later: pids are reused, a pid with its start time is not. */
export interface ProcessMark {
  pid: number;
  /** Opaque; equal for the same process only. */
  started: string;
}

/** Start time of a living process, or undefined when there is none with this pid. */
export function processStarted(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // Field 22, counted after the command name, which may itself hold spaces and parentheses.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' ? undefined : fields[19];
    }
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined;
  } catch {
    return undefined;
  }
}

export function markOf(pid: number): ProcessMark | undefined {
  const started = processStarted(pid);
  return started === undefined ? undefined : { pid, started };
}

export function isAlive(mark: ProcessMark): boolean {
  return processStarted(mark.pid) === mark.started;
}

/** Signals the process and waits for its end; SIGKILL after `graceMs`. */
export async function stopProcess(mark: ProcessMark, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  if (!isAlive(mark)) return;
  process.kill(mark.pid, signal);
  // Not by `Date`, which stands still where a world is played.
  const deadline = performance.now() + graceMs;
  while (isAlive(mark)) {
    if (performance.now() > deadline) {
      process.kill(mark.pid, 'SIGKILL');
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
