import { Injectable } from '@nestjs/common';
import type { Tx } from '@opsloop/postgres';
import { eventIdsOf } from '../decide/judge.pure.js';
import type { WaitDoc } from '../store/model.js';
import { WorldService } from '../store/world.service.js';

/** A rule was switched off or deleted: its live episodes are withdrawn, starts that have not begun with them. */
@Injectable()
export class StopService {
  constructor(private readonly worlds: WorldService) {}

  /** With `version` only what that version began; what it had given up is open again to others. */
  async stopRule(tx: Tx, rule: string, reason: string, version?: string): Promise<void> {
    const rows = await tx.query<{ resource: string }>(
      `SELECT resource FROM decision.episode WHERE tenant = $1 AND rule = $2 AND (live OR $3::text IS NOT NULL AND blocked_until > clock_timestamp())
        AND ($3 IS NULL OR rule_version = $3)`,
      [tx.tenant, rule, version ?? null],
    );
    const waits = await tx.query<{ rule: string; kind: string; doc: WaitDoc }>(
      `DELETE FROM decision.wait WHERE tenant = $1 AND (rule = $2 AND $3::text IS NULL OR starts_with(rule, $2 || '@'))
        AND kind IN ('dedupe', 'for', 'group', 'atLeast', 'flap', 'throttle', 'debt') AND (kind <> 'dedupe' OR rule <> $2) RETURNING rule, kind, doc`,
      [tx.tenant, rule, version ?? null],
    );
    if (rows.length + waits.length === 0) return;
    const world = await this.worlds.load(tx, { paths: rows.map((row) => row.resource) });
    for (const row of world.allLive())
      if (row.episode.rule === rule && (version === undefined || row.episode.ruleVersion === version))
        world.apply(row, { kind: 'stop', reason });
    if (version !== undefined)
      for (const { resource } of rows) {
        const given = world.blocked(rule, resource);
        if (given?.episode.ruleVersion === version) world.apply(given, { kind: 'reset', reason });
      }
    for (const { rule: slot, kind, doc } of waits) {
      // Nobody decides these events any more; "waits" would stand in their traces for ever.
      const verdict = {
        version: doc.ruleVersion,
        verdict: 'no-match' as const,
        stage: kind,
        because: { text: reason },
      };
      for (const eventId of eventIdsOf(doc)) world.traceUpdates.push({ eventId, verdicts: { [slot]: verdict } });
    }
    await this.worlds.save(tx, world);
  }
}
