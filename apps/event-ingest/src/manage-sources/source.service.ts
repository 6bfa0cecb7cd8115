import { Injectable } from '@nestjs/common';
import { newId } from '@opsloop/contracts/ids';
import { OpsError, durationMs } from '@opsloop/contracts';
import type { DocumentView, JsonObject, Page, PutAnswer, SourceDocument, SourceType } from '@opsloop/contracts';
import { Database, DocumentStore } from '@opsloop/postgres';
import type { StoredDocument } from '@opsloop/postgres';
import { checkSource } from './check-source.pure.js';
import { SilenceRepository } from '../watch-silence/silence.repository.js';
import type { SenderRow } from '../watch-silence/silence.repository.js';
import { decodeSecrets, fillMasks, joinSecrets, splitSecrets } from './secrets.pure.js';
import type { SplitSource } from './secrets.pure.js';
import { SourceCache } from './source-cache.service.js';
import { SourceRepository } from './source.repository.js';
import { SourceSecrets } from './source-secrets.service.js';

/** Sources: where events come from. A live source takes deliveries, or polls. */
@Injectable()
export class SourceService {
  constructor(
    private readonly database: Database,
    private readonly documents: DocumentStore,
    private readonly repository: SourceRepository,
    private readonly secrets: SourceSecrets,
    private readonly silence: SilenceRepository,
    private readonly cache: SourceCache,
  ) {}

  async put(tenant: string, name: string, body: unknown, by: string): Promise<PutAnswer> {
    const split = splitSecrets(checkSource(name, body));
    const kept = await this.keepSecrets(tenant, name, split, by);
    const versions = kept.versions;
    return this.database.inTransaction(tenant, async (tx) => {
      const newSecrets = versions !== undefined;
      this.cache.changed(tx);
      if (newSecrets) await this.repository.saveSecrets(tx, name, versions);
      await this.repository.saveRoutingKeys(tx, name, split.document.type === 'pagerduty-events' ? kept.values : []);
      const { expectEvery } = split.document;
      await this.silence.expect(tx, name, expectEvery === undefined ? null : durationMs(expectEvery));
      const put = await this.documents.put(tx, {
        kind: 'source',
        name,
        body: split.document as unknown as JsonObject,
        by,
        live: true,
      });
      if (split.document.type === 'poll')
        await this.repository.schedulePoll(tx, name, durationMs(split.document.every!));
      else await this.repository.unschedulePoll(tx, name);
      // The stored body does not show a new secret, so the store saw no change; caches must hear of it all the same.
      if (put.change === 'unchanged' && newSecrets) {
        tx.publish('documents', {
          id: newId(),
          key: `source/${name}`,
          body: { kind: 'source', name, change: 'changed' },
        });
      }
      const change = put.change === 'unchanged' && newSecrets ? 'changed' : put.change;
      return { kind: 'source', name, change, digest: put.digest };
    });
  }

  async get(tenant: string, name: string): Promise<DocumentView> {
    const stored = await this.liveDocument(tenant, name);
    if (stored === undefined) throw unknownSource(name);
    return view(stored, (await this.silence.of(tenant, [name])).get(name));
  }

  async list(tenant: string, page: { limit: number; cursor?: string | undefined }): Promise<Page<DocumentView>> {
    const { limit, cursor } = page;
    const found = await this.documents.list('source', cursor === undefined ? { limit } : { limit, cursor });
    const senders = await this.silence.of(
      tenant,
      found.items.map((one) => one.name),
    );
    return {
      items: found.items.map((one) => view(one, senders.get(one.name))),
      ...(found.nextCursor === undefined ? {} : { nextCursor: found.nextCursor }),
    };
  }

  async remove(tenant: string, name: string, by: string): Promise<void> {
    await this.database.inTransaction(tenant, async (tx) => {
      const stored = await this.documents.get(tx, 'source', name);
      if (stored === undefined || stored.deletedAt !== undefined) throw unknownSource(name);
      await this.documents.remove(tx, 'source', name, by);
      this.cache.changed(tx);
      await this.repository.saveSecrets(tx, name, new Map());
      await this.repository.saveRoutingKeys(tx, name, []);
      await this.silence.forget(tx, name);
      await this.repository.unschedulePoll(tx, name);
    });
    await this.secrets.forget(name, by);
  }

  /** The same for each delivery, from memory: up to two seconds old in a process that lost the notice of a change. */
  forDelivery(tenant: string, name: string): SourceDocument | Promise<SourceDocument | undefined> {
    return this.cache.get(name, (asked) => this.withSecrets(tenant, asked));
  }

  /** The source with its secrets, for authentication only; `undefined` when there is none. */
  async withSecrets(tenant: string, name: string): Promise<SourceDocument | undefined> {
    const document = await this.live(tenant, name);
    return document === undefined ? undefined : joinSecrets(document, await this.secrets.of(tenant, name));
  }

  /** The source as it is in force, its secrets masked. */
  async live(tenant: string, name: string): Promise<SourceDocument | undefined> {
    return (await this.liveDocument(tenant, name))?.body as SourceDocument | undefined;
  }

  /** Names of the sources of a type that are in force, the first ones when there are more. */
  ofType(tenant: string, type: SourceType, most: number): Promise<{ name: string }[]> {
    return this.repository.ofType(tenant, type, most);
  }

  /** The source that a routing key belongs to. */
  nameOfRoutingKey(key: string): Promise<string | undefined> {
    return this.repository.sourceOfRoutingKey(key);
  }

  private async liveDocument(_tenant: string, name: string): Promise<StoredDocument | undefined> {
    const stored = await this.documents.get(this.database, 'source', name);
    return stored === undefined || stored.deletedAt !== undefined || !stored.live ? undefined : stored;
  }

  /**
   * Puts new secrets into the store; answers the versions that count from now on (none when none changed). Before
   * the transaction that writes the source: a value nobody refers to harms nobody, a source without its value does.
   */
  private async keepSecrets(
    tenant: string,
    name: string,
    split: SplitSource,
    by: string,
  ): Promise<{ versions?: Map<string, number>; values: string[] }> {
    const before = await this.secrets.of(tenant, name);
    const { secret } = split;
    if (secret === undefined) return before.size === 0 ? { values: [] } : { versions: new Map(), values: [] };
    const { pointer, sent } = secret;
    const stored = before.get(pointer);
    const value = fillMasks(sent, stored);
    if (value === undefined) {
      throw new OpsError(
        'validation',
        `source "${name}" has no stored secret at ${pointer}: "***" keeps one that was stored before`,
        {
          errors: [{ pointer, message: 'must be the secret itself, none is stored yet' }],
        },
      );
    }
    const values = decodeSecrets(value);
    if (value === stored && before.size === 1) return { values };
    return { versions: new Map([[pointer, await this.secrets.keep(name, value, by)]]), values };
  }
}

/** What is known of the sender besides its document: when it was heard, and whether it should have been. */
function view(stored: StoredDocument, sender: SenderRow | undefined): DocumentView {
  const { name, digest, status, live, createdAt, createdBy } = stored;
  const meta = {
    ...(sender?.heard_at == null ? {} : { lastHeard: sender.heard_at.toISOString() }),
    ...(sender?.stale_since == null ? {} : { staleSince: sender.stale_since.toISOString() }),
  };
  return { kind: 'source', name, digest, status, live, createdAt, createdBy, body: stored.body, meta };
}

function unknownSource(name: string): OpsError {
  return new OpsError('not-found', `there is no source "${name}"; GET /v1/sources lists them`);
}
