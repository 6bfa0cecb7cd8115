/** Filters of the event list → SQL. */
import { OpsError, durationMs, isDuration } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import { PageQuery, decodeCursor } from '@opsloop/platform';
import { z } from 'zod';
import { isRfc3339 } from '../accept/cloud-event.pure.js';

export const Moment = z
  .string()
  .refine(
    (text) => isRfc3339(text) || isDuration(text),
    'must be an RFC 3339 time, or a duration back from now such as 1h',
  );
const Pattern = z.string().min(1).max(1_000);

export const EVENT_FILTER = {
  type: Pattern.optional(),
  subject: Pattern.optional(),
  source: Pattern.optional(),
  since: Moment.optional(),
  until: Moment.optional(),
  unmapped: z.enum(['true', 'false']).optional(),
};
type EventFilter = { [K in keyof typeof EVENT_FILTER]?: string | undefined };
export const EventQuery = z.strictObject({ ...PageQuery.shape, ...EVENT_FILTER });
export type EventQuery = z.infer<typeof EventQuery>;

/** Members above this are left out of lists: 500 events of 256 KB would be an answer of 128 MB. */
const LIST_DATA_BYTES_MAX = 4_096;

/** Conditions of a filter, and their values; $1 is the tenant. */
export function eventWhere(tenant: string, query: EventFilter, now: Date): { where: string[]; values: unknown[] } {
  const values: unknown[] = [tenant];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const where = ['tenant = $1'];
  for (const column of ['type', 'subject', 'source'] as const) {
    const pattern = query[column];
    if (pattern === undefined) continue;
    where.push(pattern.includes('*') ? `${column} LIKE ${bind(likePattern(pattern))}` : `${column} = ${bind(pattern)}`);
  }
  // Also as a bound on ids, which leaves out the days before and after without a look at them.
  if (query.since !== undefined) {
    const since = bind(momentDate(query.since, now));
    where.push(`received_at >= ${since}`, `event_id >= ingest.id_floor(${since}::timestamptz - ${ID_SLACK})`);
  }
  if (query.until !== undefined) {
    const until = bind(momentDate(query.until, now));
    where.push(`received_at < ${until}`, `event_id < ingest.id_floor(${until}::timestamptz + ${ID_SLACK})`);
  }
  if (query.unmapped !== undefined) where.push(`unmapped IS ${query.unmapped === 'true' ? 'NOT NULL' : 'NULL'}`);
  return { where, values };
}

/** An id is made a moment after the time of receipt is taken, in another tick of the same process. */
const ID_SLACK = "interval '1 minute'";

/** Newest first; one row more than asked tells whether there is a next page. */
export function eventListSql(tenant: string, query: EventQuery, now: Date): { text: string; values: unknown[] } {
  const { where, values } = eventWhere(tenant, query, now);
  const bind = (value: unknown): string => `$${values.push(value)}`;
  if (query.cursor !== undefined) where.push(`event_id < ${bind(cursorId(query.cursor))}`);
  const text = `
    SELECT event_id, unmapped, bytes > ${LIST_DATA_BYTES_MAX} AS cut,
           CASE WHEN bytes > ${LIST_DATA_BYTES_MAX} THEN message - 'data' - 'state' ELSE message END AS message
      FROM ingest.event WHERE ${where.join(' AND ')}
     ORDER BY event_id DESC LIMIT ${bind(query.limit + 1)}`;
  return { text, values };
}

/** `*` matches any characters; LIKE's own wildcards are ordinary ones here. */
export function likePattern(pattern: string): string {
  return pattern.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%');
}

export function momentDate(text: string, now: Date): Date {
  return isDuration(text) ? new Date(now.getTime() - durationMs(text)) : new Date(text.toUpperCase());
}

function cursorId(cursor: string): string {
  const value = decodeCursor(cursor);
  if (typeof value === 'string' && isUuid(value)) return value;
  throw new OpsError('validation', 'the cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'take it from nextCursor' }],
  });
}
