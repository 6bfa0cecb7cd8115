import { Injectable } from '@nestjs/common';
import { messageId } from '@opsloop/contracts/ids';
import type { Tx } from '@opsloop/postgres';
import type { StormDemand } from './demand.pure.js';
import type { StormFacts } from './policy-verdict.pure.js';

/** SQL of storms: what is in trouble, and which group is looked at as a whole. Under the locks of their counters. */
@Injectable()
export class StormRepository {
  /** `counts`: this start is new and is itself a sign of trouble. */
  async look(tx: Tx, storms: readonly StormDemand[], runId: string, counts: boolean): Promise<StormFacts[]> {
    const facts: StormFacts[] = [];
    for (const s of storms) {
      if (counts) this.note(tx, s, runId);
      const [row] = await tx.query<{ seen: number; until: Date | null; run_id: string | null; now: Date }>({
        name: 'control.storm-look',
        text: `SELECT control.used($1, $2, make_interval(secs => $3::double precision)) AS seen, o.until, o.run_id, clock_timestamp() AS now
          FROM (SELECT 1) one LEFT JOIN control.storm o ON o.tenant = $1 AND o.policy = $4 AND o.key = $5 AND o.until > clock_timestamp() LIMIT 1`,
        values: [tx.tenant, s.counter, s.withinMs / 1_000, s.policy, s.key],
      });
      const { policy, digest, key, threshold, total, withinMs } = s;
      const found: StormFacts = { policy, digest, key, seen: row!.seen, threshold, total, withinMs };
      if (row!.until !== null) Object.assign(found, { until: row!.until.toISOString(), run: row!.run_id! });
      else if (counts && row!.seen >= threshold) await this.begin(tx, s, found, row!.now);
      facts.push(found);
    }
    return facts;
  }

  private note(tx: Tx, s: StormDemand, runId: string): void {
    tx.send({
      name: 'control.storm-note',
      text: `INSERT INTO control.charge (tenant, counter, unit, run_id, step, policy, live_until, keep_until)
        SELECT $1, $2, u, $3::uuid, 'storm', $4, '-infinity', clock_timestamp() + make_interval(secs => $6::double precision) FROM unnest($5::text[]) u ON CONFLICT DO NOTHING`,
      values: [tx.tenant, s.counter, runId, s.policy, s.units, s.withinMs / 1_000],
    });
  }

  /** The group is looked at as a whole, by one run; its id follows from the storm, so that a repeat starts nothing. */
  private async begin(tx: Tx, s: StormDemand, found: StormFacts, now: Date): Promise<void> {
    const run = messageId('storm', tx.tenant, s.policy, s.key, now.toISOString());
    const until = new Date(now.getTime() + s.cooldownMs);
    await tx.query({
      name: 'control.storm-begin',
      text: 'INSERT INTO control.storm (tenant, policy, key, since, until, run_id, seen) VALUES ($1, $2, $3, $4, $5, $6::uuid, $7) ON CONFLICT DO NOTHING',
      values: [tx.tenant, s.policy, s.key, now, until, run, found.seen],
    });
    tx.publish('starts', {
      id: messageId('starts', tx.tenant, run, 'storm'),
      key: run,
      body: {
        kind: 'start',
        start: {
          id: run,
          tenant: tx.tenant,
          ref: s.then.ref,
          input: s.then.input,
          targets: [],
          tier: 'P1',
          initiator: { kind: 'service', name: s.policy },
          coalesce: false,
          correlationId: run,
          hops: 0,
          at: now.toISOString(),
        },
      },
    });
    Object.assign(found, { until: until.toISOString(), run });
  }
}
