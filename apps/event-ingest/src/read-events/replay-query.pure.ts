/** Which stored events are to be sent again. */
import { OpsError } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import { decodeCursor } from '@opsloop/platform';
import { z } from 'zod';
import { eventWhere, EVENT_FILTER } from './event-query.pure.js';

/** Events of one call: one transaction of about 50 ms; the caller goes on with the cursor. */
export const REPLAY_MAX = 500;

export const ReplayBody = z.strictObject({
  filter: z
    .strictObject(EVENT_FILTER)
    .refine(
      (filter) => Object.keys(filter).length > 0,
      'must say which events; { "since": "1h" } are those of the last hour',
    ),
  mode: z.enum(['shadow', 'active']).default('shadow'),
  limit: z.int().min(1).max(REPLAY_MAX).default(REPLAY_MAX),
  cursor: z.string().min(1).max(2_000).optional(),
  dryRun: z.boolean().default(false),
  /** An active replay starts work: whoever asks for it says how much he expects. */
  expectedCount: z.int().min(0).optional(),
});
export type ReplayBody = z.infer<typeof ReplayBody>;

/** Oldest first, in the order of receipt; never a replay itself, which would double with each call. */
export function replaySql(
  tenant: string,
  body: ReplayBody,
  until: Date,
  now: Date,
): { text: string; values: unknown[] } {
  const { where, values } = eventWhere(tenant, { until: until.toISOString(), ...body.filter }, now);
  const bind = (value: unknown): string => `$${values.push(value)}`;
  where.push(`NOT message ? 'replayOf'`);
  if (body.cursor !== undefined) where.push(`event_id > ${bind(cursorOf(body.cursor).after)}`);
  const text = `SELECT event_id, unmapped, message FROM ingest.event WHERE ${where.join(' AND ')} ORDER BY event_id LIMIT ${bind(body.limit + 1)}`;
  return { text, values };
}

export function countSql(
  tenant: string,
  body: ReplayBody,
  until: Date,
  now: Date,
): { text: string; values: unknown[] } {
  const { where, values } = eventWhere(tenant, { until: until.toISOString(), ...body.filter }, now);
  return {
    text: `SELECT count(*)::int AS n FROM ingest.event WHERE ${where.join(' AND ')} AND NOT message ? 'replayOf'`,
    values,
  };
}

/** Where a replay of many goes on, and up to when it reaches: events that come meanwhile are not part of it. */
export function cursorOf(cursor: string): { after: string; until: string } {
  const value = decodeCursor(cursor);
  const { after, until } = (value ?? {}) as { after?: unknown; until?: unknown };
  if (typeof after === 'string' && isUuid(after) && typeof until === 'string' && !Number.isNaN(Date.parse(until)))
    return { after, until };
  throw new OpsError('validation', 'the cursor is not one of a replay', {
    errors: [{ pointer: '/cursor', message: 'take it from nextCursor' }],
  });
}
