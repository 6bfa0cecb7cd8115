import { digestOf, type DocumentsMessage, type JsonObject, OpsError, type Page } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { decodeCursor, encodeCursor, type PageQuery } from '@opsloop/platform';
import type { Database } from './database.service.js';
import { type BatchDocument, type BatchResult, putBatch } from './document-batch.js';
import type { Tx } from './tx.js';

export type DocumentStatus = 'draft' | 'published' | 'deprecated';

export interface StoredDocument {
  kind: string;
  name: string;
  version?: string;
  digest: string;
  body: JsonObject;
  live: boolean;
  status: DocumentStatus;
  createdAt: string;
  createdBy: string;
  deletedAt?: string;
  /** Operational state outside the versions, such as the mode of a rule; the same for all versions of a name. */
  meta: JsonObject;
}

export interface PutDocument {
  kind: string;
  name: string;
  version?: string;
  body: JsonObject;
  by: string;
  /** Published and live at once; otherwise a draft. */
  live: boolean;
  /** First operational state; counts only when the name is new. */
  meta?: JsonObject;
}

export interface PutResult {
  change: 'created' | 'changed' | 'unchanged';
  version?: string;
  digest: string;
  seq: number;
}

export interface ListFilter {
  /** Only names with a live document. Default false. */
  live?: boolean;
  /** Also soft-deleted ones. Default false. */
  deleted?: boolean;
  /** Names that start with it, such as `fleet/`. */
  prefix?: string;
  status?: DocumentStatus;
}

/** SQL of the table behind a {@link DocumentStore}; for the `up()` of the app's own migration. */
export function documentTableSql(schema: string): string {
  return `
    CREATE TABLE ${schema}.document (
      tenant text COLLATE "C" NOT NULL,
      kind text COLLATE "C" NOT NULL,
      name text COLLATE "C" NOT NULL,
      seq bigint GENERATED ALWAYS AS IDENTITY,
      version text COLLATE "C",
      digest text NOT NULL,
      body jsonb NOT NULL,
      live boolean NOT NULL DEFAULT false,
      status text NOT NULL CHECK (status IN ('draft', 'published', 'deprecated')),
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      created_by text NOT NULL,
      deleted_at timestamptz,
      deleted_by text,
      meta jsonb NOT NULL DEFAULT '{}',
      PRIMARY KEY (tenant, kind, name, seq)
    );
    CREATE UNIQUE INDEX document_version ON ${schema}.document (tenant, kind, name, version) WHERE version IS NOT NULL;
    CREATE UNIQUE INDEX document_live ON ${schema}.document (tenant, kind, name) WHERE live;
  `;
}

interface Row {
  seq: string;
  kind: string;
  name: string;
  version: string | null;
  digest: string;
  body: JsonObject;
  live: boolean;
  status: DocumentStatus;
  created_at: Date;
  created_by: string;
  deleted_at: Date | null;
  meta: JsonObject;
}

const COLUMNS = 'seq, kind, name, version, digest, body, live, status, created_at, created_by, deleted_at, meta';
/** Reads outside a transaction: until tenants arrive there is one. */
const DEFAULT_TENANT = 'default';

type Reader = Tx | Database;

/** Documents of every kind: versions that never change, one live pointer per name, history that stays. */
export class DocumentStore {
  private readonly table: string;

  constructor(
    private readonly db: Database,
    private readonly schema: string,
  ) {
    this.table = `${schema}.document`;
  }

  /**
   * Stores a document. An equal one is `unchanged`; another body under a published version is a `version-conflict`;
   * a draft may change. A live put moves the live pointer and tells the caches.
   */
  async put(tx: Tx, d: PutDocument): Promise<PutResult> {
    const digest = digestOf(d.body);
    await this.lockName(tx, d.kind, d.name);
    const newest = await this.newestOf(tx, d.kind, d.name);
    const same = d.version === undefined ? await this.liveOf(tx, d.kind, d.name) : await this.versionOf(tx, d);
    if (same !== undefined && same.deleted_at === null) {
      const equal = same.digest === digest;
      const settled = same.live || !d.live;
      if (equal && (settled || same.status === 'published')) return resultOf('unchanged', same);
      if (!equal && d.version !== undefined && same.status !== 'draft') throw versionConflict(d);
    } else if (same !== undefined && same.digest !== digest && same.status !== 'draft') {
      throw versionConflict(d);
    }
    if (d.live) await this.clearLive(tx, d.kind, d.name);
    const row =
      same !== undefined && d.version !== undefined
        ? await this.rewrite(tx, same, d, digest)
        : await this.insert(tx, d, digest, newest?.meta ?? d.meta ?? {});
    const change = newest === undefined || newest.deleted_at !== null ? 'created' : 'changed';
    if (d.live) this.tell(tx, row, change);
    return resultOf(change, row);
  }

  /** A version, or without one the live document, else the newest. Soft-deleted ones only when named by version. */
  async get(from: Reader, kind: string, name: string, version?: string): Promise<StoredDocument | undefined> {
    const values = [tenantOf(from), kind, name];
    const [row] =
      version === undefined
        ? await from.query<Row>({
            name: `${this.schema}.document.get`,
            text: `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND name = $3 AND deleted_at IS NULL
                   ORDER BY live DESC, seq DESC LIMIT 1`,
            values,
          })
        : await from.query<Row>({
            name: `${this.schema}.document.version`,
            text: `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND name = $3 AND version = $4`,
            values: [...values, version],
          });
    return row && documentOf(row);
  }

  /** One document per name (live, else newest), by name. */
  async list(
    kind: string,
    page: PageQuery,
    filter: ListFilter = {},
    from: Reader = this.db,
  ): Promise<Page<StoredDocument>> {
    const after = page.cursor === undefined ? '' : cursorName(page.cursor);
    const rows = await from.query<Row>({
      text: `SELECT ${COLUMNS} FROM (
               SELECT DISTINCT ON (name) ${COLUMNS} FROM ${this.table}
               WHERE tenant = $1 AND kind = $2 AND name > $3 AND ($4 OR deleted_at IS NULL)
                 AND ($5::text IS NULL OR starts_with(name, $5))
               ORDER BY name, live DESC, seq DESC) d
             WHERE (NOT $6 OR live) AND ($7::text IS NULL OR status = $7) ORDER BY name LIMIT $8`,
      values: [
        tenantOf(from),
        kind,
        after,
        filter.deleted === true,
        filter.prefix ?? null,
        filter.live === true,
        filter.status ?? null,
        page.limit + 1,
      ],
    });
    const items = rows.slice(0, page.limit).map(documentOf);
    const last = items.at(-1);
    return rows.length > page.limit && last ? { items, nextCursor: encodeCursor(last.name) } : { items };
  }

  /** Every stored version, newest first. */
  async versions(kind: string, name: string, from: Reader = this.db): Promise<StoredDocument[]> {
    const rows = await from.query<Row>(
      `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND name = $3 ORDER BY seq DESC`,
      [tenantOf(from), kind, name],
    );
    return rows.map(documentOf);
  }

  /** All live documents of a kind: what rule engines and caches load. */
  async live(kind: string, from: Reader = this.db): Promise<StoredDocument[]> {
    const rows = await from.query<Row>({
      name: `${this.schema}.document.live`,
      text: `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND live ORDER BY name`,
      values: [tenantOf(from), kind],
    });
    return rows.map(documentOf);
  }

  /** What is live, without the bodies: what changed is seen by the digest. */
  async heads(
    kind: string,
    from: Reader = this.db,
  ): Promise<Omit<StoredDocument, 'body' | 'createdAt' | 'createdBy'>[]> {
    const rows = await from.query<Omit<Row, 'body' | 'created_at' | 'created_by'>>({
      name: `${this.schema}.document.heads`,
      text: `SELECT kind, name, version, digest, live, status, deleted_at, meta FROM ${this.table}
             WHERE tenant = $1 AND kind = $2 AND live ORDER BY name`,
      values: [tenantOf(from), kind],
    });
    return rows.map(({ version, deleted_at: _deleted, seq: _seq, ...row }) => ({
      ...row,
      ...(version === null ? {} : { version }),
    }));
  }

  /** Live bodies of these names, by name. */
  async bodies(kind: string, names: readonly string[], from: Reader = this.db): Promise<Map<string, JsonObject>> {
    const rows = await from.query<{ name: string; body: JsonObject }>({
      name: `${this.schema}.document.bodies`,
      text: `SELECT name, body FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND live AND name = ANY ($3)`,
      values: [tenantOf(from), kind, names],
    });
    return new Map(rows.map(({ name, body }) => [name, body]));
  }

  /** Versions of many names become live together, or none of them. */
  putMany(tx: Tx, kind: string, documents: readonly BatchDocument[], by: string): Promise<BatchResult[]> {
    return putBatch(tx, this.table, kind, documents, by);
  }

  /** From now on this version is as it is, although another one is live: it is used beside that one. */
  async freeze(tx: Tx, kind: string, name: string, version: string): Promise<StoredDocument> {
    await this.lockName(tx, kind, name);
    const [row] = await tx.query<Row>(
      `UPDATE ${this.table} SET status = 'published' WHERE tenant = $1 AND kind = $2 AND name = $3 AND version = $4 AND deleted_at IS NULL
       RETURNING ${COLUMNS}`,
      [tx.tenant, kind, name, version],
    );
    if (row === undefined) throw notFound(kind, name, version);
    return documentOf(row);
  }

  /** Publishes a version and points the name at it; going back to an earlier one says `rolled-back`. */
  async setLive(tx: Tx, kind: string, name: string, version: string, _by: string): Promise<StoredDocument> {
    await this.lockName(tx, kind, name);
    const target = await this.versionOf(tx, { kind, name, version });
    if (target === undefined || target.deleted_at !== null) throw notFound(kind, name, version);
    if (target.live) return documentOf(target);
    const before = await this.liveOf(tx, kind, name);
    await this.clearLive(tx, kind, name);
    const [row] = await tx.query<Row>(
      `UPDATE ${this.table} SET live = true, status = 'published' WHERE tenant = $1 AND kind = $2 AND name = $3 AND seq = $4
       RETURNING ${COLUMNS}`,
      [tx.tenant, kind, name, target.seq],
    );
    const back = before !== undefined && BigInt(before.seq) > BigInt(target.seq);
    this.tell(tx, row!, back ? 'rolled-back' : 'published');
    return documentOf(row!);
  }

  /** Publishes (without moving the live pointer) or deprecates a version. */
  async setStatus(
    tx: Tx,
    kind: string,
    name: string,
    version: string,
    status: DocumentStatus,
  ): Promise<StoredDocument> {
    await this.lockName(tx, kind, name);
    const [row] = await tx.query<Row>(
      `UPDATE ${this.table} SET status = $5 WHERE tenant = $1 AND kind = $2 AND name = $3 AND version = $4
       AND deleted_at IS NULL RETURNING ${COLUMNS}`,
      [tx.tenant, kind, name, version, status],
    );
    if (row === undefined) throw notFound(kind, name, version);
    this.tell(tx, row, 'changed');
    return documentOf(row);
  }

  /** Replaces the operational state of a name, for all its versions. */
  async setMeta(tx: Tx, kind: string, name: string, meta: JsonObject): Promise<StoredDocument> {
    await this.lockName(tx, kind, name);
    await tx.query(`UPDATE ${this.table} SET meta = $4 WHERE tenant = $1 AND kind = $2 AND name = $3`, [
      tx.tenant,
      kind,
      name,
      JSON.stringify(meta),
    ]);
    const row = (await this.liveOf(tx, kind, name)) ?? (await this.newestOf(tx, kind, name));
    if (row === undefined) throw notFound(kind, name);
    this.tell(tx, row, 'changed');
    return documentOf(row);
  }

  /** Soft delete: the name has no live document any more, its versions stay for explanations. Gone already = false. */
  async remove(tx: Tx, kind: string, name: string, by: string): Promise<boolean> {
    await this.lockName(tx, kind, name);
    const rows = await tx.query<Row>(
      `UPDATE ${this.table} SET live = false, deleted_at = clock_timestamp(), deleted_by = $4
       WHERE tenant = $1 AND kind = $2 AND name = $3 AND deleted_at IS NULL RETURNING ${COLUMNS}`,
      [tx.tenant, kind, name, by],
    );
    const last = rows.at(-1);
    if (last === undefined) return false;
    this.tell(tx, last, 'deleted');
    return true;
  }

  /** Two writers of one name take turns; other names are not touched. */
  private async lockName(tx: Tx, kind: string, name: string): Promise<void> {
    await tx.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [
      `${this.table}\n${tx.tenant}\n${kind}\n${name}`,
    ]);
  }

  private async newestOf(tx: Tx, kind: string, name: string): Promise<Row | undefined> {
    const [row] = await tx.query<Row>(
      `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND name = $3 ORDER BY deleted_at IS NOT NULL, seq DESC LIMIT 1`,
      [tx.tenant, kind, name],
    );
    return row;
  }

  private async liveOf(tx: Tx, kind: string, name: string): Promise<Row | undefined> {
    const [row] = await tx.query<Row>(
      `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND name = $3 AND live`,
      [tx.tenant, kind, name],
    );
    return row;
  }

  private async versionOf(tx: Tx, d: { kind: string; name: string; version?: string }): Promise<Row | undefined> {
    const [row] = await tx.query<Row>(
      `SELECT ${COLUMNS} FROM ${this.table} WHERE tenant = $1 AND kind = $2 AND name = $3 AND version = $4`,
      [tx.tenant, d.kind, d.name, d.version],
    );
    return row;
  }

  private async clearLive(tx: Tx, kind: string, name: string): Promise<void> {
    await tx.query(`UPDATE ${this.table} SET live = false WHERE tenant = $1 AND kind = $2 AND name = $3 AND live`, [
      tx.tenant,
      kind,
      name,
    ]);
  }

  private async insert(tx: Tx, d: PutDocument, digest: string, meta: JsonObject): Promise<Row> {
    const [row] = await tx.query<Row>(
      `INSERT INTO ${this.table} (tenant, kind, name, version, digest, body, live, status, created_by, meta)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING ${COLUMNS}`,
      [
        tx.tenant,
        d.kind,
        d.name,
        d.version ?? null,
        digest,
        JSON.stringify(d.body),
        d.live,
        d.live ? 'published' : 'draft',
        d.by,
        JSON.stringify(meta),
      ],
    );
    return row!;
  }

  /** A draft that changes, a draft that is published, or a deleted version that comes back. */
  private async rewrite(tx: Tx, old: Row, d: PutDocument, digest: string): Promise<Row> {
    const [row] = await tx.query<Row>(
      `UPDATE ${this.table} SET digest = $5, body = $6, live = $7, status = $8, deleted_at = NULL, deleted_by = NULL
       WHERE tenant = $1 AND kind = $2 AND name = $3 AND seq = $4 RETURNING ${COLUMNS}`,
      [tx.tenant, d.kind, d.name, old.seq, digest, JSON.stringify(d.body), d.live, d.live ? 'published' : old.status],
    );
    return row!;
  }

  private tell(tx: Tx, row: Row, change: DocumentsMessage['change']): void {
    tx.publish('documents', {
      id: newId(),
      key: `${row.kind}/${row.name}`,
      body: {
        kind: row.kind,
        name: row.name,
        change,
        digest: row.digest,
        ...(row.version === null ? {} : { version: row.version }),
      },
    });
  }
}

function tenantOf(from: Reader): string {
  return 'tenant' in from ? from.tenant : DEFAULT_TENANT;
}

function cursorName(cursor: string): string {
  const name = decodeCursor(cursor);
  if (typeof name === 'string') return name;
  throw new OpsError('validation', 'The cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
  });
}

function resultOf(change: PutResult['change'], row: Row): PutResult {
  return {
    change,
    digest: row.digest,
    seq: Number(row.seq),
    ...(row.version === null ? {} : { version: row.version }),
  };
}

function versionConflict(d: { kind: string; name: string; version?: string }): OpsError {
  return new OpsError(
    'version-conflict',
    `${d.kind} ${d.name} has a published version ${d.version} with another content; raise the version`,
    { errors: [{ pointer: '/version', message: 'is published already; raise it' }] },
  );
}

function notFound(kind: string, name: string, version?: string): OpsError {
  return new OpsError(
    'not-found',
    `There is no ${kind} ${name}${version === undefined ? '' : ` in version ${version}`}`,
  );
}

function documentOf(row: Row): StoredDocument {
  return {
    kind: row.kind,
    name: row.name,
    digest: row.digest,
    body: row.body,
    live: row.live,
    status: row.status,
    createdAt: row.created_at.toISOString(),
    createdBy: row.created_by,
    meta: row.meta,
    ...(row.version === null ? {} : { version: row.version }),
    ...(row.deleted_at === null ? {} : { deletedAt: row.deleted_at.toISOString() }),
  };
}
