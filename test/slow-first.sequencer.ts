import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Starts the specs that take longest first, so that no long one runs alone at the end beside an idle core. vitest knows
 * how long a file took only from its cache, which a fresh clone does not have; there it goes by size, and these are short.
 */
export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted
      .map((file, i) => ({ file, i, slow: slowness(file.moduleId) }))
      .sort((a, b) => b.slow - a.slow || a.i - b.i)
      .map(({ file }) => file);
  }
}

/** Whole platforms that are started and killed, then single apps and workers, then everything that starts nothing. */
const SLOW = [
  /\/test\/faults\//,
  /\/test\/|\/apps\/(stack|cli)\/src\/[^/]+$/,
  /\/libs\/(workflows|bus|flowtest)\/src\/[^/]+$|\/apps\/control\//,
];

function slowness(path: string): number {
  const at = SLOW.findIndex((pattern) => pattern.test(path));
  return at === -1 ? 0 : SLOW.length - at;
}
