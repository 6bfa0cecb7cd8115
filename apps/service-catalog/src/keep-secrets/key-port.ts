import type { Place } from './seal.js';

export interface WrappedKey {
  keyId: string;
  wrapped: Buffer;
}

/**
 * Where key-encryption keys live. They wrap and unwrap data keys and never leave; a key management service fits behind
 * this as well as a file.
 */
export interface KeyPort {
  /** Why nothing can be sealed, with the remedy; `undefined` when all is well. */
  readonly closed: string | undefined;
  /** Wraps with the key that counts now. */
  wrap(dataKey: Buffer, place: Place): Promise<WrappedKey>;
  /** Throws when the key is not here. */
  unwrap(key: WrappedKey, place: Place): Promise<Buffer>;
  /** Takes a new key into use, where this port makes its keys itself; answers the id of the key that counts now. */
  renew(): Promise<{ keyId: string; made: boolean }>;
  /** Forgets, where this port keeps its keys itself, all but these; answers the ids that are no longer needed. */
  retire(inUse: ReadonlySet<string>): Promise<string[]>;
}

/** Injection token of the {@link KeyPort}. */
export const SECRET_KEYS = Symbol('SECRET_KEYS');
