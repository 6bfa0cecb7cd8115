/** The worked flows of the guide: no finding, every test passes, every branch is taken, every key of the language is used. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VERBS } from '@opsloop/contracts';
import type { FlowDocument, JsonObject } from '@opsloop/contracts';
import { validateTogether } from '@opsloop/dsl';
import { CoverageOf, interpreterSandbox, libraryOf, playTest } from '@opsloop/flowtest';
import type { FlowTest, Played } from '@opsloop/flowtest';
import { beforeAll, describe, expect, it } from 'vitest';
import { readDocuments, readTests } from '../../apps/cli/src/documents/read-documents.js';
import { keysOf } from './keys-of.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const documents = readDocuments(['examples/flows'], root);
const tests = readTests(['examples/flows'], root);
const flows = documents
  .filter(({ kind }) => kind === 'flow')
  .map(({ document }) => document as unknown as FlowDocument);

/** For editors, and not kept. */
const NOT_SHOWN = new Set(['flow.$schema']);

describe('the worked flows', () => {
  const played = new Map<string, Played>();
  beforeAll(async () => {
    const sandbox = await interpreterSandbox(join(tmpdir(), 'opsloop-flowtest-spec'));
    const library = libraryOf(documents);
    for (const { test, place } of tests) played.set(place, playTest(sandbox, test as unknown as FlowTest, library));
  });

  it('are twelve, each with its tests', () => {
    const folders = [...new Set(documents.map(({ place }) => place.split('/')[2]))];
    expect(folders).toHaveLength(12);
    for (const folder of folders)
      expect(tests.filter(({ place }) => place.startsWith(`examples/flows/${folder}/`)).length).toBeGreaterThan(2);
  });

  it('have no finding, not even a warning', () => {
    const bodies = [...documents.map(({ document }) => document), ...tests.map(({ test }) => test)];
    const found = validateTogether(bodies, { complete: true }).filter(({ findings }) => findings.length > 0);
    expect(found).toEqual([]);
  });

  it.each(tests.map(({ place }) => place))('%s', (place) => {
    const { mismatches } = played.get(place)!;
    expect(mismatches).toEqual([]);
  });

  it.each(flows.map((flow) => [flow.name, flow] as const))('%s: every branch is taken by a test', (_name, flow) => {
    const coverage = new CoverageOf(flow);
    for (const { document, steps } of played.values()) if (document?.name === flow.name) coverage.add(steps);
    expect(coverage.result().missed).toEqual([]);
  });

  it('use every verb and every key of the language', () => {
    const { wanted, used } = keysOf(flows as unknown as JsonObject[]);
    expect(VERBS.filter((verb) => !used.has(`step-${verb}`))).toEqual([]);
    expect([...wanted].filter((key) => !used.has(key) && !NOT_SHOWN.has(key))).toEqual([]);
  });
});
