/** What the catalog knows around the documents of a request. */
import type { FlowDocument, JsonObject } from '@opsloop/contracts';
import type { World } from '@opsloop/dsl';
import { resolverOf } from '../resolve-references/compile.pure.js';
import { pick, type Snapshot } from '../resolve-references/snapshot.pure.js';

/** References of flows and atoms must lead somewhere; tables live elsewhere and are not looked at. */
export function catalogWorld(snapshot: Snapshot, configs?: Readonly<Record<string, JsonObject>>): World {
  const resolve = resolverOf(snapshot);
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
    publishedOf: (name) => pick(snapshot, 'flow', name)?.body as FlowDocument | undefined,
    ...(configs === undefined ? {} : { configs }),
  };
}
