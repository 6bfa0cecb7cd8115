import type { Page } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { decodeCursor, encodeCursor, type PageQuery } from '@opsloop/platform';

function keyOfCursor(cursor: string): string {
  const key = decodeCursor(cursor);
  if (typeof key === 'string') return key;
  throw new OpsError('validation', 'The cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
  });
}

/** One page of a list that is in memory, ordered by a unique name; the cursor is the last name of the page before. */
export function pageOf<T>(all: readonly T[], page: PageQuery, nameOf: (item: T) => string): Page<T> {
  const after = page.cursor === undefined ? undefined : keyOfCursor(page.cursor);
  const ordered = [...all].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const rest = after === undefined ? ordered : ordered.filter((item) => nameOf(item) > after);
  const items = rest.slice(0, page.limit);
  const last = items.at(-1);
  return rest.length > page.limit && last !== undefined ? { items, nextCursor: encodeCursor(nameOf(last)) } : { items };
}

/** One page of a list in an order of its own, in which nothing is ever removed: what follows the item of the cursor. */
export function pageAfter<T>(ordered: readonly T[], page: PageQuery, keyOf: (item: T) => string): Page<T> {
  const key = page.cursor === undefined ? undefined : keyOfCursor(page.cursor);
  const start = key === undefined ? 0 : ordered.findIndex((item) => keyOf(item) === key) + 1;
  const items = ordered.slice(start, start + page.limit);
  const last = items.at(-1);
  return ordered.length > start + page.limit && last !== undefined
    ? { items, nextCursor: encodeCursor(keyOf(last)) }
    : { items };
}
