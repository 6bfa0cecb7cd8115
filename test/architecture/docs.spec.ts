import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DocumentKind, JsonObject } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const guides = readdirSync(join(root, 'docs/guides')).map((name) => `docs/guides/${name}`);
const TOP = /^(apps|libs|test|tools|docs|docker|examples|dsl-schemas)\//;

/** `apps/x/src/*.ts` → the folder that must exist; a name without a folder in front is one beside the path before it. */
function pathsIn(markdown: string): string[] {
  return markdown.split('\n').flatMap((line) => {
    let beside: string | undefined;
    return [...line.matchAll(/`([\w.*/-]+)`/g)].flatMap(([, text]) => {
      if (TOP.test(text!)) {
        const path = text!.replace(/\/?[^/]*\*.*$/, '').replace(/\/$/, '');
        beside = /\.\w+$/.test(path) ? dirname(dirname(path)) : dirname(path);
        return [path];
      }
      return text!.endsWith('/') && beside !== undefined ? [join(beside, text!)] : [];
    });
  });
}

describe('the documentation', () => {
  it('names only files and folders that exist', () => {
    const named = ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'README.md', ...guides].flatMap((file) =>
      pathsIn(read(file)).map((path) => ({ file, path })),
    );
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter(({ path }) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('links only to files that exist', () => {
    const files = ['README.md', 'README.zh-CN.md', 'CONTRIBUTING.md', 'ARCHITECTURE.md', ...guides];
    const dead = files.flatMap((file) =>
      [...read(file).matchAll(/\]\((?!https?:)([^)#]+)\)/g)]
        .map(([, link]) => link!)
        .filter((link) => !existsSync(join(root, dirname(file), link)))
        .map((link) => `${file}: ${link}`),
    );
    expect(dead).toEqual([]);
  });

  it('maps every project', () => {
    const map = read('ARCHITECTURE.md');
    for (const kind of ['apps', 'libs'])
      for (const name of readdirSync(join(root, kind)))
        expect(map, `${kind}/${name}`).toMatch(new RegExp(`^.*\\s${name}(\\s|$)`, 'm'));
  });

  it('shows documents that are valid', () => {
    const examples = guides.flatMap((file) =>
      [...read(file).matchAll(/```json\n([\s\S]*?)```/g)]
        .map(([, text]) => text!)
        .filter((text) => text.includes('"dsl"'))
        .map((text) => ({ file, body: JSON.parse(text) as JsonObject })),
    );
    expect(examples.length).toBeGreaterThanOrEqual(4);
    for (const { file, body } of examples) {
      const { findings } = validateDocument(body['kind'] as DocumentKind, body);
      expect(
        findings.filter(({ severity }) => severity === 'error'),
        `${file}: ${String(body['name'])}`,
      ).toEqual([]);
    }
  });

  it('lists every variable that an app reads', () => {
    const configs = [...readdirSync(join(root, 'apps')).map((app) => `apps/${app}/src/config.ts`)]
      .concat(
        'libs/platform/src/cluster.config.ts',
        'libs/temporal/src/config.ts',
        'libs/bus/src/kafka/kafka.config.ts',
        'libs/temporal/src/embedded/find-temporal-binary.ts',
      )
      .filter((path) => existsSync(join(root, path)));
    const variables = configs.flatMap(
      (path) => read(path).match(/\b(OPSLOOP|TEMPORAL|KAFKA)_[A-Z_]*[A-Z]\b|\bDATABASE_URL\b/g) ?? [],
    );
    const listed = read('docs/guides/operations.md') + read('docs/guides/cluster.md');
    const constants = /_CONFIG$|^TEMPORAL_(CLI_VERSION|NAMES)$|^KAFKA_TIMINGS$/;
    expect([...new Set(variables)].filter((name) => !constants.test(name) && !listed.includes(name))).toEqual([]);
  });
});
