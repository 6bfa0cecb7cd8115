import { fork } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, extname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OpsError } from '@opsloop/contracts';
import type { Log } from './log.js';
import { version as sdkVersion } from './sdk-version.js';

/** Entry of the interpreter's workflows. Resolves to sources in tests and to `dist` everywhere else. */
export const interpreterWorkflows = (): string => fileURLToPath(import.meta.resolve('@opsloop/workflows/bundle'));

/** What a worker thread of the interpreter loads once for all runs. */
export const interpreterPreload = (): string => fileURLToPath(import.meta.resolve('@opsloop/workflows/preload'));

/** Bundles are 1.6 MB; the newest few cover going back and forth between two versions. */
const KEPT_BUNDLES = 5;

/**
 * Path of the bundle of a workflow entry, made with webpack once per content (1–2 s) and kept under the digest of all
 * that goes into it: starting a worker from a kept bundle takes less than half a second.
 */
export async function workflowBundle(options: {
  workflowsPath: string;
  /** Modules of the entry's package that are loaded once per worker thread and shared by its runs. */
  preload?: string[];
  cacheDir: string;
  log: Log;
}): Promise<{ codePath: string; digest: string; cached: boolean }> {
  const { workflowsPath, cacheDir, log, preload = [] } = options;
  const digest = await sourcesDigest(workflowsPath, preload);
  const dir = join(cacheDir, 'workflow-bundles');
  const codePath = join(dir, `${digest}.cjs`);
  if (existsSync(codePath)) {
    const now = new Date();
    await utimes(codePath, now, now);
    return { codePath, digest, cached: true };
  }
  const started = performance.now();
  await mkdir(dir, { recursive: true });
  // Written beside and renamed, so that a second process never reads half a bundle.
  const partial = `${codePath}.${process.pid}.tmp`;
  await bundleTo(partial, workflowsPath, preload);
  await rename(partial, codePath);
  await dropOldBundles(dir);
  log.info('workflow code bundled', { digest: digest.slice(0, 12), ms: Math.round(performance.now() - started) });
  return { codePath, digest, cached: false };
}

/** sha256 over the files of the entry's package and of every workspace package it depends on, and over the versions of the rest. */
async function sourcesDigest(workflowsPath: string, preload: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update(`sdk ${sdkVersion}\n`);
  for (const path of preload) hash.update(`preload ${basename(path)}\n`);
  const folder = dirname(workflowsPath);
  const seen = new Set<string>();
  const visit = async (packageFile: string, sources: string): Promise<void> => {
    if (seen.has(packageFile)) return;
    seen.add(packageFile);
    const manifest = JSON.parse(readFileSync(packageFile, 'utf8')) as {
      name: string;
      dependencies?: Record<string, string>;
    };
    hash.update(`package ${manifest.name}\n`);
    await hashFolder(join(dirname(packageFile), sources), hash);
    const require = createRequire(packageFile);
    for (const [name, version] of Object.entries(manifest.dependencies ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (name.startsWith('@opsloop/')) await visit(require.resolve(`${name}/package.json`), sources);
      else hash.update(`${name} ${version}\n`);
    }
  };
  const packageFile = nearestPackage(folder);
  if (packageFile === undefined) await hashFolder(folder, hash, false);
  else await visit(packageFile, extname(workflowsPath) === '.ts' ? 'src' : 'dist');
  return hash.digest('hex');
}

function nearestPackage(folder: string): string | undefined {
  for (let dir = folder; dir !== dirname(dir); dir = dirname(dir)) {
    const file = join(dir, 'package.json');
    if (existsSync(file)) return file;
  }
  return undefined;
}

async function hashFolder(folder: string, hash: Hash, recursive = true): Promise<void> {
  const entries = await readdir(folder, { recursive, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && /\.(c?js|ts|json)$/.test(entry.name) && !/\.(spec|d)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of files) hash.update(`${relative(folder, file)}\n`).update(readFileSync(file));
}

async function dropOldBundles(dir: string): Promise<void> {
  const names = (await readdir(dir)).filter((name) => name.endsWith('.cjs'));
  const dated = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(dir, name))).mtimeMs })));
  for (const { name } of dated.sort((a, b) => b.at - a.at).slice(KEPT_BUNDLES))
    await rm(join(dir, name), { force: true });
}

/** Its errors are a few lines; webpack repeats some of them for every module. */
const SAID_CHARS_MAX = 10_000;
/** Takes 1–2 s alone and has been seen to take 20 s on a loaded machine. */
const BUNDLING_MS_MAX = 120_000;

/** Writes the bundle to `file`, made by a process of its own whose memory goes with it. */
async function bundleTo(file: string, workflowsPath: string, preloadModules: readonly string[]): Promise<void> {
  // From sources the workspace packages must come from sources too; `dist` may be older or missing.
  const fromSources = extname(workflowsPath) === '.ts' ? { conditionNames: ['@opsloop/source', '...'] } : {};
  const options = JSON.stringify({ workflowsPath, preloadModules, ...fromSources });
  const own = fileURLToPath(import.meta.url);
  const script = join(dirname(own), `bundle.process${extname(own)}`);
  const child = fork(script, [file, options], {
    execArgv: [],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    timeout: BUNDLING_MS_MAX,
  });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(0, SAID_CHARS_MAX)));
  const failed = (why: string, cause?: unknown): OpsError =>
    new OpsError('configuration', `the workflow code ${workflowsPath} could not be bundled: ${why}`, { cause });
  const ended = once(child, 'close').catch((error: unknown) => {
    throw failed(String(error), error);
  });
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  if (code !== 0) throw failed(said || `the bundler ended with ${signal ?? code}`);
}
