import { v7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { IngestApp } from '../ingest-app.spec-kit.js';
import { startIngest } from '../ingest-app.spec-kit.js';
import { oldestId } from './retain.pure.js';
import { RetainService } from './retain.service.js';

const DAY_MS = 86_400_000;
let ingest: IngestApp;
beforeAll(async () => void (ingest = await startIngest()));
afterAll(() => ingest.close());

const count = async (table: string): Promise<number> =>
  Number((await ingest.database.query<{ n: string }>(`SELECT count(*) n FROM ingest.${table}`))[0]!.n);

it('deletes events with their bodies after a month, in bounded batches', async () => {
  const ids = ['old-1', 'old-2', 'young'];
  for (const id of ids)
    await ingest.call(
      'POST',
      '/v1/events',
      { specversion: '1.0', id, source: '/spec', type: 'x.state', subject: 'host/a', data: {} },
      { 'content-type': 'application/cloudevents+json' },
    );
  for (const [i, days] of [31, 31, 29].entries()) {
    const at = v7({ msecs: Date.now() - days * DAY_MS });
    const [row] = await ingest.database.query<{ delivery: string }>(
      'UPDATE ingest.event SET event_id = $1 WHERE id = $2 RETURNING delivery',
      [at, ids[i]],
    );
    await ingest.database.query('UPDATE ingest.delivery SET id = $1 WHERE id = $2', [at, row!.delivery]);
  }
  const retain = ingest.app.get(RetainService);
  expect(await retain.sweep(1)).toBe(1);
  expect(await count('event')).toBe(2);
  while ((await retain.sweep(1)) > 0);
  expect([await count('event'), await count('delivery')]).toEqual([1, 1]);
});

it('deletes values of polls only when nobody watches and their events are gone', async () => {
  await ingest.database.query(
    `INSERT INTO ingest.poll_value (tenant, source, resource, sequence, digest, observed_at)
     SELECT 'default', source, 'host/a', 1, digest, clock_timestamp() - days * interval '1 day'
       FROM (VALUES ('watched', 'd', 61), ('forgotten', NULL, 61), ('recent', NULL, 59), ('removed', 'd', 61)) v(source, digest, days)`,
  );
  await ingest.database.query(
    `INSERT INTO ingest.poll (tenant, source, every_ms, next_at) SELECT 'default', s, 86400000, clock_timestamp() + interval '1 day' FROM unnest(ARRAY['watched', 'forgotten']) s`,
  );
  expect(await ingest.app.get(RetainService).sweep()).toBe(2);
  const left = await ingest.database.query<{ source: string }>('SELECT source FROM ingest.poll_value ORDER BY 1');
  expect(left.map((row) => row.source)).toEqual(['recent', 'watched']);
});

describe('the oldest id of a time', () => {
  it.each([
    [0, '00000000-0000-7000-8000-000000000000'],
    [0x0199a0f01234, '0199a0f0-1234-7000-8000-000000000000'],
  ])('%i', (ms, id) => expect(oldestId(ms)).toBe(id));
});
