import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { OpsError } from '@opsloop/contracts';
import type { KeyPort, WrappedKey } from './key-port.js';
import { associated, KEY_BYTES, NONCE_BYTES, seal, unseal, type Place } from './seal.js';

/** Where the keys of a {@link KeyRing} come from. */
export type KeySource =
  | { kind: 'none' }
  /** From the environment: we cannot change them. */
  | { kind: 'text'; text: string }
  /** A file of somebody else, such as a mounted secret: read again at each rotation, never written. */
  | { kind: 'file'; file: string }
  /** Our own file: made at the first start, rewritten by a rotation. */
  | { kind: 'own'; file: string };

interface Key {
  id: string;
  bytes: Buffer;
}

const CLOSED =
  'the secret store has no key; set OPSLOOP_SECRETS_KEY_FILE (or OPSLOOP_SECRETS_KEY) for service-catalog to 32 random bytes in base64: openssl rand -base64 32';

/** A name for a key that says nothing about it. */
const idOf = (bytes: Buffer): string =>
  createHash('sha256').update('opsloop key id').update(bytes).digest('hex').slice(0, 12);

function parseKeys(text: string, from: string): Key[] {
  const words = text
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('#'))
    .join(',')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  const keys = words.map((word) => {
    const bytes = Buffer.from(word, 'base64');
    if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(word) || bytes.length !== KEY_BYTES) {
      throw new OpsError(
        'configuration',
        `${from} holds something that is not 32 bytes in base64; make a key with: openssl rand -base64 32`,
      );
    }
    return { id: idOf(bytes), bytes };
  });
  if (keys.length === 0)
    throw new OpsError('configuration', `${from} holds no key; make one with: openssl rand -base64 32`);
  return keys;
}

/** Keys from a file or the environment: the first one wraps, all of them unwrap. */
export class KeyRing implements KeyPort {
  private keys: Key[];

  constructor(private readonly source: KeySource) {
    this.keys = this.load();
  }

  get closed(): string | undefined {
    return this.keys.length === 0 ? CLOSED : undefined;
  }

  wrap(dataKey: Buffer, place: Place): Promise<WrappedKey> {
    const [key] = this.keys;
    if (key === undefined) throw new OpsError('unavailable', CLOSED);
    const wrapped = seal(key.bytes, randomBytes(NONCE_BYTES), dataKey, associated('key', place));
    return Promise.resolve({ keyId: key.id, wrapped });
  }

  unwrap({ keyId, wrapped }: WrappedKey, place: Place): Promise<Buffer> {
    let key = this.keys.find(({ id }) => id === keyId);
    if (key === undefined && this.source.kind !== 'text') {
      // Another process of this app may have rotated meanwhile.
      this.keys = this.load();
      key = this.keys.find(({ id }) => id === keyId);
    }
    if (key === undefined) {
      throw new OpsError(
        'configuration',
        `the secret "${place.name}" is sealed with the key ${keyId}, which is not here; bring that key back, or put the secret again`,
      );
    }
    try {
      return Promise.resolve(unseal(key.bytes, wrapped, associated('key', place)));
    } catch {
      throw new OpsError('configuration', `the sealed secret "${place.name}" was changed; put the secret again`);
    }
  }

  renew(): Promise<{ keyId: string; made: boolean }> {
    this.keys = this.load();
    if (this.source.kind === 'own') this.save([newKey(), ...this.keys]);
    const [key] = this.keys;
    if (key === undefined) throw new OpsError('unavailable', CLOSED);
    return Promise.resolve({ keyId: key.id, made: this.source.kind === 'own' });
  }

  retire(inUse: ReadonlySet<string>): Promise<string[]> {
    const [first, ...others] = this.keys;
    const retired = others.filter(({ id }) => !inUse.has(id));
    if (this.source.kind === 'own' && first !== undefined && retired.length > 0) {
      this.save([first, ...others.filter(({ id }) => inUse.has(id))]);
      for (const { bytes } of retired) bytes.fill(0);
    }
    return Promise.resolve(retired.map(({ id }) => id));
  }

  private load(): Key[] {
    const { source } = this;
    if (source.kind === 'none') return [];
    if (source.kind === 'text') return parseKeys(source.text, 'OPSLOOP_SECRETS_KEY');
    if (source.kind === 'own' && !existsSync(source.file)) this.save([newKey()]);
    try {
      // Whoever can read the file can read every secret.
      if (source.kind === 'own' && (statSync(source.file).mode & 0o077) !== 0)
        throw new OpsError('configuration', `${source.file} is readable for others; run: chmod 600 ${source.file}`);
      return parseKeys(readFileSync(source.file, 'utf8'), source.file);
    } catch (cause) {
      if (cause instanceof OpsError) throw cause;
      throw new OpsError('configuration', `${source.file} cannot be read: ${(cause as Error).message}`, { cause });
    }
  }

  /** Written beside, synced and renamed: a crash leaves the old file or the new one, never half of a key. */
  private save(keys: Key[]): void {
    if (this.source.kind !== 'own') return;
    const { file } = this.source;
    const text = keys.map(({ bytes }) => `${bytes.toString('base64')}\n`).join('');
    const descriptor = openSync(`${file}.new`, 'w', 0o600);
    try {
      writeSync(descriptor, text);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(`${file}.new`, file);
    this.keys = keys;
  }
}

function newKey(): Key {
  const bytes = randomBytes(KEY_BYTES);
  return { id: idOf(bytes), bytes };
}
