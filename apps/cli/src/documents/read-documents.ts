/** Files and folders → documents: JSON and YAML 1.2, several per file. */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, extname, join, relative, resolve } from 'node:path';
import { DOCUMENT_KINDS, DSL_VERSION } from '@opsloop/contracts';
import type { DocumentKind, JsonObject } from '@opsloop/contracts';
import type { TestKind } from '@opsloop/dsl';
import { parseAllDocuments } from 'yaml';
import { CliError, EXIT } from '../errors.js';

export interface LoadedDocument {
  kind: DocumentKind;
  name: string;
  version?: string;
  document: JsonObject;
  /** `rules/web.yaml`, or `rules/web.yaml#2` for the second one in a file. */
  place: string;
}

/** Files looked at in one go: a large team has some hundred; more is the wrong folder. */
const FILES_MAX = 2_000;
/** The server takes 1 MB per document; a file with many of them may be larger. */
const FILE_BYTES_MAX = 5 * 1024 * 1024;
/** Longest script, as the server accepts it. */
const SCRIPT_BYTES_MAX = 64 * 1024;
const EXTENSIONS: ReadonlySet<string> = new Set(['.json', '.yaml', '.yml']);

/** Tests lie beside what they test; they are run, never written to the server. */
const TEST_KINDS: readonly string[] = ['flowtest', 'ruletest', 'scenario'] satisfies TestKind[];

/** A test, not yet checked. */
export interface LoadedTest {
  kind: TestKind;
  test: JsonObject;
  /** File, and which of several in it. */
  place: string;
}

/** Tests below the given files and folders. */
export function readTests(paths: readonly string[], cwd: string): LoadedTest[] {
  return paths
    .flatMap((path) => filesOf(resolve(cwd, path), path))
    .flatMap(({ file, explicit }) => {
      const place = relative(cwd, file) || file;
      const values = valuesOf(file).filter(isTest);
      if (explicit && values.length === 0)
        throw new CliError(`${place} holds no test: "kind: ${TEST_KINDS.join('", "')}" is missing`, EXIT.usage);
      return values.map((test, i) => ({
        kind: test['kind'] as TestKind,
        test,
        place: values.length === 1 ? place : `${place}#${i + 1}`,
      }));
    });
}

function isTest(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && TEST_KINDS.includes(String((value as JsonObject)['kind']));
}

/** Reads everything below the given files and folders; every mistake is reported at once. */
export function readDocuments(paths: readonly string[], cwd: string): LoadedDocument[] {
  const loaded: LoadedDocument[] = [];
  const mistakes: string[] = [];
  for (const { file, explicit } of paths.flatMap((path) => filesOf(resolve(cwd, path), path))) {
    const place = relative(cwd, file) || file;
    try {
      loaded.push(...readFile(file, place, explicit));
    } catch (error) {
      mistakes.push(
        ...(error instanceof CliError
          ? error.lines
          : [`${place}: ${error instanceof Error ? error.message : String(error)}`]),
      );
    }
  }
  mistakes.push(...doubles(loaded));
  if (mistakes.length > 0)
    throw new CliError(
      `${mistakes.length} ${mistakes.length === 1 ? 'file or document' : 'files or documents'} cannot be read; nothing was written`,
      EXIT.failed,
      mistakes,
    );
  if (loaded.length === 0)
    throw new CliError(
      `no documents in ${paths.join(', ')}: files end in .json, .yaml or .yml and each document says "dsl: ${DSL_VERSION}"`,
      EXIT.usage,
    );
  return loaded;
}

function filesOf(path: string, asGiven: string): { file: string; explicit: boolean }[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new CliError(`${asGiven} does not exist`, EXIT.usage);
  if (!stat.isDirectory()) return [{ file: path, explicit: true }];
  const files: string[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      if (entry.isDirectory()) visit(join(folder, entry.name));
      else if (EXTENSIONS.has(extname(entry.name))) files.push(join(folder, entry.name));
    }
    if (files.length > FILES_MAX)
      throw new CliError(
        `${asGiven} holds more than ${FILES_MAX} files; name the folder with the documents`,
        EXIT.usage,
      );
  };
  visit(path);
  return files.map((file) => ({ file, explicit: false }));
}

function readFile(file: string, place: string, explicit: boolean): LoadedDocument[] {
  const values = valuesOf(file).filter((value) => explicit || !isTest(value));
  const mistakes: string[] = [];
  const documents = values.flatMap((value, index) => {
    const at = values.length === 1 ? place : `${place}#${index + 1}`;
    // A folder may hold other files, such as package.json; a file that was named must hold documents.
    if (!looksLikeOurs(value)) {
      if (explicit) mistakes.push(`${at}: is no document of ours: "dsl: ${DSL_VERSION}" and a "kind" are missing`);
      return [];
    }
    try {
      return [identify(value, at, dirname(file))];
    } catch (error) {
      mistakes.push(`${at}: ${error instanceof Error ? error.message : String(error)}`);
      return [];
    }
  });
  if (mistakes.length > 0) throw new CliError('unreadable', EXIT.failed, mistakes);
  return documents;
}

function valuesOf(file: string): unknown[] {
  if (statSync(file).size > FILE_BYTES_MAX) throw new Error(`is larger than ${FILE_BYTES_MAX} bytes`);
  return parseText(readFileSync(file, 'utf8'), extname(file) === '.json' ? 'json' : 'yaml').flatMap((value) =>
    Array.isArray(value) ? (value as unknown[]) : [value],
  );
}

/** YAML 1.2, core schema: `no` is a text, no merge keys, no aliases (a small file could become gigabytes). */
export function parseText(text: string, format: 'json' | 'yaml'): unknown[] {
  if (format === 'json') return [JSON.parse(text)];
  return parseAllDocuments(text, { version: '1.2', schema: 'core', merge: false, prettyErrors: true }).flatMap(
    (document) => {
      const [error] = document.errors;
      if (error !== undefined) throw new Error(error.message.split('\n', 1)[0]);
      const value: unknown = document.toJS({ maxAliasCount: 0 });
      return value === null ? [] : [value];
    },
  );
}

function looksLikeOurs(value: unknown): value is JsonObject {
  if (typeof value !== 'object' || value === null) return false;
  const { dsl, kind } = value as JsonObject;
  return typeof dsl === 'string' || (typeof kind === 'string' && Object.hasOwn(DOCUMENT_KINDS, kind));
}

function identify(value: JsonObject, place: string, folder: string): LoadedDocument {
  const { dsl, kind, version } = value;
  if (dsl !== undefined && dsl !== DSL_VERSION)
    throw new Error(`/dsl is ${JSON.stringify(dsl)}; this release reads "${DSL_VERSION}"`);
  if (TEST_KINDS.includes(String(kind))) throw new Error(`is a test; run it with "opsloop test ${place}"`);
  if (typeof kind !== 'string' || !Object.hasOwn(DOCUMENT_KINDS, kind))
    throw new Error(`/kind is ${JSON.stringify(kind)}; it must be one of ${Object.keys(DOCUMENT_KINDS).join(', ')}`);
  const name = kind === 'resource' ? value['path'] : value['name'];
  if (typeof name !== 'string' || name === '') throw new Error(`/${kind === 'resource' ? 'path' : 'name'} is missing`);
  return {
    kind: kind as DocumentKind,
    name,
    ...(typeof version === 'string' ? { version } : {}),
    document: kind === 'atom' ? withScriptSource(value, folder) : value,
    place,
  };
}

/** `script.file` is read beside the document and becomes `script.source`. */
function withScriptSource(atom: JsonObject, folder: string): JsonObject {
  const { script } = atom;
  if (typeof script !== 'object' || script === null || Array.isArray(script) || typeof script['file'] !== 'string')
    return atom;
  if (script['source'] !== undefined) throw new Error('/script has both "file" and "source"; keep one');
  const { file, ...rest } = script;
  const path = resolve(folder, file as string);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new Error(`/script/file: ${file as string} does not exist beside it`);
  if (stat.size > SCRIPT_BYTES_MAX)
    throw new Error(`/script/file: ${file as string} is larger than ${SCRIPT_BYTES_MAX} bytes`);
  return { ...atom, script: { ...rest, source: readFileSync(path, 'utf8') } };
}

function doubles(loaded: readonly LoadedDocument[]): string[] {
  const first = new Map<string, string>();
  return loaded.flatMap(({ kind, name, version, place }) => {
    const key = `${kind} ${name}${version === undefined ? '' : ` ${version}`}`;
    const other = first.get(key);
    if (other === undefined) first.set(key, place);
    return other === undefined ? [] : [`${place}: ${key} is also in ${other}`];
  });
}
