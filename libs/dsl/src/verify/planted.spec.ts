import { describe, expect, it } from 'vitest';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { plantedMistakes } from '../../test/planted-mistakes.js';
import { plantedRisks } from '../../test/planted-risks.js';
import { goodFlow, world } from '../../test/planted-world.js';
import { FINDINGS, findingUrl, validateDocument } from '../index.js';
import { analyseFlow } from './model.js';

const planted = [...plantedMistakes, ...plantedRisks];

describe('planted mistakes', () => {
  it('are not found where none is planted', () => {
    expect(validateDocument('flow', goodFlow(), world).findings).toEqual([]);
  });

  it('are many, and of every group', () => {
    expect(planted.length).toBeGreaterThanOrEqual(80);
    const groups = new Set(planted.map(({ code }) => FINDINGS[code]?.group));
    const all = new Set(Object.values(FINDINGS).map(({ group }) => group));
    all.delete('Schemas');
    all.delete('Other documents');
    expect(groups).toEqual(all);
  });

  it.each(planted)('$code $name', ({ code, pointer, spoil, world: around }) => {
    const doc = goodFlow();
    spoil(doc);
    const { findings } = validateDocument('flow', doc, { ...world, ...around });
    const expected = findings.find((one) => one.code === code && one.pointer === pointer);
    expect(expected, JSON.stringify(findings, null, 1)).toBeDefined();
    expect(expected).toMatchObject({ severity: FINDINGS[code]!.severity, url: findingUrl(code) });
    expect(expected!.hint ?? '').not.toBe('');
    // One mistake is one error; a warning beside it may well be true.
    expect(findings.filter((one) => one.severity === 'error' && one !== expected)).toEqual([]);
  });
});

describe('the model', () => {
  it('visits each step once, however many there are', () => {
    const doc = goodFlow();
    const steps = (model: { nodes: unknown[]; visits: number }): number[] => [model.nodes.length, model.visits];
    const one = analyseFlow(doc, world);
    expect(one.visits).toBe(one.nodes.length);
    const long = { ...doc, do: Array.from({ length: 500 }, (_, i) => ({ id: `s${i}`, wait: { for: '1s' } })) };
    expect(steps(analyseFlow(long, world))).toEqual([500, 500]);
  });
});

describe('the table of codes', () => {
  it('has every code that anything reports, and says what each is', () => {
    const sources = ['libs/dsl/src', 'libs/rules/src', 'apps/service-catalog/src', 'apps/cli/src'].flatMap((folder) => {
      const path = fileURLToPath(new URL(`../../../../${folder}`, import.meta.url));
      return readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.ts'))
        .map((file) => readFileSync(`${path}/${file}`, 'utf8'));
    });
    const used = new Set(sources.flatMap((text) => [...text.matchAll(/'(OPS1\d{3})'/g)].map(([, code]) => code!)));
    expect([...used].filter((code) => FINDINGS[code] === undefined)).toEqual([]);
    for (const [code, { title, why, fix }] of Object.entries(FINDINGS))
      expect(
        [title, why, fix].every((text) => text.length > 5),
        code,
      ).toBe(true);
  });

  it('is the page of the documentation', () => {
    const tool = fileURLToPath(new URL('../../../../tools/gen-findings-page.mjs', import.meta.url));
    expect(() => execFileSync(process.execPath, [tool, '--check'], { stdio: 'pipe' })).not.toThrow();
  });
});
