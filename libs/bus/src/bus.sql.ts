import type { Query } from '@opsloop/postgres';

/** Fixed number for the advisory lock under which one process at a time cleans the log. */
const RETENTION_LOCK = 7_300_002;
/** Messages stay readable for an hour after everybody has them: long enough to look into an incident of today. */
const KEEP = '1 hour';
/** Rows per delete: a few milliseconds, so that nobody waits for it. */
const DELETE_ROWS = 5_000;
/** A group that no process has declared for a week is gone from the code. */
const GROUP_GONE = '7 days';

/** The group that carries the log to Kafka; it handles nothing itself. */
export const RELAY_GROUP = 'kafka-relay';

export const takeSql = (group: string, topic: string, limit: number): Query => ({
  name: 'bus.take',
  text: 'SELECT id, part, attempts, key, msg_id, tenant, body, at, more FROM bus.take($1, $2, $3)',
  values: [group, topic, limit],
});

export const advanceSql = (group: string, topic: string, part: number, position: string): Query => ({
  name: 'bus.advance',
  text: 'UPDATE bus.cursor SET position = $4, attempts = 0 WHERE grp = $1 AND topic = $2 AND part = $3',
  values: [group, topic, part, position],
});

/** After a batch failed: one message at a time up to its end. Nothing is counted, since nobody knows which one it was. */
export const singleSql = (group: string, topic: string, part: number, first: string, last: string): Query => ({
  text: `UPDATE bus.cursor SET single_until = $5 WHERE grp = $1 AND topic = $2 AND part = $3 AND position < $4`,
  values: [group, topic, part, first, last],
});

/** After one message failed. The guards leave the row alone when another consumer was quicker. */
export const retrySql = (
  group: string,
  topic: string,
  part: number,
  id: string,
  attempts: number,
  delayMs: number,
): Query => ({
  text: `UPDATE bus.cursor SET attempts = attempts + 1, retry_at = clock_timestamp() + make_interval(secs => $6::float8 / 1000)
         WHERE grp = $1 AND topic = $2 AND part = $3 AND position < $4 AND attempts = $5`,
  values: [group, topic, part, id, attempts, delayMs],
});

/** Puts a message aside and moves on, in one statement; answers a row when nobody was quicker. */
export const deadSql = (group: string, topic: string, part: number, id: string, cause: string): Query => ({
  text: `WITH moved AS (
           UPDATE bus.cursor SET position = $4, attempts = 0 WHERE grp = $1 AND topic = $2 AND part = $3 AND position < $4
           RETURNING 1)
         INSERT INTO bus.dead (grp, message_id, msg_id, tenant, topic, part, key, body, cause)
         SELECT $1, m.id, m.msg_id, m.tenant, m.topic, m.part, m.key, m.body, $5 FROM bus.message m, moved
         WHERE m.topic = $2 AND m.part = $3 AND m.id = $4 ON CONFLICT DO NOTHING RETURNING 1`,
  values: [group, topic, part, id, cause],
});

/** Which of our groups have something to do. */
export const readySql = (groups: string[], topics: string[]): Query => ({
  name: 'bus.ready',
  text: `SELECT DISTINCT c.grp AS "group", c.topic FROM bus.cursor c
         JOIN unnest($1::text[], $2::text[]) s(grp, topic) ON s.grp = c.grp AND s.topic = c.topic
         WHERE c.retry_at <= clock_timestamp()
           AND (SELECT m.id FROM bus.message m WHERE m.topic = c.topic AND m.part = c.part AND m.id > c.position ORDER BY m.id LIMIT 1) IS NOT NULL`,
  values: [groups, topics],
});

/**
 * Makes the 16 cursors of a group. The first group of a topic starts at its beginning, so that what was published
 * before the consumer's first start is not lost; a later group starts at the head.
 */
export const subscribeSql = (group: string, topic: string): Query[] => [
  {
    text: `INSERT INTO bus.cursor (grp, topic, part, position)
           SELECT $1, $2, p, CASE WHEN EXISTS (SELECT 1 FROM bus.cursor o WHERE o.topic = $2 AND o.grp <> '${RELAY_GROUP}')
             THEN COALESCE((SELECT max(m.id) FROM bus.message m WHERE m.topic = $2 AND m.part = p), 0) ELSE 0 END
           FROM generate_series(0, 15) p ON CONFLICT DO NOTHING`,
    values: [group, topic],
  },
  seenSql(group, topic),
];

export function seenSql(group: string, topic: string): Query {
  return {
    text: `INSERT INTO bus.subscriber (grp, topic) VALUES ($1, $2)
           ON CONFLICT (grp, topic) DO UPDATE SET seen_at = clock_timestamp()`,
    values: [group, topic],
  };
}

export const retentionLockSql: Query = {
  text: `SELECT pg_try_advisory_xact_lock($1) AS mine`,
  values: [RETENTION_LOCK],
};

export const dropGoneGroupsSql: Query = {
  text: `WITH gone AS (DELETE FROM bus.subscriber WHERE seen_at < clock_timestamp() - interval '${GROUP_GONE}' RETURNING grp, topic)
         DELETE FROM bus.cursor c USING gone g WHERE c.grp = g.grp AND c.topic = g.topic`,
};

/** Deletes what every group has behind it; answers how many rows. */
export const cleanSql: Query = {
  text: `WITH old AS (
           SELECT m.topic, m.part, m.id FROM bus.message m
           JOIN (SELECT topic, part, min(position) AS position FROM bus.cursor GROUP BY topic, part) c
             ON c.topic = m.topic AND c.part = m.part AND m.id <= c.position
           WHERE m.at < clock_timestamp() - interval '${KEEP}' LIMIT ${DELETE_ROWS}),
         gone AS (
           DELETE FROM bus.message m USING old o WHERE m.topic = o.topic AND m.part = o.part AND m.id = o.id RETURNING 1)
         SELECT count(*)::int AS count FROM gone`,
};
export const CLEAN_BATCH = DELETE_ROWS;

export const lagSql = (groups: string[], topics: string[]): Query => ({
  text: `SELECT c.grp AS "group", c.topic, count(m.id)::int AS messages, max(c.attempts) AS attempts,
           COALESCE(extract(epoch FROM clock_timestamp() - min(m.at)), 0)::float8 AS "oldestSec"
         FROM bus.cursor c JOIN unnest($1::text[], $2::text[]) s(grp, topic) ON s.grp = c.grp AND s.topic = c.topic
         LEFT JOIN bus.message m ON m.topic = c.topic AND m.part = c.part AND m.id > c.position
         GROUP BY c.grp, c.topic ORDER BY c.grp, c.topic`,
  values: [groups, topics],
});
