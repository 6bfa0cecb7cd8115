/** From a reference to everything a run needs: the pinned document and all that it refers to. */
import type { AtomDocument, CompiledFlow, CompiledOffering, Effect, FlowDocument } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { compileFlow, flowOfAtom } from '@opsloop/dsl';
import type { Finding } from '@opsloop/rules';
import { pick, type Snapshot, type StoredOffering } from './snapshot.pure.js';
import { parseOfferingRef, type OfferingKind } from './version.pure.js';

const STRENGTH: Record<Effect, number> = { read: 0, mutate: 1, destroy: 2 };

/** The strongest effect of all atoms that a run may call, sub-flows and compensations included; no atom at all only reads. */
export function strongestEffect(compiled: CompiledFlow): Effect {
  const own = Object.values(compiled.atoms).map((a) => a.effect);
  const below = Object.values(compiled.flows).map(strongestEffect);
  return [...own, ...below].reduce<Effect>((a, b) => (STRENGTH[b] > STRENGTH[a] ? b : a), 'read');
}

/** Resolves references of a flow against published versions. A reference that is no reference resolves to nothing. */
export function resolverOf(
  snapshot: Snapshot,
): (ref: string, kind: OfferingKind) => FlowDocument | AtomDocument | undefined {
  return (ref, kind) => {
    try {
      const parsed = parseOfferingRef(ref);
      return parsed.kind === kind ? pick(snapshot, kind, parsed.name, parsed.range)?.body : undefined;
    } catch {
      return undefined;
    }
  };
}

export function compileDocument(
  snapshot: Snapshot,
  document: FlowDocument,
): { compiled?: CompiledFlow; findings: Finding[] } {
  return compileFlow(document, resolverOf(snapshot));
}

/** A stored version as the flow that runs it: an atom is wrapped in a flow of one step. */
export function runnableOf(stored: StoredOffering): FlowDocument {
  return stored.body.kind === 'atom' ? flowOfAtom(stored.body) : stored.body;
}

/** Compiles one stored version; findings instead of an offering when something it refers to is gone. */
export function compileStored(
  snapshot: Snapshot,
  stored: StoredOffering,
): { offering?: CompiledOffering; findings: Finding[] } {
  const document = runnableOf(stored);
  const { compiled, findings } = compileDocument(snapshot, document);
  if (compiled === undefined) return { findings };
  const inputSchema = document.input?.schema;
  return {
    findings,
    offering: {
      kind: stored.kind,
      name: document.name,
      version: stored.version,
      effect: strongestEffect(compiled),
      compiled,
      document,
      ...(inputSchema === undefined ? {} : { inputSchema }),
    },
  };
}

/** Error findings as the `errors` of a problem. */
export function findingsProblem(detail: string, findings: readonly Finding[]): OpsError {
  const errors = findings
    .filter((f) => f.severity === 'error')
    .map((f) => ({
      pointer: f.pointer,
      message: f.hint === undefined ? f.message : `${f.message}; ${f.hint}`,
    }));
  return new OpsError('validation', detail, { errors, extensions: { findings } });
}
