/** Filters of the list of dead letters → SQL. */
import { PageQuery, decodeCursor } from '@opsloop/platform';
import { OpsError } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import { z } from 'zod';
import { Moment, likePattern, momentDate } from '../read-events/event-query.pure.js';

const FILTER = {
  source: z.string().min(1).max(100).optional(),
  code: z.string().min(1).max(100).optional(),
  cause: z.string().min(1).max(500).optional(),
  since: Moment.optional(),
  until: Moment.optional(),
};
/** Of one call: each item is a transaction of some milliseconds, and the caller asks again while there are more. */
const REQUEUE_MAX = 100;
export const RequeueBody = z.strictObject({
  ...FILTER,
  kind: z.enum(['delivery', 'handler']).optional(),
  limit: z.int().min(1).max(REQUEUE_MAX).default(REQUEUE_MAX),
});
export type DeadFilter = Omit<z.infer<typeof RequeueBody>, 'limit'>;
const Kind = z.enum(['delivery', 'handler']).optional();
export const DeadQuery = z.strictObject({ ...PageQuery.shape, ...FILTER, kind: Kind });
export type DeadQuery = z.infer<typeof DeadQuery>;

/** Conditions with parameters from $2 on; $1 is the tenant. */
export function deadWhere(
  filter: DeadFilter & { cursor?: string | undefined },
  now: Date,
): { sql: string[]; values: unknown[] } {
  const values: unknown[] = [];
  const bind = (value: unknown): string => `$${values.push(value) + 1}`;
  const sql: string[] = [];
  if (filter.source !== undefined) sql.push(`source = ${bind(filter.source)}`);
  if (filter.code !== undefined) sql.push(`code = ${bind(filter.code)}`);
  if (filter.cause !== undefined) sql.push(`cause LIKE ${bind(likePattern(filter.cause))}`);
  if (filter.since !== undefined) sql.push(`last_at >= ${bind(momentDate(filter.since, now))}`);
  if (filter.until !== undefined) sql.push(`last_at < ${bind(momentDate(filter.until, now))}`);
  if (filter.cursor !== undefined) sql.push(`id < ${bind(cursorId(filter.cursor))}`);
  return { sql, values };
}

function cursorId(cursor: string): string {
  const value = decodeCursor(cursor);
  if (typeof value === 'string' && isUuid(value)) return value;
  throw new OpsError('validation', 'the cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'take it from nextCursor' }],
  });
}
