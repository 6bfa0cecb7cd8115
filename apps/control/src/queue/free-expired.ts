import type { Database } from '@opsloop/postgres';

/**
 * Ends what has run out: leases of people, lock delays, waiters that nobody renews, kept answers. Returns whether that may
 * have made way for somebody.
 */
export async function freeExpired(db: Database): Promise<boolean> {
  const freed = await db.query({
    name: 'control.free-expired',
    text: `DELETE FROM control.claim WHERE expires_at <= clock_timestamp() RETURNING fence`,
  });
  const forgotten = await db.query({
    name: 'control.forget-requests',
    text: `WITH gone AS (DELETE FROM control.lock_request WHERE alive_until <= clock_timestamp() OR wait_until <= clock_timestamp() RETURNING tenant, ticket)
    DELETE FROM control.waiter w USING gone g WHERE w.tenant = g.tenant AND w.ticket = g.ticket RETURNING w.ticket`,
  });
  await db.query({
    name: 'control.forget-waiters',
    text: 'DELETE FROM control.waiter WHERE alive_until <= clock_timestamp()',
  });
  await db.query({
    name: 'control.forget-answers',
    text: `DELETE FROM control.idempotency WHERE (tenant, run_id) IN (SELECT tenant, run_id FROM control.idempotency WHERE at < clock_timestamp() - interval '7 days' LIMIT 1000)`,
  });
  // A lock for work outside whose lease ran out has ended.
  await db.query({
    name: 'control.end-leases',
    text: `UPDATE control.admission a SET state = 'closed', status = 'failed', reason = 'its lease ran out', ended_at = clock_timestamp()
      WHERE tenant = 'default' AND state = 'admitted' AND kind = 'lock' AND NOT EXISTS (SELECT 1 FROM control.claim c WHERE c.tenant = a.tenant AND c.run_id = a.id)`,
  });
  return freed.length + forgotten.length > 0;
}
