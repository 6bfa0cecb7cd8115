import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive, markOf, type ProcessMark } from './processes.js';

const POLL_MS = 200;

/**
 * Runs `fn` while holding a lock file. A holder that died is recognised by pid and start time, so a killed download
 * never blocks the next one; a living one is waited for.
 */
export async function withFileLock<T>(
  path: string,
  waitMs: number,
  onWait: (holder: number) => void,
  fn: () => Promise<T>,
): Promise<T> {
  mkdirSync(dirname(path), { recursive: true });
  const deadline = Date.now() + waitMs;
  let told = false;
  while (!tryTake(path)) {
    const holder = readHolder(path);
    if (holder === 'gone') continue;
    if (holder === undefined || !isAlive(holder)) {
      rmSync(path, { force: true });
      continue;
    }
    if (Date.now() >= deadline)
      throw new Error(`process ${holder.pid} has held ${path} for ${Math.round(waitMs / 1000)}s`);
    if (!told) onWait(holder.pid);
    told = true;
    await delay(POLL_MS);
  }
  try {
    return await fn();
  } finally {
    rmSync(path, { force: true });
  }
}

function tryTake(path: string): boolean {
  const mark = markOf(process.pid);
  try {
    writeFileSync(path, JSON.stringify(mark), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** `undefined` = unreadable, so written by nobody who is still at work; `gone` = freed meanwhile. */
function readHolder(path: string): ProcessMark | 'gone' | undefined {
  try {
    const mark = JSON.parse(readFileSync(path, 'utf8')) as ProcessMark;
    return typeof mark.pid === 'number' ? mark : undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'gone' : undefined;
  }
}
