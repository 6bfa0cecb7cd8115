/** Many documents in one go: three statements, however many they are. */
import { digestOf, type JsonObject } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import type { PutResult } from './document-store.js';
import type { Tx } from './tx.js';

/** One version of a document that becomes live. */
export interface BatchDocument {
  name: string;
  version: string;
  body: JsonObject;
  /** First operational state; counts only when the name is new. */
  meta: JsonObject;
}

export type BatchResult = PutResult | { change: 'conflict'; version: string };

interface Known {
  name: string;
  seq: string;
  version: string;
  digest: string;
  live: boolean;
  draft: boolean;
  deleted: boolean;
  meta: JsonObject;
}

/**
 * Makes all of them live, or none when one conflicts with a published version; the answer says which. Other writers of
 * the table wait meanwhile: a lock for each of 10,000 names would not fit PostgreSQL's lock table.
 */
export async function putBatch(
  tx: Tx,
  table: string,
  kind: string,
  documents: readonly BatchDocument[],
  by: string,
): Promise<BatchResult[]> {
  await tx.query(`LOCK TABLE ${table} IN SHARE ROW EXCLUSIVE MODE`);
  const known = await knownOf(tx, table, kind, documents);
  const plans = documents.map((document) => planOf(document, known.get(document.name) ?? []));
  if (plans.some(({ result }) => result.change === 'conflict')) return plans.map(({ result }) => result);
  const changed = plans.filter(({ result }) => result.change !== 'unchanged');
  if (changed.length === 0) return plans.map(({ result }) => result);
  await tx.query(`UPDATE ${table} SET live = false WHERE tenant = $1 AND kind = $2 AND live AND name = ANY ($3)`, [
    tx.tenant,
    kind,
    changed.map(({ document }) => document.name),
  ]);
  const rows = changed.map(({ document, digest, meta }) => ({ ...document, digest, meta }));
  await tx.query(
    `INSERT INTO ${table} AS d (tenant, kind, name, version, digest, body, live, status, created_by, meta)
     SELECT $1, $2, x.name, x.version, x.digest, x.body, true, 'published', $4, x.meta
     FROM jsonb_to_recordset($3) x(name text, version text, digest text, body jsonb, meta jsonb)
     ON CONFLICT (tenant, kind, name, version) WHERE version IS NOT NULL
     DO UPDATE SET digest = EXCLUDED.digest, body = EXCLUDED.body, live = true, status = 'published', deleted_at = NULL, deleted_by = NULL`,
    [tx.tenant, kind, JSON.stringify(rows), by],
  );
  tx.publish('documents', { id: newId(), key: `${kind}/*`, body: { kind, name: '*', change: 'changed' } });
  return plans.map(({ result }) => result);
}

async function knownOf(
  tx: Tx,
  table: string,
  kind: string,
  documents: readonly BatchDocument[],
): Promise<Map<string, Known[]>> {
  const rows = await tx.query<Known>(
    `SELECT name, seq, version, digest, live, status = 'draft' AS draft, deleted_at IS NOT NULL AS deleted, meta
     FROM ${table} WHERE tenant = $1 AND kind = $2 AND name = ANY ($3) ORDER BY name, deleted_at IS NOT NULL, seq DESC`,
    [tx.tenant, kind, documents.map(({ name }) => name)],
  );
  const byName = new Map<string, Known[]>();
  for (const row of rows) byName.set(row.name, [...(byName.get(row.name) ?? []), row]);
  return byName;
}

function planOf(
  document: BatchDocument,
  known: readonly Known[],
): { document: BatchDocument; digest: string; meta: JsonObject; result: BatchResult } {
  const { version } = document;
  const digest = digestOf(document.body);
  const same = known.find((row) => row.version === version);
  const newest = known[0];
  const gone = newest === undefined || newest.deleted;
  const base = { document, digest, meta: gone ? document.meta : newest.meta };
  const answer = (change: PutResult['change']): PutResult => ({ change, version, digest, seq: Number(same?.seq ?? 0) });
  if (same !== undefined && same.digest !== digest && !same.draft)
    return { ...base, result: { change: 'conflict', version } };
  if (same !== undefined && same.digest === digest && same.live) return { ...base, result: answer('unchanged') };
  return { ...base, result: answer(gone ? 'created' : 'changed') };
}
