import { Inject, Injectable } from '@nestjs/common';
import { OpsError, type PutAnswer } from '@opsloop/contracts';
import type { Principal } from '@opsloop/platform';
import { Database, DocumentStore, type DocumentStatus, type Tx } from '@opsloop/postgres';
import type { Finding } from '@opsloop/rules';
import { AuditRepository } from '../read-audit/audit.repository.js';
import { type CatalogKind, checkDocument } from './checks.pure.js';

/** The common answer of PUT, with what is worth knowing about this one. */
export interface PutOutcome extends PutAnswer {
  status: DocumentStatus;
  warnings: Finding[];
  warning?: string;
  next?: string;
}

/** Injection token of the {@link DocumentStore} of this app. */
export const CATALOG_STORE = Symbol('CATALOG_STORE');

/**
 * Writers of one tenant take turns: then a publish checks its references against a catalog that cannot change under
 * it, and audit ids grow in order of commit. Authoring is rare; a turn lasts a few milliseconds.
 */
export async function takeTurn(tx: Tx): Promise<void> {
  await tx.query({
    name: 'catalog.turn',
    text: "SELECT pg_advisory_xact_lock(hashtextextended('catalog.write' || chr(10) || $1, 0))",
    values: [tx.tenant],
  });
}

@Injectable()
export class DocumentWriter {
  constructor(
    private readonly db: Database,
    @Inject(CATALOG_STORE) private readonly store: DocumentStore,
    private readonly audit: AuditRepository,
  ) {}

  /** Checks and keeps a document. Flows become drafts, everything else is live at once. */
  async put(who: Principal, kind: CatalogKind, address: string, body: unknown): Promise<PutOutcome> {
    const checked = checkDocument(kind, address, body);
    const { name, version } = checked;
    return this.db.inTransaction(who.tenant, async (tx) => {
      await takeTurn(tx);
      const before = await this.store.get(tx, kind, name, version);
      const isNew = before === undefined || before.deletedAt !== undefined;
      const result = await this.store.put(tx, {
        kind,
        name,
        body: checked.body,
        by: who.name,
        live: kind !== 'flow',
        ...(version === undefined ? {} : { version }),
      });
      const change = result.change === 'unchanged' ? 'unchanged' : isNew ? 'created' : 'changed';
      const status: DocumentStatus = kind !== 'flow' ? 'published' : isNew ? 'draft' : before.status;
      const stored = { kind, name, digest: result.digest, ...(version === undefined ? {} : { version }) };
      if (change !== 'unchanged') await this.audit.record(tx, { by: who.name, act: 'put', ...stored });
      return { change, ...stored, status, warnings: checked.warnings, ...hintsFor(kind, name, version, status) };
    });
  }

  /** Takes a document out of use; its versions stay for explanations. Gone already is fine as well. */
  async remove(who: Principal, kind: CatalogKind, name: string): Promise<void> {
    await this.db.inTransaction(who.tenant, async (tx) => {
      await takeTurn(tx);
      const before = await this.store.get(tx, kind, name);
      if (before === undefined) throw new OpsError('not-found', `There is no ${kind} ${name}`);
      await this.store.remove(tx, kind, name, who.name);
      await this.audit.record(tx, { by: who.name, act: 'delete', kind, name });
    });
  }
}

/** What a person should know or do next. */
function hintsFor(
  kind: CatalogKind,
  name: string,
  version: string | undefined,
  status: DocumentStatus,
): { warning?: string; next?: string } {
  if (kind === 'schedule') return { next: `GET /v1/schedules/${name}/next tells when it fires` };
  if (kind === 'flow' && status === 'draft')
    return { next: `POST /v1/flows/${name}/publish {"version":"${version ?? ''}"} lets it start` };
  return {};
}
