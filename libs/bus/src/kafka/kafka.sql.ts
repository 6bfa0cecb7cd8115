import type { Query } from '@opsloop/postgres';
import { RELAY_GROUP } from '../bus.sql.js';

/** Unreadable messages are looked into within days or never. */
const KEEP_UNREADABLE = '30 days';

/**
 * Takes a part for the rest of the transaction, and says where the group stands. `known` = the last message of the
 * stretch is in our log: positions move to numbers of ours alone.
 */
export const claimSql = (group: string, topic: string, part: number, seq: bigint, id: string): Query => ({
  name: 'bus.claim',
  text: `SELECT c.position, c.attempts,
           CASE WHEN c.retry_at > clock_timestamp()
             THEN EXTRACT(epoch FROM c.retry_at - clock_timestamp())::float8 * 1000 ELSE 0 END AS "waitMs",
           EXISTS (SELECT 1 FROM bus.message m WHERE m.topic = $2 AND m.part = $3 AND m.id = $4 AND m.msg_id = $5) AS known
         FROM bus.cursor c WHERE c.grp = $1 AND c.topic = $2 AND c.part = $3 FOR UPDATE OF c`,
  values: [group, topic, part, String(seq), id],
});

export const bodiesSql = (topic: string, part: number, seqs: string[]): Query => ({
  text: 'SELECT id, body FROM bus.message WHERE topic = $1 AND part = $2 AND id = ANY($3)',
  values: [topic, part, seqs],
});

/** Where the relay stands, that is, the number of the message before the next one. */
export const relayedSql = (topic: string, part: number): Query => ({
  name: 'bus.relayed',
  text: `SELECT position FROM bus.cursor WHERE grp = '${RELAY_GROUP}' AND topic = $1 AND part = $2`,
  values: [topic, part],
});

/**
 * The relay starts where the group stands that is furthest behind: a change of the carrier, either way, loses nothing,
 * and what others have handled already is recognised by its number.
 */
export const relayFromSql = (topic: string): Query => ({
  text: `INSERT INTO bus.cursor (grp, topic, part, position)
         SELECT '${RELAY_GROUP}', $1, p, COALESCE((SELECT min(o.position) FROM bus.cursor o WHERE o.topic = $1 AND o.part = p), 0)
         FROM generate_series(0, 15) p ON CONFLICT DO NOTHING`,
  values: [topic],
});

/** Parts in which messages were relayed that the group has not handled; `mark` changes with every progress and try. */
export const behindSql = (groups: string[], topics: string[]): Query => ({
  name: 'bus.behind',
  text: `SELECT c.grp AS "group", c.topic, c.part, c.position || '/' || c.attempts AS mark FROM bus.cursor c
         JOIN unnest($1::text[], $2::text[]) s(grp, topic) ON s.grp = c.grp AND s.topic = c.topic
         JOIN bus.cursor r ON r.grp = '${RELAY_GROUP}' AND r.topic = c.topic AND r.part = c.part AND r.position > c.position
         WHERE (SELECT m.id FROM bus.message m WHERE m.topic = c.topic AND m.part = c.part AND m.id > c.position ORDER BY m.id LIMIT 1) <= r.position`,
  values: [groups, topics],
});

export interface Unreadable {
  group: string;
  topic: string;
  partition: number;
  offset: string;
  cause: string;
  bytes: number;
  value: Buffer;
}

/** Answers a row when it was not there yet. */
export const unreadableSql = (u: Unreadable): Query => ({
  text: `INSERT INTO bus.unreadable (grp, topic, partition, "offset", cause, bytes, value)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING 1`,
  values: [u.group, u.topic, u.partition, u.offset, u.cause, u.bytes, u.value],
});

export const publishDeadSql = (key: string, id: string, tenant: string, body: object): Query => ({
  text: `SELECT bus.publish(ARRAY['dead'], ARRAY[$1], ARRAY[$2::uuid], $3, ARRAY[$4::jsonb])`,
  values: [key, id, tenant, JSON.stringify(body)],
});

export const dropUnreadableSql: Query = {
  text: `DELETE FROM bus.unreadable WHERE at < clock_timestamp() - interval '${KEEP_UNREADABLE}'`,
};
