import type { SourceDocument } from '@opsloop/contracts';
import type { PlatformConfig } from '@opsloop/platform';
import { connectDatabase } from '@opsloop/postgres';
import type { Database } from '@opsloop/postgres';
import { createTestDatabase, eventually } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SourceCache } from './source-cache.service.js';

const quiet = { warn: () => undefined, error: () => undefined };
const sourceOf = (version: number): SourceDocument =>
  ({ dsl: 'opsloop/v1', kind: 'source', name: 's', type: 'generic', title: `v${version}` }) as SourceDocument;

let here: Database;
let there: Database;
let drop: () => Promise<void>;
const caches: SourceCache[] = [];

beforeAll(async () => {
  const made = await createTestDatabase();
  drop = made.drop;
  [here, there] = [
    await connectDatabase({ url: made.url, poolMax: 2, migrations: [] }, quiet),
    await connectDatabase({ url: made.url, poolMax: 2, migrations: [] }, quiet),
  ];
});
afterAll(async () => {
  for (const cache of caches) await cache.beforeApplicationShutdown();
  await here.dataSource.destroy();
  await there.dataSource.destroy();
  await drop();
});

/** Nothing ends by time here, however slow the machine is. */
class LongCache extends SourceCache {
  protected override readonly freshMs = 600_000;
}

async function cacheOn(database: Database): Promise<SourceCache> {
  const cache = new LongCache(database, { embedded: false } as PlatformConfig);
  await cache.onApplicationBootstrap();
  caches.push(cache);
  return cache;
}

describe('sources in memory', () => {
  it('are read once, and again after a change: here with its commit, in other processes when they hear of it', async () => {
    const [ours, theirs] = [await cacheOn(here), await cacheOn(there)];
    let version = 1;
    let reads = 0;
    const read = (): Promise<SourceDocument> => ((reads += 1), Promise.resolve(sourceOf(version)));
    for (const cache of [ours, theirs]) for (let i = 0; i < 10; i += 1) await cache.get('s', read);
    expect(reads).toBe(2);
    await here.inTransaction('default', async (tx) => {
      ours.changed(tx);
      version = 2;
    });
    expect(await ours.get('s', read)).toMatchObject({ title: 'v2' });
    await eventually(async () => expect(await theirs.get('s', read)).toMatchObject({ title: 'v2' }));
    expect(reads).toBe(4);
  });

  it('that changed while they were read are not remembered, and neither are those that do not exist', async () => {
    const cache = await cacheOn(here);
    let finish: (source: SourceDocument) => void = () => undefined;
    const slow = cache.get('s', () => new Promise((resolve) => (finish = resolve)));
    cache.forget();
    finish(sourceOf(1));
    expect(await slow).toMatchObject({ title: 'v1' });
    expect(await cache.get('s', () => Promise.resolve(sourceOf(2)))).toMatchObject({ title: 'v2' });
    expect(await cache.get('gone', () => Promise.resolve(undefined))).toBeUndefined();
    expect(await cache.get('gone', () => Promise.resolve(sourceOf(3)))).toMatchObject({ title: 'v3' });
  });
});
