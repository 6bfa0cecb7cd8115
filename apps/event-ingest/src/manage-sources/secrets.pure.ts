/** Literal secrets of a source: taken out before it is stored, put back only for authentication. */
import { OpsError } from '@opsloop/contracts';
import type { SourceAuth, SourceDocument } from '@opsloop/contracts';

/** Stands in a document where a secret was; sent back in a PUT it keeps the stored one. */
export const MASK = '***';

/** The secret member of each kind of `auth`. */
const SECRET_MEMBERS: Readonly<Record<SourceAuth['type'], string | undefined>> = {
  none: undefined,
  bearer: 'token',
  basic: 'password',
  hmac: 'secret',
};

export interface SplitSource {
  /** Fit to be stored and shown. */
  document: SourceDocument;
  /** New values by pointer. */
  secrets: Map<string, string>;
  /** Pointers whose stored values stay. */
  kept: string[];
}

export function splitSecrets(source: SourceDocument): SplitSource {
  const member = source.auth === undefined ? undefined : SECRET_MEMBERS[source.auth.type];
  if (source.auth === undefined || member === undefined) return { document: source, secrets: new Map(), kept: [] };
  const pointer = `/auth/${member}`;
  const value = (source.auth as unknown as Record<string, string>)[member]!;
  const document = { ...source, auth: { ...source.auth, [member]: MASK } as SourceAuth };
  return value === MASK
    ? { document, secrets: new Map(), kept: [pointer] }
    : { document, secrets: new Map([[pointer, value]]), kept: [] };
}

/** The document with its secrets in place. A missing one is our own fault and must not open the door. */
export function joinSecrets(document: SourceDocument, secrets: ReadonlyMap<string, string>): SourceDocument {
  const member = document.auth === undefined ? undefined : SECRET_MEMBERS[document.auth.type];
  if (document.auth === undefined || member === undefined) return document;
  const value = secrets.get(`/auth/${member}`);
  if (value === undefined)
    throw new OpsError('internal', `the secret of source "${document.name}" is lost; PUT the source again with it`);
  return { ...document, auth: { ...document.auth, [member]: value } as SourceAuth };
}
