/** Literal secrets of a source: taken out before it is stored, put back only for authentication. */
import { OpsError } from '@opsloop/contracts';
import type { SecretText, SourceAuth, SourceDocument } from '@opsloop/contracts';

/** Stands in a document where a secret was; sent back in a PUT it keeps the stored one. */
export const MASK = '***';
/** Begins the stored form of several secrets; no single one may begin with it. */
const SEVERAL = 'opsloop:several:';

/** The secret member of each kind of `auth`. */
const SECRET_MEMBERS: Readonly<Record<SourceAuth['type'], string | undefined>> = {
  none: undefined,
  bearer: 'token',
  token: 'token',
  basic: 'password',
  hmac: 'secret',
  'standard-webhooks': 'secret',
  mtls: undefined,
  'routing-key': 'key',
  sasl: 'password',
};

export interface SplitSource {
  /** Fit to be stored and shown. */
  document: SourceDocument;
  /** The secret as it was sent, masks among them; absent when the source has none. */
  secret?: { pointer: string; sent: readonly string[] };
}

export function splitSecrets(source: SourceDocument): SplitSource {
  const found = secretOf(source);
  if (found === undefined) return { document: source };
  const { member, value } = found;
  const sent = Array.isArray(value) ? value : [value];
  const masked = Array.isArray(value) ? value.map(() => MASK) : MASK;
  const document = { ...source, auth: { ...source.auth, [member]: masked } as SourceAuth };
  return { document, secret: { pointer: `/auth/${member}`, sent } };
}

/**
 * What is to be stored: the n-th mask stands for the n-th stored secret, so `["new", "***"]` adds one and keeps the old,
 * and `"***"` afterwards drops it again. `undefined` when a mask stands for nothing.
 */
export function fillMasks(sent: readonly string[], stored: string | undefined): string | undefined {
  const kept = stored === undefined ? [] : decodeSecrets(stored);
  let next = 0;
  const values: string[] = [];
  for (const one of sent) {
    const value = one === MASK ? kept[next++] : one;
    if (value === undefined) return undefined;
    values.push(value);
  }
  return values.length === 1 ? values[0]! : SEVERAL + JSON.stringify(values);
}

export function secretProblem(value: string): string | undefined {
  return value.startsWith(SEVERAL) ? `must not begin with ${SEVERAL}` : undefined;
}

export function decodeSecrets(stored: string): string[] {
  return stored.startsWith(SEVERAL) ? (JSON.parse(stored.slice(SEVERAL.length)) as string[]) : [stored];
}

/** The document with its secrets in place. A missing one is our own fault and must not open the door. */
export function joinSecrets(document: SourceDocument, secrets: ReadonlyMap<string, string>): SourceDocument {
  const found = secretOf(document);
  if (found === undefined) return document;
  const value = secrets.get(`/auth/${found.member}`);
  if (value === undefined)
    throw new OpsError('internal', `the secret of source "${document.name}" is lost; PUT the source again with it`);
  return { ...document, auth: { ...document.auth, [found.member]: decodeSecrets(value) } as SourceAuth };
}

/** The secrets of a source as they stand in it. */
export function secretOf(source: SourceDocument): { member: string; value: SecretText } | undefined {
  const member = source.auth === undefined ? undefined : SECRET_MEMBERS[source.auth.type];
  if (member === undefined) return undefined;
  return { member, value: (source.auth as unknown as Record<string, SecretText>)[member]! };
}
