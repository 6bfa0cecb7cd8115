import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { DocumentKind, JsonObject } from '@opsloop/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CliError } from '../errors.js';
import { withConditionsAsText } from './conditions.pure.js';
import { inDependencyOrder } from './order.pure.js';
import { inReadingOrder } from './reading-order.pure.js';
import { parseText, readDocuments } from './read-documents.js';

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'opsloop-cli-'))));
afterEach(() => rmSync(dir, { recursive: true }));

function write(name: string, text: string): void {
  mkdirSync(dirname(join(dir, name)), { recursive: true });
  writeFileSync(join(dir, name), text);
}
function mistakesOf(...paths: string[]): readonly string[] {
  try {
    readDocuments(paths, dir);
  } catch (error) {
    if (error instanceof CliError) return error.lines.length > 0 ? error.lines : [error.message];
    throw error;
  }
  throw new Error('nothing was wrong');
}

describe('reading documents', () => {
  it('reads JSON and YAML, several per file, below folders, and leaves other files alone', () => {
    write(
      'a.yaml',
      'dsl: opsloop/v1\nkind: config\nname: one\nvalues: { port: 0o17, on: no, t: 12:30 }\n---\n# nothing\n---\ndsl: opsloop/v1\nkind: resource\npath: host/a\n',
    );
    write('sub/b.json', '[{"dsl":"opsloop/v1","kind":"rule","name":"a/b","version":"1.2.3"}]');
    write('package.json', '{"name":"x"}');
    write('.hidden/c.yaml', 'dsl: opsloop/v1\nkind: nonsense\n');
    write('node_modules/d.yaml', 'dsl: opsloop/v1\nkind: nonsense\n');
    write('notes.txt', 'hello');
    const read = readDocuments(['.'], dir);
    expect(read.map(({ kind, name, version, place }) => [kind, name, version, place])).toEqual([
      ['config', 'one', undefined, 'a.yaml#1'],
      ['resource', 'host/a', undefined, 'a.yaml#2'],
      ['rule', 'a/b', '1.2.3', 'sub/b.json'],
    ]);
    // YAML 1.2: `no` and `12:30` are texts, `0o17` is octal.
    expect(read[0]!.document['values']).toEqual({ port: 15, on: 'no', t: '12:30' });
  });

  it('turns the file of a script atom into its source', () => {
    write('atoms/clean.sh', 'echo hi\n');
    write(
      'atoms/clean.yaml',
      'dsl: opsloop/v1\nkind: atom\nname: a.b\nversion: 1.0.0\nscript: { file: clean.sh, interpreter: [bash] }\n',
    );
    expect(readDocuments(['atoms/clean.yaml'], dir)[0]!.document['script']).toEqual({
      source: 'echo hi\n',
      interpreter: ['bash'],
    });
  });

  it.each<[string, string, RegExp]>([
    ['alias.yaml', 'dsl: opsloop/v1\nkind: config\nname: x\nvalues: { a: &a [1], b: *a }\n', /alias\.yaml: .*alias/i],
    ['twice.yaml', 'dsl: opsloop/v1\nkind: config\nkind: rule\nname: x\n', /twice\.yaml: .*unique/i],
    ['broken.json', '{"dsl":', /broken\.json: .*JSON/],
    ['kind.yaml', 'dsl: opsloop/v1\nkind: flowers\nname: x\n', /kind\.yaml: \/kind is "flowers"/],
    ['dsl.yaml', 'dsl: opsloop/v9\nkind: flow\nname: x\n', /dsl\.yaml: \/dsl/],
    ['name.yaml', 'dsl: opsloop/v1\nkind: flow\n', /name\.yaml: \/name is missing/],
    ['path.yaml', 'dsl: opsloop/v1\nkind: resource\nname: x\n', /path\.yaml: \/path is missing/],
    ['other.yaml', 'hello: world\n', /other\.yaml: is no document/],
    [
      'script.yaml',
      'dsl: opsloop/v1\nkind: atom\nname: a.b\nscript: { file: none.sh }\n',
      /script\.yaml: \/script\/file: none\.sh does not exist/,
    ],
  ])('says what is wrong in %s', (name, text, message) => {
    write(name, text);
    expect(mistakesOf(name)).toEqual([expect.stringMatching(message)]);
  });

  it('reports all mistakes at once, also documents that are there twice', () => {
    write('a.yaml', 'dsl: opsloop/v1\nkind: config\nname: one\nvalues: {}\n');
    write('b.yaml', 'dsl: opsloop/v1\nkind: config\nname: one\nvalues: {}\n');
    write('c.json', '{');
    expect(mistakesOf('.')).toEqual([expect.stringContaining('c.json'), 'b.yaml: config one is also in a.yaml']);
    expect(mistakesOf('nowhere')).toEqual(['nowhere does not exist']);
    expect(mistakesOf('c.json', 'nowhere')).toEqual(['nowhere does not exist']);
  });

  it('knows no merge keys', () => {
    expect(parseText('a: { "<<": { b: 1 } }', 'yaml')).toEqual([{ a: { '<<': { b: 1 } } }]);
  });
});

describe('dependency order', () => {
  const one = (kind: DocumentKind, name: string, document: JsonObject = {}) => ({ kind, name, document, place: name });
  it('puts what is referred to first, sub-flows before their callers, sources last', () => {
    const given = [
      one('source', 's'),
      one('rule', 'r/r'),
      one('flow', 'f/outer', { do: [{ id: 'x', run: 'f/inner@1' }] }),
      one('policy', 'p/p'),
      one('flow', 'f/inner', { do: [{ id: 'y', parallel: {}, do: [{ id: 'z', run: 'f/leaf@^2' }] }] }),
      one('atom', 'a.b'),
      one('flow', 'f/leaf'),
      one('resource', 'h/a'),
      one('config', 'c'),
    ];
    expect(inDependencyOrder(given).map(({ name }) => name)).toEqual([
      'c',
      'h/a',
      'a.b',
      'f/leaf',
      'f/inner',
      'f/outer',
      'p/p',
      'r/r',
      's',
    ]);
  });

  it('does not loop on flows that run each other', () => {
    const circle = [one('flow', 'f/a', { do: [{ run: 'f/b@1' }] }), one('flow', 'f/b', { do: [{ run: 'f/a@1' }] })];
    expect(inDependencyOrder(circle)).toHaveLength(2);
  });
});

describe('conditions', () => {
  it('are printed as text in their slots and nowhere else', () => {
    const rule = {
      when: { '==': [{ var: 'event.data.state' }, 'down'] },
      goal: { state: { '>': [{ var: 'resource.state.n' }, 3] } },
      on: [{ data: { '==': [1, 2] } }],
    };
    expect(withConditionsAsText(rule)).toEqual({
      when: "event.data.state == 'down'",
      goal: { state: 'resource.state.n > 3' },
      on: [{ data: { '==': [1, 2] } }],
    });
  });
});

describe('reading order', () => {
  it('puts names before contents, also inside, and loses nothing', () => {
    const shuffled = {
      zebra: 1,
      do: [{ with: {}, id: 'a', call: 'x' }],
      version: '1',
      name: 'n',
      apple: 2,
      kind: 'flow',
      dsl: 'd',
    };
    const ordered = inReadingOrder(shuffled);
    expect(JSON.stringify(ordered)).toBe(
      '{"dsl":"d","kind":"flow","name":"n","version":"1","do":[{"id":"a","call":"x","with":{}}],"apple":2,"zebra":1}',
    );
    expect(ordered).toEqual(shuffled);
  });
});
