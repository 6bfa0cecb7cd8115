import { Injectable } from '@nestjs/common';
import { newId } from '@opsloop/contracts/ids';
import { OpsError, durationMs } from '@opsloop/contracts';
import type { DocumentView, JsonObject, Page, PutAnswer, SourceDocument } from '@opsloop/contracts';
import { Database, DocumentStore } from '@opsloop/postgres';
import type { StoredDocument, Tx } from '@opsloop/postgres';
import { checkSource } from './check-source.pure.js';
import { joinSecrets, splitSecrets } from './secrets.pure.js';
import type { SplitSource } from './secrets.pure.js';
import { SourceRepository } from './source.repository.js';

/** Sources: where events come from. A live source takes deliveries, or polls. */
@Injectable()
export class SourceService {
  constructor(
    private readonly database: Database,
    private readonly documents: DocumentStore,
    private readonly repository: SourceRepository,
  ) {}

  async put(tenant: string, name: string, body: unknown, by: string): Promise<PutAnswer> {
    const split = splitSecrets(checkSource(name, body));
    return this.database.inTransaction(tenant, async (tx) => {
      const newSecrets = await this.saveSecrets(tx, name, split);
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
    const stored = await this.live(tenant, name);
    if (stored === undefined) throw unknownSource(name);
    return view(stored);
  }

  async list(tenant: string, page: { limit: number; cursor?: string | undefined }): Promise<Page<DocumentView>> {
    const { limit, cursor } = page;
    const found = await this.documents.list('source', cursor === undefined ? { limit } : { limit, cursor });
    return {
      items: found.items.map(view),
      ...(found.nextCursor === undefined ? {} : { nextCursor: found.nextCursor }),
    };
  }

  async remove(tenant: string, name: string, by: string): Promise<void> {
    await this.database.inTransaction(tenant, async (tx) => {
      const stored = await this.documents.get(tx, 'source', name);
      if (stored === undefined || stored.deletedAt !== undefined) throw unknownSource(name);
      await this.documents.remove(tx, 'source', name, by);
      await this.repository.saveSecrets(tx, name, new Map());
      await this.repository.unschedulePoll(tx, name);
    });
  }

  /** The source with its secrets, for authentication only; `undefined` when there is none. */
  async withSecrets(tenant: string, name: string): Promise<SourceDocument | undefined> {
    const stored = await this.live(tenant, name);
    if (stored === undefined) return undefined;
    const document = stored.body as unknown as SourceDocument;
    return joinSecrets(document, await this.repository.secrets(tenant, name));
  }

  private async live(_tenant: string, name: string): Promise<StoredDocument | undefined> {
    const stored = await this.documents.get(this.database, 'source', name);
    return stored === undefined || stored.deletedAt !== undefined || !stored.live ? undefined : stored;
  }

  /** Saves new secrets and keeps masked ones; answers whether anything changed. */
  private async saveSecrets(tx: Tx, name: string, split: SplitSource): Promise<boolean> {
    const before = await this.repository.secrets(tx.tenant, name, tx);
    const after = new Map(split.secrets);
    for (const pointer of split.kept) {
      const value = before.get(pointer);
      if (value === undefined) {
        throw new OpsError(
          'validation',
          `source "${name}" has no stored secret at ${pointer}: "***" keeps one that was stored before`,
          {
            errors: [{ pointer, message: 'must be the secret itself, none is stored yet' }],
          },
        );
      }
      after.set(pointer, value);
    }
    const changed = after.size !== before.size || [...after].some(([pointer, value]) => before.get(pointer) !== value);
    if (changed) await this.repository.saveSecrets(tx, name, after);
    return changed;
  }
}

function view(stored: StoredDocument): DocumentView {
  const { name, digest, status, live, createdAt, createdBy } = stored;
  return { kind: 'source', name, digest, status, live, createdAt, createdBy, body: stored.body };
}

function unknownSource(name: string): OpsError {
  return new OpsError('not-found', `there is no source "${name}"; GET /v1/sources lists them`);
}
