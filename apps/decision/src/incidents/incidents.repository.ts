import { Injectable } from '@nestjs/common';
import type { Page } from '@opsloop/contracts';
import { decodeCursor, encodeCursor } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { PageOf } from '../explain/decisions.repository.js';
import type { EpisodeRow } from '../store/model.js';
import type { EpisodeJson } from '../store/rows.pure.js';
import { episodeOf } from '../store/rows.pure.js';
import type { IncidentFilter, IncidentRow } from './incident.pure.js';

const TENANT = 'default';
/** Episodes of one incident that are shown: a storm may open thousands, and a person reads some dozen. */
export const EPISODES_MAX = 500;
/** Resources named in a list. */
const NAMED_MAX = 20;

interface Json extends Omit<IncidentRow, 'openedAt' | 'lastOpenedAt' | 'changedAt'> {
  opened_at: Date;
  last_opened_at: Date;
  changed_ms: string;
}

/**
 * Incidents are read from their episodes: the first one stands for the incident in the order of a list, the others are
 * summed up beside it.
 */
const SELECT = `
  SELECT h.incident AS id, h.opened_at, s.* FROM decision.episode h
  CROSS JOIN LATERAL (
    SELECT count(*)::int AS episodes, count(*) FILTER (WHERE e.live)::int AS open, count(*) FILTER (WHERE e.state = 'converged')::int AS converged,
      count(*) FILTER (WHERE e.state = 'exhausted')::int AS exhausted, count(*) FILTER (WHERE e.state = 'withdrawn')::int AS withdrawn,
      count(DISTINCT e.resource)::int AS "resourceCount", (array_agg(DISTINCT e.resource::text))[1:${NAMED_MAX}] AS resources, array_agg(DISTINCT e.rule) AS rules,
      min(e.doc->>'tier') AS tier, max(e.doc->'incident'->>'key') AS key, max(e.opened_at) AS last_opened_at, max((e.doc->'episode'->>'changedAt')::bigint)::text AS changed_ms
    FROM decision.episode e WHERE e.tenant = h.tenant AND e.incident = h.incident) s
  WHERE h.tenant = $1 AND h.incident IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM decision.episode p WHERE p.tenant = h.tenant AND p.incident = h.incident AND (p.opened_at, p.id) < (h.opened_at, h.id))`;

@Injectable()
export class IncidentsRepository {
  constructor(private readonly db: Database) {}

  /** Newest first. */
  async list(filter: IncidentFilter, page: PageOf): Promise<Page<IncidentRow>> {
    const after = page.cursor === undefined ? undefined : (decodeCursor(page.cursor) as [string, string]);
    const rows = await this.db.query<Json & { head: string }>({
      name: 'decision.incidents',
      text: `SELECT q.*, (SELECT h.id FROM decision.episode h WHERE h.tenant = $1 AND h.incident = q.id ORDER BY h.opened_at, h.id LIMIT 1) AS head FROM (${SELECT}
        AND ($2::boolean IS NULL OR $2 = EXISTS (SELECT 1 FROM decision.episode l WHERE l.tenant = h.tenant AND l.incident = h.incident AND l.live))
        AND ($3::text IS NULL OR EXISTS (SELECT 1 FROM decision.episode l WHERE l.tenant = h.tenant AND l.incident = h.incident AND l.rule = $3))
        AND ($4::text IS NULL OR EXISTS (SELECT 1 FROM decision.episode l WHERE l.tenant = h.tenant AND l.incident = h.incident
          AND (l.resource = $4 OR (l.resource >= $4 || '/' AND l.resource < $4 || '0'))))
        AND ($5::text IS NULL OR s.tier = $5) AND ($6::timestamptz IS NULL OR h.opened_at >= $6)
        AND ($7::timestamptz IS NULL OR (h.opened_at, h.id) < ($7, $8::uuid))
        ORDER BY h.opened_at DESC, h.id DESC LIMIT $9) q`,
      values: [
        TENANT,
        filter.state === undefined ? null : filter.state === 'open',
        filter.rule ?? null,
        filter.under ?? null,
        filter.tier ?? null,
        filter.since ?? null,
        after?.[0] ?? null,
        after?.[1] ?? null,
        page.limit + 1,
      ],
    });
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items: items.map(incidentOf),
      ...(rows.length > page.limit && last !== undefined
        ? { nextCursor: encodeCursor([last.opened_at.toISOString(), last.head]) }
        : {}),
    };
  }

  async one(id: string): Promise<IncidentRow | undefined> {
    const [row] = await this.db.query<Json>({
      name: 'decision.incident',
      text: `${SELECT} AND h.incident = $2`,
      values: [TENANT, id],
    });
    return row && incidentOf(row);
  }

  /** Oldest first. */
  async episodes(id: string): Promise<EpisodeRow[]> {
    const rows = await this.db.query<EpisodeJson>({
      name: 'decision.incident-episodes',
      text: `SELECT id, rule, rule_version, resource, live, state, start_id, origin, doc, event, opened_at FROM decision.episode
        WHERE tenant = $1 AND incident = $2 ORDER BY opened_at, id LIMIT $3`,
      values: [TENANT, id, EPISODES_MAX],
    });
    return rows.map(episodeOf);
  }

  /** Ids of its decisions, oldest first: by time first, for which there is an index. */
  async decisionIds(incident: string, since: string): Promise<string[]> {
    const rows = await this.db.query<{ id: string }>({
      name: 'decision.incident-decisions',
      text: `SELECT id FROM decision.decision WHERE tenant = $1 AND at >= $3 AND start->>'incidentId' = $2 ORDER BY at, id LIMIT $4`,
      values: [TENANT, incident, since, EPISODES_MAX],
    });
    return rows.map((row) => row.id);
  }

  async runs(
    ids: readonly string[],
  ): Promise<{ id: string; flow: string; startedAt?: string; closedAt?: string; status?: string }[]> {
    const rows = await this.db.query<{
      id: string;
      flow: string;
      started_at: Date | null;
      closed_at: Date | null;
      status: string | null;
    }>({
      name: 'decision.incident-runs',
      text: 'SELECT id, flow, started_at, closed_at, status FROM decision.run WHERE tenant = $1 AND id = ANY ($2::uuid[])',
      values: [TENANT, ids],
    });
    return rows.map(({ id, flow, started_at, closed_at, status }) => ({
      ...{ id, flow },
      ...(started_at === null ? {} : { startedAt: started_at.toISOString() }),
      ...(closed_at === null ? {} : { closedAt: closed_at.toISOString() }),
      ...(status === null ? {} : { status }),
    }));
  }
}

function incidentOf({ opened_at, last_opened_at, changed_ms, ...row }: Json): IncidentRow {
  return {
    ...row,
    openedAt: opened_at.toISOString(),
    lastOpenedAt: last_opened_at.toISOString(),
    changedAt: new Date(Number(changed_ms)).toISOString(),
  };
}
