import { createHash, randomBytes } from 'node:crypto';
import pg from 'pg';
import { askServer } from './servers.js';

export interface TestDatabaseOptions {
  /** Brings an empty database to its schema; run once per `template` and vitest run. */
  migrate?: (url: string) => Promise<void>;
  /** Key of the template: change it when the migrations change. Without it every database is migrated by itself. */
  template?: string;
}

export interface TestDatabase {
  url: string;
  drop(): Promise<void>;
}

/** A fresh database, cloned in some 50 ms from a template that was migrated once. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { url: admin } = await askServer<{ url: string }>('/postgres');
  const name = `t_${randomBytes(8).toString('hex')}`;
  const template =
    options.template === undefined ? undefined : await ensureTemplate(admin, options.template, options.migrate);
  await withClient(admin, (client) =>
    client.query(`CREATE DATABASE ${name}${template === undefined ? '' : ` TEMPLATE ${template}`} STRATEGY file_copy`),
  );
  const url = withDatabaseName(admin, name);
  if (template === undefined) await options.migrate?.(url);
  return { url, drop: () => dropDatabase(admin, name) };
}

/** Runs `fn` with a fresh database and drops it afterwards, also when `fn` fails. */
export async function withDatabase<T>(options: TestDatabaseOptions, fn: (url: string) => Promise<T>): Promise<T> {
  const database = await createTestDatabase(options);
  try {
    return await fn(database.url);
  } finally {
    await database.drop();
  }
}

/** One process makes the template under an advisory lock, the others find it. A failed one is dropped again. */
async function ensureTemplate(admin: string, key: string, migrate?: (url: string) => Promise<void>): Promise<string> {
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 24);
  const name = `tpl_${digest}`;
  await withClient(admin, async (client) => {
    await client.query('SELECT pg_advisory_lock(hashtext($1))', [name]);
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
    if (found.rowCount !== 0) return;
    await client.query(`CREATE DATABASE ${name}`);
    try {
      await migrate?.(withDatabaseName(admin, name));
    } catch (error) {
      await client.query(`DROP DATABASE ${name} WITH (FORCE)`);
      throw error;
    }
  });
  return name;
}

async function dropDatabase(admin: string, name: string): Promise<void> {
  await withClient(admin, (client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
}

async function withClient<T>(url: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await fn(client);
  } finally {
    await client.end();
  }
}

function withDatabaseName(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}
