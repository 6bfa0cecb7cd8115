/** The rules that keep the code base in shape, each checked on the sources themselves. */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import prettier from 'prettier';
import { describe, expect, it } from 'vitest';
import {
  functionsOf,
  importCycles,
  projects,
  read,
  repositoryFiles,
  ROOT,
  shippedSources,
  workspaceImports,
} from './source-files.js';

const node = (args: string[]): string =>
  execFileSync(process.execPath, args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
    // Without the conditions and hooks that vitest hands to its children.
    env: { ...process.env, NODE_OPTIONS: '', NX_DAEMON: 'false' },
  });

describe('projects', () => {
  const types = [
    'contracts',
    'pure',
    'workflow',
    'embedded',
    'platform',
    'adapter',
    'atoms',
    'client',
    'flowtest',
    'testing',
    'app',
    'cli',
    'stack',
  ];

  it.each(projects())('$path has exactly one known type', ({ tags }) => {
    const own = tags.filter((t) => t.startsWith('type:'));
    expect(own).toHaveLength(1);
    expect(types).toContain(own[0]?.slice('type:'.length));
  });

  it('every project has one door, src/index.ts, and a library no other', () => {
    const indexes = new Set(shippedSources({ generated: true }).filter((f) => f.endsWith('/index.ts')));
    const doors = projects().map((p) => `${p.path}/src/index.ts`);
    expect(doors.filter((d) => !indexes.has(d))).toEqual([]);
    expect([...indexes].filter((f) => f.startsWith('libs/') && !doors.includes(f))).toEqual([]);
  });
});

/** On a fresh clone one app may be built alone: what it needs beyond its references would not be there. */
describe('a project builds without those it does not name', () => {
  const all = projects();
  const sources = shippedSources({ generated: true });

  it.each(all)('$path', ({ path, name }) => {
    const config = JSON.parse(read(`${path}/tsconfig.json`)) as { exclude: string[]; references?: { path: string }[] };
    expect(config.exclude).toEqual(['src/**/*.spec.ts', 'src/**/*.spec-kit.ts']);
    const needed = sources.filter((file) => file.startsWith(`${path}/`)).flatMap(workspaceImports);
    const referenced = (config.references ?? []).map((r) => {
      const target = join(path, r.path);
      return all.find((p) => p.path === target)?.name ?? target;
    });
    const { dependencies = {} } = JSON.parse(read(`${path}/package.json`)) as { dependencies?: Record<string, string> };
    const others = [...new Set(needed)].filter((n) => n !== name);
    expect(others.filter((n) => !referenced.includes(n) || !(n in dependencies))).toEqual([]);
  });
});

describe('forbidden imports', () => {
  it('are reported by lint, each by the rule that is meant to, and nothing else is', () => {
    const results = JSON.parse(node([join(ROOT, 'test/architecture/lint-fixtures.mjs')])) as {
      fixture: string;
      expected: string;
      rules: string[];
    }[];
    expect(results).toHaveLength(readdirSync(join(ROOT, 'test/architecture/fixtures')).length);
    for (const { fixture, expected, rules } of results)
      expect({ fixture, rules }).toEqual({ fixture, rules: expected === 'none' ? [] : [expected] });
    // A cold start of Nx and ESLint: 4 s alone, several times that while other specs use both cores.
  }, 120_000);

  it('no file reaches itself through its imports', () => {
    expect(importCycles(shippedSources({ generated: true }))).toEqual([]);
  });
});

describe('sources', () => {
  it('the environment is read in config.ts only', () => {
    const readers = shippedSources().filter((f) => /\bprocess\.env\b/.test(withoutComments(read(f))));
    expect(readers.filter((f) => !/(^|\/)([a-z-]+\.)?config\.ts$/.test(f))).toEqual([]);
  });

  it('no spec is left out or alone', () => {
    const specs = repositoryFiles().filter((f) => f.endsWith('.spec.ts') && !f.startsWith('test/architecture/'));
    expect(
      specs.filter((f) => /\b(?:it|test|describe)(?:\.\w+)*\.(?:only|skip|todo|fails|skipIf|runIf)\b/.test(read(f))),
    ).toEqual([]);
  });

  /** Longest function and file. What is longer today stands here with its length and may only shrink. */
  const FUNCTION_LINES_MAX = 70;
  const FILE_LINES_MAX = 500;
  const LONG_FUNCTIONS: Record<string, number> = {};
  const LONG_FILES: Record<string, number> = {};

  it(`functions have at most ${FUNCTION_LINES_MAX} lines`, () => {
    const long = shippedSources()
      // A migration is one SQL text from top to bottom: a list, not logic.
      .filter((f) => !f.includes('/migrations/'))
      .flatMap(functionsOf)
      .filter((f) => f.lines > FUNCTION_LINES_MAX);
    const found = Object.fromEntries(long.map((f) => [`${f.file}#${f.name}`, f.lines]));
    expect(overgrown(found, LONG_FUNCTIONS)).toEqual([]);
  });

  it(`files have at most ${FILE_LINES_MAX} lines`, () => {
    const long = shippedSources()
      .map((file) => ({ file, lines: read(file).split('\n').length }))
      .filter((f) => f.lines > FILE_LINES_MAX);
    expect(overgrown(Object.fromEntries(long.map((f) => [f.file, f.lines])), LONG_FILES)).toEqual([]);
  });
});

describe('repository', () => {
  it('the lock file names no host to fetch packages from', () => {
    const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { resolved?: string }> };
    const hosts = Object.entries(lock.packages).filter(
      ([, p]) => p.resolved !== undefined && /^[a-z+]+:\/\//.test(p.resolved),
    );
    expect(hosts.map(([path, p]) => `${path}: ${p.resolved}`)).toEqual([]);
  });

  it('no file names the folder of a checkout', () => {
    // Recorded stack traces do, when nobody strips them: `/home/me/opsloop/libs/dsl/src/`, `/home/me/opsloop/node_modules/`.
    const checkout =
      /(?<![\w.@}*$/-])\/(?!path\/to\/)(?:[\w.@+-]+\/)+(?:node_modules|(?:apps|libs)\/[a-z-]+\/(?:src|test|dist))\//;
    const allowed = new Set(['test/architecture/boundaries.spec.ts']);
    const naming = repositoryFiles().filter((file) => {
      const text = read(file);
      return !allowed.has(file) && (text.includes(`${ROOT}/`) || checkout.test(text));
    });
    expect(naming).toEqual([]);
  });

  it('every kind of file is one that prettier formats, or stands in the list of those that it does not', async () => {
    const unformatted = new Set([
      'sh',
      'sql',
      'svg',
      'png',
      'txt',
      'Dockerfile',
      'LICENSE',
      'run',
      'gitignore',
      'dockerignore',
      'npmrc',
      'prettierignore',
      'gz',
      'bin',
      'ics',
      'xml',
      'conf',
      'toml',
      'env',
      'example',
      // Go has a formatter of its own, which the test of the sample asks; Java and its build file have none here.
      'go',
      'mod',
      'sum',
      'java',
      'xml',
    ]);
    const unknown = new Set<string>();
    for (const file of repositoryFiles()) {
      const info = await prettier.getFileInfo(join(ROOT, file), { ignorePath: join(ROOT, '.prettierignore') });
      const base = file.split('/').at(-1)!;
      const kind = base.includes('.') && !base.startsWith('LICENSE.') ? base.split('.').at(-1)! : base;
      if (info.inferredParser === null && !info.ignored && !unformatted.has(kind.split('.')[0]!)) unknown.add(file);
    }
    expect([...unknown]).toEqual([]);
  });
});

/** Entries above what is tolerated, and tolerated ones that have shrunk and should be written down lower. */
function overgrown(found: Record<string, number>, tolerated: Record<string, number>): string[] {
  const grown = Object.entries(found)
    .filter(([key, lines]) => lines > (tolerated[key] ?? 0))
    .map(([key, lines]) => `${key} has ${lines} lines`);
  const shrunk = Object.entries(tolerated)
    .filter(([key, lines]) => (found[key] ?? 0) < lines)
    .map(([key]) => `${key} has shrunk: lower or remove its entry`);
  return [...grown, ...shrunk];
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '');
}
