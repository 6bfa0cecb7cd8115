import { Injectable } from '@nestjs/common';
import type { Tx } from '@opsloop/postgres';
import { eventIdsOf } from '../decide/judge.pure.js';
import type { WaitDoc } from '../store/model.js';
import { WorldService } from '../store/world.service.js';

/** A rule was switched off or deleted: its live episodes are withdrawn, starts that have not begun with them. */
@Injectable()
export class StopService {
  constructor(private readonly worlds: WorldService) {}

  async stopRule(tx: Tx, rule: string, reason: string): Promise<void> {
    const rows = await tx.query<{ resource: string }>(
      'SELECT resource FROM decision.episode WHERE tenant = $1 AND rule = $2 AND live',
      [tx.tenant, rule],
    );
    const waits = await tx.query<{ kind: string; doc: WaitDoc }>(
      `DELETE FROM decision.wait WHERE tenant = $1 AND rule = $2 AND kind IN ('for', 'group', 'atLeast', 'flap', 'throttle', 'debt') RETURNING kind, doc`,
      [tx.tenant, rule],
    );
    if (rows.length + waits.length === 0) return;
    const world = await this.worlds.load(tx, { paths: rows.map((row) => row.resource) });
    for (const row of world.allLive()) if (row.episode.rule === rule) world.apply(row, { kind: 'stop', reason });
    for (const { kind, doc } of waits) {
      // Nobody decides these events any more; "waits" would stand in their traces for ever.
      const verdict = {
        version: doc.ruleVersion,
        verdict: 'no-match' as const,
        stage: kind,
        because: { text: reason },
      };
      for (const eventId of eventIdsOf(doc)) world.traceUpdates.push({ eventId, verdicts: { [rule]: verdict } });
    }
    await this.worlds.save(tx, world);
  }
}
