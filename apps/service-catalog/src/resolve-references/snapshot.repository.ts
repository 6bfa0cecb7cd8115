import { Injectable } from '@nestjs/common';
import type { AtomDocument, FlowDocument } from '@opsloop/contracts';
import { Database, type Tx } from '@opsloop/postgres';
import { advance, EMPTY, offeringKey, type Snapshot, type StoredOffering } from './snapshot.pure.js';
import type { OfferingKind } from './version.pure.js';

interface DocumentRow {
  kind: OfferingKind;
  name: string;
  version: string;
  status: StoredOffering['status'];
  digest: string;
  body: FlowDocument | AtomDocument;
  created_at: Date;
  created_by: string;
}

const COLUMNS = 'kind, name, version, status, digest, body, created_at, created_by';

/**
 * The catalog of a tenant in memory, never older than the moment it is asked for: each read asks the audit log what
 * changed since, which is one index lookup (0.2 ms), and loads only the names that did.
 */
@Injectable()
export class SnapshotRepository {
  private readonly snapshots = new Map<string, Snapshot>();

  constructor(private readonly db: Database) {}

  /** `tx`: the transaction of a writer, before its own first write, so that nothing uncommitted gets in. */
  async current(tenant: string, tx?: Tx): Promise<Snapshot> {
    const from = this.snapshots.get(tenant);
    const next =
      from === undefined ? await this.loadAll(tenant, tx ?? this.db) : await this.catchUp(tenant, from, tx ?? this.db);
    const newest = this.snapshots.get(tenant);
    // Two readers may catch up at once; the one that saw more wins.
    if (newest === undefined || next.revision >= newest.revision) this.snapshots.set(tenant, next);
    return next;
  }

  private async loadAll(tenant: string, from: Tx | Database): Promise<Snapshot> {
    // The revision first: what commits between the two reads is then read again, never missed.
    const [last] = await from.query<{ id: string | null }>(
      'SELECT max(id) AS id FROM catalog.audit WHERE tenant = $1',
      [tenant],
    );
    const rows = await from.query<DocumentRow>(
      `SELECT ${COLUMNS} FROM catalog.document WHERE tenant = $1 AND kind IN ('flow', 'atom') AND deleted_at IS NULL`,
      [tenant],
    );
    const offerings = rows.map(offeringOf);
    return advance(EMPTY, new Set(), offerings, Number(last?.id ?? 0));
  }

  private async catchUp(tenant: string, from: Snapshot, reader: Tx | Database): Promise<Snapshot> {
    const changes = await reader.query<{ id: string; kind: OfferingKind; name: string }>({
      name: 'catalog.changes',
      text: 'SELECT id, kind, name FROM catalog.audit WHERE tenant = $1 AND id > $2 ORDER BY id',
      values: [tenant, from.revision],
    });
    const last = changes.at(-1);
    if (last === undefined) return from;
    const offerings = changes.filter((c) => c.kind === 'flow' || c.kind === 'atom');
    const names = new Map(offerings.map((c) => [offeringKey(c.kind, c.name), c]));
    const wanted = [...names.values()];
    const rows =
      wanted.length === 0
        ? []
        : await reader.query<DocumentRow>({
            name: 'catalog.changed',
            text: `SELECT ${COLUMNS} FROM catalog.document
             WHERE tenant = $1 AND deleted_at IS NULL AND (kind, name) IN (SELECT * FROM unnest($2::text[], $3::text[]))`,
            values: [tenant, wanted.map((c) => c.kind), wanted.map((c) => c.name)],
          });
    return advance(from, names.keys(), rows.map(offeringOf), Number(last.id));
  }
}

function offeringOf(row: DocumentRow): StoredOffering {
  return {
    kind: row.kind,
    name: row.name,
    version: row.version,
    status: row.status,
    digest: row.digest,
    body: row.body,
    createdAt: row.created_at.toISOString(),
    createdBy: row.created_by,
  };
}
