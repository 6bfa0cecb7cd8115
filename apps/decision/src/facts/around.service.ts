import { Injectable } from '@nestjs/common';
import type { EventMessage, RuleDocument } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import { messageId } from '@opsloop/contracts/ids';
import { MaintenanceCache } from '../maintenance/maintenance-cache.service.js';
import type { Configs, Resource } from '../store/model.js';
import type { Around } from './around.pure.js';
import { chainKey } from './around.pure.js';
import { FactCounts } from './fact-counts.repository.js';
import { countRequests, tablesOf } from './facts.pure.js';
import { TableCache } from './table-cache.service.js';

export interface Pair {
  doc: RuleDocument;
  event: EventMessage;
  resource?: Resource | undefined;
}

const TENANT = 'default';
/** The second event that a chain of runs has caused is the first that can have come back. */
const REENTRY_HOPS = 2;
const NO_REENTRIES: ReadonlyMap<string, number> = new Map();
const NO_COUNTS: Around['counts'] = new Map();
const NO_TABLES: Around['tables'] = new Map();

/** Reads what judging these pairs of rule and event needs. Rules without facts and tables cost nothing. */
@Injectable()
export class AroundService {
  constructor(
    private readonly tables: TableCache,
    private readonly counts: FactCounts,
    private readonly maintenance: MaintenanceCache,
  ) {}

  async read(from: Tx | Database, pairs: readonly Pair[], configs: Configs, now: number): Promise<Around> {
    const maintenance = await this.maintenance.get(now);
    const reentries = await this.reentries(from, pairs);
    const asking = pairs.filter(
      ({ doc }) => doc.facts !== undefined || (doc.tier !== undefined && !Array.isArray(doc.tier)),
    );
    if (asking.length === 0) return { tables: NO_TABLES, maintenance, counts: NO_COUNTS, reentries };
    const refs = asking.flatMap(({ doc }) => tablesOf(doc));
    const requests = asking.flatMap(({ doc, event, resource }) => countRequests(doc, event, resource, configs, now));
    return {
      tables: refs.length === 0 ? NO_TABLES : await this.tables.get(refs, now),
      maintenance,
      reentries,
      counts:
        requests.length === 0
          ? NO_COUNTS
          : await this.counts.read(
              from,
              requests,
              asking.map(({ event }) => event.eventId),
              now,
            ),
    };
  }

  /** Only for events that runs have caused: an event from outside begins a chain. */
  private async reentries(from: Tx | Database, pairs: readonly Pair[]): Promise<ReadonlyMap<string, number>> {
    const chained = pairs.filter(({ event }) => event.hops >= REENTRY_HOPS && event.subject !== undefined);
    if (chained.length === 0) return NO_REENTRIES;
    const asked = chained.map(({ doc, event }) => ({
      key: chainKey(doc.name, event.eventId),
      incident: messageId('incident', TENANT, event.correlationId),
      rule: doc.name,
      resource: event.subject,
    }));
    const rows = await from.query<{ key: string; n: string }>({
      name: 'decision.reentries',
      text: `SELECT q.key, (SELECT count(*) FROM decision.episode e WHERE e.tenant = $1 AND e.incident = q.incident AND e.rule = q.rule AND e.resource = q.resource) AS n
        FROM jsonb_to_recordset($2::jsonb) q(key text, incident uuid, rule text, resource text)`,
      values: [TENANT, JSON.stringify(asked)],
    });
    return new Map(rows.map((row) => [row.key, Number(row.n)]));
  }
}
