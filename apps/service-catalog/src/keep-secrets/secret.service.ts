import { randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { OpsError, type Page } from '@opsloop/contracts';
import { Logger, type PageQuery, type Principal } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { pageOf } from '../page.pure.js';
import { AuditRepository } from '../read-audit/audit.repository.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { takeTurn } from '../write-documents/document-writer.service.js';
import { SECRET_KEYS, type KeyPort } from './key-port.js';
import { associated, KEY_BYTES, NONCE_BYTES, seal, unseal } from './seal.js';
import { SecretRepository, type SealedSecret, type SecretLine } from './secret.repository.js';
import { matchesAny, usesOf } from './uses.pure.js';

export interface SecretView extends SecretLine {
  usedBy: string[];
}

export interface KeyRotation {
  /** The key that wraps everything now. */
  keyId: string;
  /** We made it; otherwise it is the first of the configured ones. */
  made: boolean;
  rewrapped: number;
  /** Keys that nothing needs any more. */
  retired: string[];
}

type Resolved = { name: string; version: number; value: string };

/** Keeps secrets sealed. Values come in; they go out only to the apps and to workers that may have them. */
@Injectable()
export class SecretService {
  constructor(
    private readonly db: Database,
    private readonly secrets: SecretRepository,
    private readonly audit: AuditRepository,
    private readonly snapshots: SnapshotRepository,
    @Inject(SECRET_KEYS) private readonly keys: KeyPort,
    private readonly logger: Logger,
  ) {}

  async put(
    tenant: string,
    by: string,
    name: string,
    value: string,
    reason?: string,
  ): Promise<{ name: string; version: number; change: 'created' | 'changed' }> {
    if (this.keys.closed !== undefined) throw new OpsError('unavailable', this.keys.closed);
    return this.db.inTransaction(tenant, async (tx) => {
      await takeTurn(tx);
      const { version, kept } = await this.secrets.nextVersion(tx, name);
      await this.secrets.save(tx, await this.sealed(tx.tenant, name, version, value), by);
      await this.note(tx, by, 'put', name, version, reason);
      return { name, version, change: kept ? 'changed' : 'created' };
    });
  }

  async remove(tenant: string, by: string, name: string): Promise<boolean> {
    return this.db.inTransaction(tenant, async (tx) => {
      await takeTurn(tx);
      const removed = await this.secrets.remove(tx, name, by);
      if (removed) await this.note(tx, by, 'delete', name);
      return removed;
    });
  }

  async list(tenant: string, page: PageQuery): Promise<Page<SecretView>> {
    const [lines, snapshot] = await Promise.all([this.secrets.list(tenant), this.snapshots.current(tenant)]);
    const uses = usesOf([...snapshot.offerings.values()].flat());
    const found = pageOf(lines, page, (line) => line.name);
    // A secret called `source/x` belongs to that source.
    const usedBy = (name: string): string[] => (name.includes('/') ? [name] : (uses.get(name) ?? []));
    return { ...found, items: found.items.map((line) => ({ ...line, usedBy: usedBy(line.name) })) };
  }

  /** Values, for the moment of their use. */
  async resolve(tenant: string, names: readonly string[]): Promise<Resolved[]> {
    const found = await this.secrets.find(tenant, names);
    return Promise.all(found.map((secret) => this.opened(tenant, secret)));
  }

  /** Values for a team's worker: only what its token names. One name that it does not name refuses all. */
  async resolveFor(who: Principal, names: readonly string[]): Promise<Resolved[]> {
    const refused = names.filter((name) => !matchesAny(name, who.secrets ?? []));
    if (refused.length > 0) {
      throw new OpsError(
        'authorization',
        `the token "${who.name}" may not resolve ${refused.map((name) => `"${name}"`).join(', ')}; an admin gives a worker its secrets: opsloop tokens create NAME --role worker --secret ${refused[0]}`,
      );
    }
    const found = await this.resolve(who.tenant, names);
    // Reading is no act that changes anything, so it is no audit entry; but who had what must be found out afterwards.
    this.logger.info('a worker resolved secrets', { worker: who.name, names: found.map(({ name }) => name) });
    return found;
  }

  /** Takes the newest key into use and wraps every data key with it; the values themselves are not touched. */
  async rotate(who: Principal, reason?: string): Promise<KeyRotation> {
    const { keyId, made } = await this.keys.renew();
    const rewrapped = await this.db.inTransaction(who.tenant, async (tx) => {
      await takeTurn(tx);
      const all = await this.secrets.lockAll(tx);
      const old = all.filter((secret) => secret.keyId !== keyId);
      for (const secret of old) await this.rewrap(tx, secret);
      await this.audit.record(tx, {
        by: who.name,
        act: 'rotate',
        kind: 'secret-key',
        name: keyId,
        ...(reason === undefined ? {} : { reason }),
      });
      return old.length;
    });
    // After the commit: a key is forgotten only once nothing needs it.
    const retired = await this.keys.retire(await this.secrets.keysInUse());
    return { keyId, made, rewrapped, retired };
  }

  private async sealed(tenant: string, name: string, version: number, value: string): Promise<SealedSecret> {
    const place = { tenant, name, version };
    const dataKey = randomBytes(KEY_BYTES);
    const plain = Buffer.from(value, 'utf8');
    try {
      const sealed = seal(dataKey, randomBytes(NONCE_BYTES), plain, associated('value', place));
      return { name, version, sealed, ...(await this.keys.wrap(dataKey, place)) };
    } finally {
      dataKey.fill(0);
      plain.fill(0);
    }
  }

  private async opened(tenant: string, secret: SealedSecret): Promise<Resolved> {
    const { name, version } = secret;
    const place = { tenant, name, version };
    const dataKey = await this.keys.unwrap(secret, place);
    try {
      const plain = unseal(dataKey, secret.sealed, associated('value', place));
      const value = plain.toString('utf8');
      plain.fill(0);
      return { name, version, value };
    } catch {
      throw new OpsError('configuration', `the sealed secret "${name}" was changed; put the secret again`);
    } finally {
      dataKey.fill(0);
    }
  }

  private async rewrap(tx: Tx, secret: SealedSecret): Promise<void> {
    const place = { tenant: tx.tenant, name: secret.name, version: secret.version };
    const dataKey = await this.keys.unwrap(secret, place);
    try {
      const { keyId, wrapped } = await this.keys.wrap(dataKey, place);
      await this.secrets.rewrap(tx, secret.name, keyId, wrapped);
    } finally {
      dataKey.fill(0);
    }
  }

  private note(tx: Tx, by: string, act: 'put' | 'delete', name: string, version?: number, reason?: string) {
    return this.audit.record(tx, {
      by,
      act,
      kind: 'secret',
      name,
      ...(version === undefined ? {} : { version: String(version) }),
      ...(reason === undefined ? {} : { reason }),
    });
  }
}
