import { Connection } from '@temporalio/client';
import { expect, test } from 'vitest';
import { createTestDatabase, testTemporal, withDatabase } from './index.js';
import pg from 'pg';

async function ask<T extends pg.QueryResultRow>(url: string, text: string): Promise<T[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<T>(text).finally(() => client.end());
  return rows;
}

test('databases of one template are migrated once, and apart from one another', async () => {
  let migrated = 0;
  const options = {
    template: 'servers.spec 1',
    migrate: async (url: string) => {
      migrated += 1;
      await ask(url, 'CREATE TABLE thing (n int); INSERT INTO thing VALUES (1)');
    },
  };
  const [one, two] = await Promise.all([createTestDatabase(options), createTestDatabase(options)]);
  await ask(one.url, 'INSERT INTO thing VALUES (2)');
  expect(await ask(two.url, 'SELECT n FROM thing')).toEqual([{ n: 1 }]);
  expect(migrated).toBe(1);
  await one.drop();
  await two.drop();
  await expect(ask(one.url, 'SELECT 1')).rejects.toMatchObject({ code: '3D000' });
});

test('a template whose migration fails is not kept', async () => {
  const failing = { template: 'servers.spec 2', migrate: () => Promise.reject(new Error('bad migration')) };
  await expect(createTestDatabase(failing)).rejects.toThrow('bad migration');
  const made = await withDatabase({ ...failing, migrate: async () => undefined }, (url) => ask(url, 'SELECT 1 AS x'));
  expect(made).toEqual([{ x: 1 }]);
});

test('Temporal answers and knows our search attributes', async () => {
  const { address, namespace } = await testTemporal();
  expect(await testTemporal()).toMatchObject({ address });
  const connection = await Connection.connect({ address });
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  expect(Object.keys(customAttributes ?? {})).toEqual(
    expect.arrayContaining(['OpsTenant', 'OpsTier', 'OpsPhase', 'OpsTargets']),
  );
  await connection.close();
}, 300_000);
