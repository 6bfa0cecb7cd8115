/** Documents at hand → what references among them mean. */
import type { AtomDocument, FlowDocument, JsonObject } from '@opsloop/contracts';
import { bundledAtoms, parseRef } from '@opsloop/dsl';
import semver from 'semver';

export interface Library {
  flows: readonly FlowDocument[];
  atoms: readonly AtomDocument[];
  configs: Readonly<Record<string, JsonObject>>;
}

export function libraryOf(documents: readonly { kind: string; document: JsonObject }[]): Library {
  const of = <T>(kind: string): T[] =>
    documents.filter((one) => one.kind === kind).map((one) => one.document as unknown as T);
  const configs = of<{ name: string; values?: JsonObject }>('config');
  return {
    flows: of<FlowDocument>('flow'),
    atoms: [...of<AtomDocument>('atom'), ...bundledAtoms],
    configs: Object.fromEntries(configs.map(({ name, values }) => [name, values ?? {}])),
  };
}

/** The newest document in the range, as the catalog would pin it. */
export function resolveIn(
  library: Library,
): (ref: string, kind: 'flow' | 'atom') => FlowDocument | AtomDocument | undefined {
  return (ref, kind) => {
    const { name, range } = parseRef(ref);
    const named = (kind === 'flow' ? library.flows : library.atoms).filter((one) => one.name === name);
    const best = semver.maxSatisfying(
      named.map((one) => one.version),
      range,
    );
    return named.find((one) => one.version === best);
  };
}

/** The newest of these versions that is in the range. */
export function newestIn<T extends { version?: string }>(range: string, items: readonly T[]): T | undefined {
  return items
    .filter(({ version }) => version !== undefined && semver.satisfies(version, range))
    .sort((a, b) => semver.rcompare(a.version!, b.version!))[0];
}
