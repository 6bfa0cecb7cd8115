/** What a document must satisfy beyond its schema before the catalog keeps it. */
import type { AtomDocument, DocumentKind, FieldError, FlowDocument, JsonObject } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { normaliseDocument, validateDocument } from '@opsloop/dsl';
import type { Finding } from '@opsloop/rules';
import { BUILT_IN_NAMES } from '../resolve-references/snapshot.pure.js';

/** Kinds that this app keeps. */
export type CatalogKind = Extract<DocumentKind, 'flow' | 'atom' | 'config' | 'table' | 'schedule'>;

export interface CheckedDocument {
  name: string;
  version?: string;
  body: JsonObject;
  warnings: Finding[];
}

/** Domains of flow names that belong to opsloop: `atom/x` is the catalog name of atom x, `opsloop/x` are built-in flows. */
const RESERVED_DOMAINS = new Set(['atom', 'opsloop']);

function reservedName(kind: CatalogKind, name: string): FieldError | undefined {
  if (kind === 'atom' && BUILT_IN_NAMES.has(name)) {
    return { pointer: '/name', message: `"${name}" comes with opsloop and cannot be written; choose another name` };
  }
  const domain = name.split('/', 1)[0] ?? '';
  if (kind === 'flow' && RESERVED_DOMAINS.has(domain)) {
    return { pointer: '/name', message: `the domain "${domain}" is reserved; choose another one` };
  }
  return undefined;
}

function atomErrors(atom: AtomDocument): FieldError[] {
  const errors: FieldError[] = [];
  if (atom.execution === 'local' && atom.worker !== undefined) {
    errors.push({
      pointer: '/execution',
      message:
        'local execution runs inside our own worker, so an atom of a foreign worker cannot have it; remove "execution"',
    });
  }
  if (atom.execution === 'local' && atom.effect !== 'read' && atom.idempotency !== 'native') {
    errors.push({
      pointer: '/execution',
      message: 'a crash repeats local steps, so only atoms that read or are natively idempotent may be local',
    });
  }
  if (atom.bundled !== undefined)
    errors.push({ pointer: '/bundled', message: 'is set by opsloop on its own atoms only' });
  if (atom.script?.file !== undefined) {
    errors.push({
      pointer: '/script/file',
      message: 'only `apply` reads files; send the text of the script as script.source',
    });
  }
  return errors;
}

/**
 * Checks a document that was put at `address` (its name in the URL). Throws `validation` with a pointer for every
 * mistake; gives back its stored form (conditions parsed) and what is only worth a warning.
 */
export function checkDocument(kind: CatalogKind, address: string, body: unknown): CheckedDocument {
  const { findings, document } = validateDocument(kind, body);
  const errors: FieldError[] = findings
    .filter((f) => f.severity === 'error')
    .map((f) => ({
      pointer: f.pointer,
      message: f.hint === undefined ? f.message : `${f.message}; ${f.hint}`,
    }));
  const named = document as { name?: string; version?: string } | undefined;
  const name = named?.name ?? (body as { name?: unknown } | null)?.name;
  const reserved = reservedName(kind, address);
  if (reserved !== undefined && !errors.some((e) => e.pointer === '/name')) errors.push(reserved);
  if (typeof name === 'string' && name !== address) {
    errors.push({ pointer: '/name', message: `is "${name}", but the address says "${address}"` });
  }
  if (document !== undefined && kind === 'atom') {
    for (const e of atomErrors(document as AtomDocument))
      if (!errors.some((x) => x.pointer === e.pointer)) errors.push(e);
  }
  if (errors.length > 0 || document === undefined) {
    throw new OpsError('validation', `The ${kind} "${address}" is not valid`, { errors });
  }
  return {
    name: address,
    ...(named?.version === undefined ? {} : { version: named.version }),
    body: normaliseDocument(document) as unknown as JsonObject,
    warnings: findings.filter((f) => f.severity === 'warning'),
  };
}

/** Documents of a validation request that can be resolved against: flows and atoms that are well formed. */
export function isOffering(document: unknown): document is FlowDocument | AtomDocument {
  const kind = (document as { kind?: unknown } | null)?.kind;
  return kind === 'flow' || kind === 'atom';
}
