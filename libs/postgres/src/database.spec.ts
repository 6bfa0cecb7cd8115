import 'reflect-metadata';
import { createTestDatabase } from '@opsloop/testing';
import { expect, test } from 'vitest';
import { connectDatabase } from './connect.js';

test('smoke', async () => {
  const t = await createTestDatabase();
  const db = await connectDatabase({ url: t.url, migrations: [] }, console);
  expect(await db.query('select 1 as x')).toEqual([{ x: 1 }]);
  await db.dataSource.destroy();
  await t.drop();
});
