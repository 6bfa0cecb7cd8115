import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { AtomDocument, DocumentKind, FlowDocument, JsonObject } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { schemaErrors, type TestKind } from './schema-check.js';
import { bundledAtoms, compileFlow, normaliseDocument, parseRef, validateDocument } from './index.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = `${root}dsl-schemas/examples`;

function examples<T>(group: 'valid' | 'invalid'): { kind: string; file: string; body: T }[] {
  return readdirSync(`${folder}/${group}`).flatMap((kind) =>
    readdirSync(`${folder}/${group}/${kind}`).map((file) => ({
      kind,
      file,
      body: JSON.parse(readFileSync(`${folder}/${group}/${kind}/${file}`, 'utf8')) as T,
    })),
  );
}

const TESTS = ['flowtest', 'ruletest', 'scenario'];

describe('example documents', () => {
  it.each(examples<JsonObject>('valid').filter((e) => !TESTS.includes(e.kind)))(
    '$kind/$file is valid, and stays so in its stored form',
    ({ kind, body }) => {
      const { findings, document } = validateDocument(kind as DocumentKind, body);
      expect(findings.filter((f) => f.severity === 'error')).toEqual([]);
      expect(validateDocument(kind as DocumentKind, document).findings.filter((f) => f.severity === 'error')).toEqual(
        [],
      );
      expect(normaliseDocument(document)).toEqual(document);
    },
  );

  it.each(examples<JsonObject>('valid').filter((e) => TESTS.includes(e.kind)))(
    '$kind/$file matches its schema',
    ({ kind, body }) => {
      expect(schemaErrors(kind as TestKind, body)).toEqual([]);
    },
  );

  it.each(examples<{ expect: { code: string; pointer: string }[]; document: unknown }>('invalid'))(
    '$kind/$file: exactly the expected findings',
    ({ kind, body }) => {
      const { findings, document } = validateDocument(kind as DocumentKind, body.document);
      expect(findings.filter((f) => f.severity === 'error').map(({ code, pointer }) => ({ code, pointer }))).toEqual(
        body.expect,
      );
      expect(document).toBeUndefined();
    },
  );

  it('compiles the complete flow with the manifests beside it', () => {
    const all = [...examples<FlowDocument | AtomDocument>('valid').map((e) => e.body), ...bundledAtoms];
    const resolve = (ref: string, kind: string) =>
      all.find((d) => d.kind === kind && d.name === parseRef(ref).name) as FlowDocument | AtomDocument | undefined;
    const flow = all.find((d) => d.name === 'fleet/replace-hosts') as FlowDocument;
    const { compiled, findings } = compileFlow(flow, resolve);
    expect(findings).toEqual([]);
    expect([compiled?.asks, compiled?.waitsFor]).toEqual([true, ['k8s.node.ready']]);
    expect(compiled?.atoms['k8s.node.uncordon@3']?.version).toBe('3.0.0');
    expect(Object.keys(compiled?.flows ?? {})).toEqual(['compute/provision-machine@2']);
  });

  it('embeds the schemas as they stand in the folder', () => {
    expect(() =>
      execFileSync(process.execPath, [`${root}tools/gen-schemas.mjs`, '--check'], { stdio: 'pipe' }),
    ).not.toThrow();
  });
});
