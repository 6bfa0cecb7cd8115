import { Injectable } from '@nestjs/common';
import type { EventMessage, JsonObject, Page, StartRequest, Tier } from '@opsloop/contracts';
import { decodeCursor, encodeCursor } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { RunRow } from '../runs/run-view.pure.js';
import { runOf } from '../runs/runs.service.js';
import type { DecisionRow, EpisodeRow, RuleTrace, TraceRow } from '../store/model.js';
import type { EpisodeJson } from '../store/rows.pure.js';
import { episodeOf } from '../store/rows.pure.js';

const TENANT = 'default';
/** Decisions of one event or one page of a story; ladders are short. */
const DECISIONS_MAX = 200;

interface DecisionJson {
  id: string;
  rule: string;
  rule_version: string;
  branch: string;
  rung: string;
  tier: Tier;
  cause: string;
  event_id: string | null;
  targets: string[];
  batches: string[][];
  episodes: { id: string; resource: string }[];
  start: StartRequest;
  at: Date;
}

export interface StateChange {
  path: string;
  at: string;
  changes: JsonObject;
  cause?: string;
}

export interface PageOf {
  limit: number;
  cursor?: string | undefined;
}

export interface JudgingRule {
  name: string;
  version: string;
  mode: string;
  trial?: { version: string; percent: number };
}

/** Reads what was decided; nothing here locks or writes. */
@Injectable()
export class DecisionsRepository {
  constructor(private readonly db: Database) {}

  async trace(eventId: string): Promise<TraceRow | undefined> {
    const [row] = await this.db.query<{
      event_id: string;
      ruleset: string;
      subject: string | null;
      event: EventMessage;
      notes: JsonObject;
      verdicts: Record<string, RuleTrace>;
      at: Date;
    }>('SELECT * FROM decision.trace WHERE tenant = $1 AND event_id = $2', [TENANT, eventId]);
    if (row === undefined) return undefined;
    return {
      eventId: row.event_id,
      ruleset: row.ruleset,
      ...(row.subject === null ? {} : { subject: row.subject }),
      event: row.event,
      notes: row.notes,
      verdicts: row.verdicts,
      at: row.at.toISOString(),
    };
  }

  /** Which versions judged under this ruleset. */
  async ruleset(id: string): Promise<JudgingRule[]> {
    const [row] = await this.db.query<{ rules: JudgingRule[] }>(
      'SELECT rules FROM decision.ruleset WHERE tenant = $1 AND id = $2',
      [TENANT, id],
    );
    return row?.rules ?? [];
  }

  async decision(id: string): Promise<DecisionRow | undefined> {
    const [row] = await this.db.query<DecisionJson>('SELECT * FROM decision.decision WHERE tenant = $1 AND id = $2', [
      TENANT,
      id,
    ]);
    return row && decisionOf(row);
  }

  /** Oldest first. */
  async decisionsByIds(ids: readonly string[]): Promise<DecisionRow[]> {
    const rows = await this.db.query<DecisionJson>(
      'SELECT * FROM decision.decision WHERE tenant = $1 AND id = ANY ($2::uuid[]) ORDER BY at, id',
      [TENANT, ids],
    );
    return rows.map(decisionOf);
  }

  async decisionsOfEvent(eventId: string, ids: readonly string[]): Promise<DecisionRow[]> {
    const rows = await this.db.query<DecisionJson>(
      'SELECT * FROM decision.decision WHERE tenant = $1 AND (event_id = $2 OR id = ANY ($3::uuid[])) ORDER BY at, id LIMIT $4',
      [TENANT, eventId, ids, DECISIONS_MAX],
    );
    return rows.map(decisionOf);
  }

  async decisions(
    filter: {
      rule?: string | undefined;
      event?: string | undefined;
      target?: string | undefined;
      since?: string | undefined;
    },
    page: PageOf,
  ): Promise<Page<DecisionRow>> {
    const [at, id] = cursorOf(page);
    const rows = await this.db.query<DecisionJson>(
      `SELECT * FROM decision.decision WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (at, id) < ($2::timestamptz, $3::uuid))
        AND ($4::text IS NULL OR rule = $4) AND ($5::uuid IS NULL OR event_id = $5) AND ($6::text IS NULL OR $6 = ANY (targets)) AND ($7::timestamptz IS NULL OR at >= $7)
        ORDER BY at DESC, id DESC LIMIT $8`,
      [
        TENANT,
        at,
        id,
        filter.rule ?? null,
        filter.event ?? null,
        filter.target ?? null,
        filter.since ?? null,
        page.limit + 1,
      ],
    );
    return pageOf(rows.map(decisionOf), page, (row) => [row.at, row.id]);
  }

  async episode(id: string): Promise<EpisodeRow | undefined> {
    const [row] = await this.db.query<EpisodeJson>('SELECT * FROM decision.episode WHERE tenant = $1 AND id = $2', [
      TENANT,
      id,
    ]);
    return row && episodeOf(row);
  }

  async episodes(
    filter: {
      rule?: string | undefined;
      resource?: string | undefined;
      state?: string | undefined;
      live?: boolean | undefined;
    },
    page: PageOf,
  ): Promise<Page<EpisodeRow>> {
    const [at, id] = cursorOf(page);
    const rows = await this.db.query<EpisodeJson>(
      `SELECT * FROM decision.episode WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (opened_at, id) < ($2::timestamptz, $3::uuid))
        AND ($4::text IS NULL OR rule = $4) AND ($5::text IS NULL OR resource = $5) AND ($6::text IS NULL OR state = $6) AND ($7::boolean IS NULL OR live = $7)
        ORDER BY opened_at DESC, id DESC LIMIT $8`,
      [
        TENANT,
        at,
        id,
        filter.rule ?? null,
        filter.resource ?? null,
        filter.state ?? null,
        filter.live ?? null,
        page.limit + 1,
      ],
    );
    return pageOf(rows.map(episodeOf), page, (row) => [new Date(row.episode.openedAt).toISOString(), row.episode.id]);
  }

  async runs(ids: readonly string[]): Promise<Map<string, RunRow>> {
    if (ids.length === 0) return new Map();
    const rows = await this.db.query<Parameters<typeof runOf>[0]>(
      'SELECT * FROM decision.run WHERE tenant = $1 AND id = ANY ($2::uuid[])',
      [TENANT, ids],
    );
    return new Map(rows.map((row) => [row.id, runOf(row)]));
  }

  async holdsOn(
    path: string,
    prefixes: readonly string[],
  ): Promise<{ path: string; runId: string; since: string; flow?: string }[]> {
    const rows = await this.db.query<{ path: string; run_id: string; at: Date; flow: string | null }>(
      `SELECT h.path, h.run_id, h.at, r.flow FROM decision.hold h LEFT JOIN decision.run r ON r.tenant = h.tenant AND r.id = h.run_id
        WHERE h.tenant = $1 AND (h.path = $2 OR h.path = ANY ($3) OR (h.path >= $2 || '/' AND h.path < $2 || '0')) ORDER BY h.at`,
      [TENANT, path, prefixes],
    );
    return rows.map((row) => ({
      path: row.path,
      runId: row.run_id,
      since: row.at.toISOString(),
      ...(row.flow === null ? {} : { flow: row.flow }),
    }));
  }

  async stateChanges(paths: readonly string[], since: string, until: string | undefined): Promise<StateChange[]> {
    const rows = await this.db.query<{ path: string; at: Date; changes: JsonObject; cause: string | null }>(
      'SELECT path, at, changes, cause FROM decision.state_change WHERE tenant = $1 AND path = ANY ($2) AND at >= $3 AND ($4::timestamptz IS NULL OR at <= $4) ORDER BY at, id LIMIT 1000',
      [TENANT, paths, since, until ?? null],
    );
    return rows.map((row) => ({
      path: row.path,
      at: row.at.toISOString(),
      changes: row.changes,
      ...(row.cause === null ? {} : { cause: row.cause }),
    }));
  }
}

/** Newest first; the cursor is the last row seen. */
function cursorOf(page: PageOf): [string | null, string | null] {
  const value = page.cursor === undefined ? undefined : decodeCursor(page.cursor);
  return Array.isArray(value) && value.length === 2 ? [String(value[0]), String(value[1])] : [null, null];
}

function pageOf<T>(rows: T[], page: PageOf, key: (row: T) => [string, string]): Page<T> {
  const items = rows.slice(0, page.limit);
  const last = items.at(-1);
  return { items, ...(rows.length > page.limit && last !== undefined ? { nextCursor: encodeCursor(key(last)) } : {}) };
}

function decisionOf(row: DecisionJson): DecisionRow {
  return {
    id: row.id,
    rule: row.rule,
    ruleVersion: row.rule_version,
    branch: row.branch,
    rung: row.rung,
    tier: row.tier,
    cause: row.cause,
    ...(row.event_id === null ? {} : { eventId: row.event_id }),
    targets: row.targets,
    batches: row.batches,
    episodes: row.episodes,
    start: row.start,
    at: row.at.toISOString(),
  };
}
