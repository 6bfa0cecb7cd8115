import { hash, timingSafeEqual } from 'node:crypto';

export interface Principal {
  tenant: string;
  kind: 'user' | 'token' | 'service';
  name: string;
  roles: string[];
  /** Teams this caller speaks for, as approvals name them. Empty for the admin key and for the apps. */
  groups: string[];
  /** Patterns of the secrets that a worker's token may resolve; absent for everybody else. */
  secrets?: string[];
}

export interface KnownTokens {
  admin?: Buffer;
  service: Buffer;
  tenant: string;
}

/** Longest bearer token looked at; ours are 64 characters, and hashing megabytes for a stranger is a gift. */
const TOKEN_CHARS_MAX = 1_024;

export function hashToken(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

/** `Bearer <token>` → token; anything else → undefined. */
export function bearerToken(header: string | undefined): string | undefined {
  const match = /^bearer +(\S+)$/i.exec(header ?? '');
  const token = match?.[1];
  return token !== undefined && token.length <= TOKEN_CHARS_MAX ? token : undefined;
}

/**
 * Who a token of this hash belongs to. Hashes are compared, in constant time and against every known token, so that neither the
 * length of a common prefix nor the kind of a near miss can be measured.
 */
export function principalOf(hash: Buffer, known: KnownTokens): Principal | undefined {
  const isAdmin = known.admin !== undefined && timingSafeEqual(hash, known.admin);
  const isService = timingSafeEqual(hash, known.service);
  if (isAdmin) return { tenant: known.tenant, kind: 'user', name: 'admin', roles: ['admin'], groups: [] };
  if (isService) return { tenant: known.tenant, kind: 'service', name: 'opsloop', roles: ['service'], groups: [] };
  return undefined;
}
