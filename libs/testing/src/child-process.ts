import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Modules that are left out of a bundle that uses nothing of them. */
const UNUSED_MAY_GO = /\/libs\/[^/]+\/src\/|^@nestjs\/|^canonicalize$/;

export interface ChildProgram {
  /** Starts one process of it; its stdout is a pipe, its stderr ours. */
  start(...args: string[]): ChildProcess;
  /** kill -9 of every process that still runs; resolves when all have ended. */
  killAll(): Promise<void>;
  /** The same, and removes the bundle. */
  close(): Promise<void>;
}

/**
 * Bundles a script of a spec with the projects' sources, so that real processes can run it (and be killed) without a
 * build. Packages from the registry stay imports.
 */
export async function bundleChild(entry: URL): Promise<ChildProgram> {
  // Loaded here: specs that bundle nothing, and the processes of those that do, would all pay for it.
  const { build, defaultServerConditions } = await import('vite');
  const path = fileURLToPath(entry);
  // Inside the repository, where imports of packages resolve.
  const outDir = await mkdtemp(join(dirname(path), '.bundle-'));
  await build({
    configFile: false,
    logLevel: 'error',
    root: dirname(path),
    ssr: { resolve: { conditions: ['@opsloop/source', ...defaultServerConditions] }, noExternal: [/^@opsloop\//] },
    oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
    build: {
      ssr: path,
      outDir,
      minify: false,
      target: 'node22',
      rolldownOptions: {
        output: { entryFileNames: 'child.mjs' },
        // Doors of libraries name far more than one script needs: loading all of it took 1.6 s of CPU, and takes 0.6 s.
        treeshake: { moduleSideEffects: (id) => !UNUSED_MAY_GO.test(id) },
      },
    },
  });
  const children = new Set<ChildProcess>();
  const killAll = async (): Promise<void> => {
    const ends = [...children].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(ends);
  };
  return {
    start: (...args) => {
      const child = spawn(process.execPath, [join(outDir, 'child.mjs'), ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.add(child);
      child.once('exit', () => children.delete(child));
      child.once('error', (error) => {
        throw new Error(`${basename(path)} did not start`, { cause: error });
      });
      return child;
    },
    killAll,
    close: async () => {
      await killAll();
      await rm(outDir, { recursive: true, force: true });
    },
  };
}
