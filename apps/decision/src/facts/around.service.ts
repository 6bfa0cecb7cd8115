import { Injectable } from '@nestjs/common';
import type { EventMessage, RuleDocument } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import { MaintenanceCache } from '../maintenance/maintenance-cache.service.js';
import type { Configs, Resource } from '../store/model.js';
import type { Around } from './around.pure.js';
import { FactCounts } from './fact-counts.repository.js';
import { countRequests, tablesOf } from './facts.pure.js';
import { TableCache } from './table-cache.service.js';

export interface Pair {
  doc: RuleDocument;
  event: EventMessage;
  resource?: Resource | undefined;
}

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
    const asking = pairs.filter(
      ({ doc }) => doc.facts !== undefined || (doc.tier !== undefined && !Array.isArray(doc.tier)),
    );
    if (asking.length === 0) return { tables: NO_TABLES, maintenance, counts: NO_COUNTS };
    const refs = asking.flatMap(({ doc }) => tablesOf(doc));
    const requests = asking.flatMap(({ doc, event, resource }) => countRequests(doc, event, resource, configs, now));
    return {
      tables: refs.length === 0 ? NO_TABLES : await this.tables.get(refs, now),
      maintenance,
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
}
