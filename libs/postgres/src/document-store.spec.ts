import 'reflect-metadata';
import type { DocumentsMessage, JsonObject } from '@opsloop/contracts';
import { createTestDatabase, type TestDatabase } from '@opsloop/testing';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectDatabase } from './connect.js';
import type { Database } from './database.service.js';
import { documentTableSql, DocumentStore, type PutResult } from './document-store.js';

class CreateDocuments1700000000003 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ${documentTableSql('spec')}
      CREATE TABLE bus.message (id bigint GENERATED ALWAYS AS IDENTITY, body jsonb);
      CREATE FUNCTION bus.publish(text[], text[], uuid[], text, jsonb[]) RETURNS void LANGUAGE sql AS $$
        INSERT INTO bus.message (body) SELECT unnest($5) $$`);
  }
  async down(): Promise<void> {}
}

let made: TestDatabase;
let db: Database;
let store: DocumentStore;

beforeAll(async () => {
  made = await createTestDatabase();
  const migrations = [
    { schema: 'bus', migrations: [] },
    { schema: 'spec', migrations: [CreateDocuments1700000000003] },
  ];
  db = await connectDatabase({ url: made.url, migrations }, console);
  store = new DocumentStore(db, 'spec');
});
afterAll(async () => {
  await db.dataSource.destroy();
  await made.drop();
});

function put(
  kind: string,
  name: string,
  version: string | undefined,
  body: JsonObject,
  live = true,
): Promise<PutResult> {
  return db.inTransaction('default', (tx) =>
    store.put(tx, { kind, name, body, by: 'ann', live, ...(version === undefined ? {} : { version }) }),
  );
}

async function told(name: string): Promise<(string | undefined)[][]> {
  const rows = await db.query<{ body: DocumentsMessage }>(`SELECT body FROM bus.message ORDER BY id`);
  return rows.filter((row) => row.body.name === name).map(({ body }) => [body.change, body.version]);
}

test('a published version never changes, an equal one is unchanged, a new one becomes live', async () => {
  expect(await put('rule', 'a/one', '1.0.0', { x: 1, y: 2 })).toMatchObject({ change: 'created', version: '1.0.0' });
  expect(await put('rule', 'a/one', '1.0.0', { y: 2, x: 1 })).toMatchObject({ change: 'unchanged' });
  await expect(put('rule', 'a/one', '1.0.0', { x: 2 })).rejects.toMatchObject({ code: 'version-conflict' });
  expect(await put('rule', 'a/one', '1.1.0', { x: 2 })).toMatchObject({ change: 'changed' });
  expect(await store.get(db, 'rule', 'a/one')).toMatchObject({ version: '1.1.0', live: true, createdBy: 'ann' });
  expect(await store.get(db, 'rule', 'a/one', '1.0.0')).toMatchObject({ body: { x: 1, y: 2 }, live: false });
  expect((await store.versions('rule', 'a/one')).map((d) => d.version)).toEqual(['1.1.0', '1.0.0']);
  expect(await told('a/one')).toEqual([
    ['created', '1.0.0'],
    ['changed', '1.1.0'],
  ]);
});

test('a draft may change, is not live, and is published by setLive; going back says so', async () => {
  await put('flow', 'a/flow', '1.0.0', { x: 1 }, false);
  expect(await put('flow', 'a/flow', '1.0.0', { x: 2 }, false)).toMatchObject({ change: 'changed' });
  expect(await store.live('flow')).toEqual([]);
  expect(await store.get(db, 'flow', 'a/flow')).toMatchObject({ status: 'draft', body: { x: 2 } });
  const live = (version: string): Promise<unknown> =>
    db.inTransaction('default', (tx) => store.setLive(tx, 'flow', 'a/flow', version, 'ann'));
  await live('1.0.0');
  await expect(put('flow', 'a/flow', '1.0.0', { x: 3 }, false)).rejects.toMatchObject({ code: 'version-conflict' });
  await put('flow', 'a/flow', '2.0.0', { x: 4 }, false);
  expect((await store.live('flow')).map((d) => d.version)).toEqual(['1.0.0']);
  await live('2.0.0');
  await live('2.0.0');
  await live('1.0.0');
  expect(await told('a/flow')).toEqual([
    ['published', '1.0.0'],
    ['published', '2.0.0'],
    ['rolled-back', '1.0.0'],
  ]);
  await expect(live('9.0.0')).rejects.toMatchObject({ code: 'not-found' });
});

test('a kind without versions: the last put is live, history stays', async () => {
  expect(await put('config', 'cmdb', undefined, { url: 'a' })).toMatchObject({ change: 'created' });
  expect(await put('config', 'cmdb', undefined, { url: 'a' })).toMatchObject({ change: 'unchanged' });
  expect(await put('config', 'cmdb', undefined, { url: 'b' })).toMatchObject({ change: 'changed' });
  expect(await put('config', 'cmdb', undefined, { url: 'a' })).toMatchObject({ change: 'changed' });
  expect((await store.live('config')).map((d) => d.body)).toEqual([{ url: 'a' }]);
  expect(await store.versions('config', 'cmdb')).toHaveLength(3);
});

test('removal hides, keeps history, is idempotent, and a later put brings the name back', async () => {
  await put('rule', 'gone/rule', '1.0.0', { x: 1 });
  const remove = (): Promise<boolean> =>
    db.inTransaction('default', (tx) => store.remove(tx, 'rule', 'gone/rule', 'bob'));
  expect(await remove()).toBe(true);
  expect(await remove()).toBe(false);
  expect(await store.get(db, 'rule', 'gone/rule')).toBeUndefined();
  expect((await store.list('rule', { limit: 10 }, { prefix: 'gone/' })).items).toEqual([]);
  expect((await store.list('rule', { limit: 10 }, { prefix: 'gone/', deleted: true })).items).toHaveLength(1);
  expect(await store.get(db, 'rule', 'gone/rule', '1.0.0')).toMatchObject({ deletedAt: expect.any(String) as string });
  await expect(put('rule', 'gone/rule', '1.0.0', { x: 2 })).rejects.toMatchObject({ code: 'version-conflict' });
  expect(await put('rule', 'gone/rule', '1.0.0', { x: 1 })).toMatchObject({ change: 'created' });
  expect(await store.get(db, 'rule', 'gone/rule')).toMatchObject({ version: '1.0.0', live: true });
  expect((await told('gone/rule')).map(([change]) => change)).toEqual(['created', 'deleted', 'created']);
});

test('operational state belongs to the name and survives new versions', async () => {
  await put('rule', 'meta/rule', '1.0.0', { x: 1 });
  await db.inTransaction('default', (tx) => store.setMeta(tx, 'rule', 'meta/rule', { mode: 'shadow' }));
  await put('rule', 'meta/rule', '1.1.0', { x: 2 });
  expect(await store.get(db, 'rule', 'meta/rule')).toMatchObject({ version: '1.1.0', meta: { mode: 'shadow' } });
});

test('lists page by name with a cursor, and a strange cursor is refused', async () => {
  for (const letter of 'edcba') await put('table', `page/${letter}`, '1.0.0', { letter });
  const names: string[] = [];
  let cursor: string | undefined;
  let pages = 0;
  do {
    const page = await store.list(
      'table',
      { limit: 2, ...(cursor === undefined ? {} : { cursor }) },
      { prefix: 'page/' },
    );
    names.push(...page.items.map((d) => d.name));
    cursor = page.nextCursor;
    pages += 1;
  } while (cursor !== undefined);
  expect(names).toEqual(['page/a', 'page/b', 'page/c', 'page/d', 'page/e']);
  expect(pages).toBe(3);
  for (const strange of ['%%%', Buffer.from('[1]').toString('base64url')]) {
    await expect(store.list('table', { limit: 2, cursor: strange })).rejects.toMatchObject({
      code: 'validation',
      options: { errors: [{ pointer: '/cursor' }] },
    });
  }
});

test('writers of one version at the same time: one creates it, equal ones are unchanged, others conflict', async () => {
  const results = await Promise.allSettled([1, 1, 1, 2, 2, 2].map((x) => put('rule', 'race/rule', '1.0.0', { x })));
  const created = results.filter((r) => r.status === 'fulfilled' && r.value.change === 'created');
  const unchanged = results.filter((r) => r.status === 'fulfilled' && r.value.change === 'unchanged');
  expect([created.length, unchanged.length]).toEqual([1, 2]);
  expect(await store.versions('rule', 'race/rule')).toHaveLength(1);
});
