/** What the catalog knows around the documents of a request. */
import type { FlowDocument, JsonObject } from '@opsloop/contracts';
import { environmentOf, sentBy, type World } from '@opsloop/dsl';
import semver from 'semver';
import { resolverOf } from '../resolve-references/compile.pure.js';
import { pick, type Snapshot, versionsOf } from '../resolve-references/snapshot.pure.js';

type Configs = Readonly<Record<string, JsonObject>>;

/**
 * References of flows and atoms must lead somewhere; tables live elsewhere and are not looked at.
 * @param limits Where the limits of the environment are taken from, when references to configs are not looked at.
 */
export function catalogWorld(snapshot: Snapshot, configs?: Configs, limits = configs): World {
  const resolve = resolverOf(snapshot);
  const around = environmentOf(limits);
  return {
    complete: true,
    atom: (ref) => {
      const found = resolve(ref, 'atom');
      return found?.kind === 'atom' ? found : undefined;
    },
    flow: (ref) => {
      const found = resolve(ref, 'flow');
      return found?.kind === 'flow' ? found : undefined;
    },
    versionsOf: (kind, name) =>
      versionsOf(snapshot, kind, name)
        .filter(({ status }) => status === 'published')
        .map(({ version }) => version)
        .sort(semver.compare),
    publishedOf: (name) => pick(snapshot, 'flow', name)?.body as FlowDocument | undefined,
    ...(configs === undefined ? {} : { configs }),
    ...around,
    ...(around.eventTypes === undefined ? {} : { sentTypes: sentIn(snapshot) }),
  };
}

/** Types that published flows send; a write makes a new snapshot. */
const sent = new WeakMap<Snapshot, ReadonlySet<string>>();

function sentIn(snapshot: Snapshot): ReadonlySet<string> {
  const known = sent.get(snapshot);
  if (known !== undefined) return known;
  const published = [...snapshot.offerings.values()].flat().filter(({ status }) => status === 'published');
  const types = new Set(published.flatMap(({ body }) => sentBy(body as unknown as JsonObject)));
  sent.set(snapshot, types);
  return types;
}
