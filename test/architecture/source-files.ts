/** What the architecture specs look at: files and their syntax, without running anything. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

export interface Project {
  /** `libs/rules` */
  path: string;
  name: string;
  tags: string[];
}

export function projects(): Project[] {
  return ['apps', 'libs'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => existsSync(join(ROOT, folder, name, 'package.json')))
      .map((name) => {
        const path = `${folder}/${name}`;
        const json = JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8')) as {
          name: string;
          nx?: { tags?: string[] };
        };
        return { path, name: json.name, tags: json.nx?.tags ?? [] };
      }),
  );
}

let files: readonly string[] | undefined;
/** Tracked files and new ones that nobody ignores, relative to the root. */
export function repositoryFiles(): readonly string[] {
  files ??= listedFiles();
  return files;
}

function listedFiles(): string[] {
  const out = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  });
  return [...new Set(out.split('\n'))].filter((file) => file !== '' && existsSync(join(ROOT, file)));
}

export const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const isSpec = (file: string): boolean => /\.spec(-kit)?\.ts$/.test(file) || /^libs\/[^/]+\/test\//.test(file);

/** TypeScript of apps and libs that ships, generated files included only where asked. */
export function shippedSources({ generated = false } = {}): string[] {
  return repositoryFiles().filter(
    (f) => /^(apps|libs)\/[^/]+\/src\/.*\.ts$/.test(f) && !isSpec(f) && (generated || !f.includes('/generated/')),
  );
}

const parsed = new Map<string, ts.SourceFile>();
/** Several rules look at the same syntax, and reading it is most of their time. */
export function parse(file: string): ts.SourceFile {
  const known = parsed.get(file) ?? ts.createSourceFile(file, read(file), ts.ScriptTarget.ES2023, true);
  parsed.set(file, known);
  return known;
}

export interface MeasuredFunction {
  file: string;
  name: string;
  lines: number;
}

function nameOf(node: ts.SignatureDeclaration): string {
  if (node.name !== undefined) return node.name.getText();
  const { parent } = node;
  if (
    (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent) || ts.isPropertyDeclaration(parent)) &&
    parent.name
  )
    return parent.name.getText();
  return ts.isConstructorDeclaration(node) ? 'constructor' : '(anonymous)';
}

/** Every function with a body and its length in lines, nested ones included on their own. */
export function functionsOf(file: string): MeasuredFunction[] {
  const source = parse(file);
  const found: MeasuredFunction[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const start = source.getLineAndCharacterOfPosition(node.getStart()).line;
      const end = source.getLineAndCharacterOfPosition(node.getEnd()).line;
      found.push({ file, name: nameOf(node), lines: end - start + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Packages of this repository that a file imports, types included: both have to be built before it. */
export function workspaceImports(file: string): string[] {
  return ts
    .preProcessFile(read(file))
    .importedFiles.map((i) => i.fileName.split('/').slice(0, 2).join('/'))
    .filter((name) => name.startsWith('@opsloop/'));
}

/** Files that a file needs at run time: its relative imports and exports that are not types only. */
function runtimeImports(file: string, known: ReadonlySet<string>): string[] {
  return parse(file).statements.flatMap((s) => {
    if (!ts.isImportDeclaration(s) && !ts.isExportDeclaration(s)) return [];
    const typeOnly = ts.isExportDeclaration(s) ? s.isTypeOnly : s.importClause?.isTypeOnly === true;
    if (typeOnly || s.moduleSpecifier === undefined || !ts.isStringLiteral(s.moduleSpecifier)) return [];
    const { text } = s.moduleSpecifier;
    if (!text.startsWith('.')) return [];
    const target = relative(ROOT, resolve(ROOT, dirname(file), text)).replace(/\.js$/, '.ts');
    return known.has(target) ? [target] : [];
  });
}

/** One cycle per group of files that import one another, as a readable path. */
export function importCycles(files: readonly string[]): string[] {
  const known = new Set(files);
  const edges = new Map(files.map((f) => [f, runtimeImports(f, known)]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const walk = (file: string, path: string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) {
      cycles.push([...path.slice(at), file].join(' → '));
      return;
    }
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) walk(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) walk(file, []);
  return cycles;
}
