/** Validates documents together, before any of them is written. */
import type { AtomDocument, DocumentKind, FlowDocument } from '@opsloop/contracts';
import { DOCUMENT_KINDS } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import type { Finding } from '@opsloop/rules';
import { compileDocument } from '../resolve-references/compile.pure.js';
import { withPublished, type Snapshot } from '../resolve-references/snapshot.pure.js';
import { isOffering } from '../write-documents/checks.pure.js';

export interface DocumentFindings {
  kind: string;
  name: string;
  valid: boolean;
  findings: Finding[];
}

interface Checked {
  kind: string;
  name: string;
  findings: Finding[];
  document?: unknown;
}

const isKind = (kind: unknown): kind is DocumentKind => typeof kind === 'string' && Object.hasOwn(DOCUMENT_KINDS, kind);

function unknownKind(kind: unknown): Finding {
  return {
    code: 'OPS1001',
    severity: 'error',
    pointer: '/kind',
    message: `${JSON.stringify(kind) ?? 'nothing'} is no kind of document`,
    hint: `one of ${Object.keys(DOCUMENT_KINDS).join(', ')}`,
  };
}

/**
 * Findings of each document, in the order given. References resolve to the other documents of the request as if they
 * were published, then to the catalog.
 */
export function validateTogether(snapshot: Snapshot, documents: readonly unknown[]): DocumentFindings[] {
  const checked = documents.map((body): Checked => {
    const { kind, name, path } = (body ?? {}) as { kind?: unknown; name?: unknown; path?: unknown };
    const label = {
      kind: typeof kind === 'string' ? kind : '',
      name: typeof name === 'string' ? name : typeof path === 'string' ? path : '',
    };
    if (!isKind(kind)) return { ...label, findings: [unknownKind(kind)] };
    const { findings, document } = validateDocument(kind, body);
    return { ...label, findings, document: document as unknown };
  });
  const sound = checked.map((c) => c.document).filter(isOffering);
  const world = withPublished(snapshot, sound as (FlowDocument | AtomDocument)[]);
  return checked.map(({ kind, name, findings, document }) => {
    const broken = findings.some((f) => f.severity === 'error');
    const compiled = !broken && kind === 'flow' ? compileDocument(world, document as FlowDocument).findings : [];
    const all = [
      ...findings,
      ...compiled.filter((c) => !findings.some((f) => f.code === c.code && f.pointer === c.pointer)),
    ];
    return { kind, name, valid: !all.some((f) => f.severity === 'error'), findings: all };
  });
}
