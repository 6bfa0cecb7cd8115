import { Injectable } from '@nestjs/common';
import type { Page } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import { decodeCursor, encodeCursor } from '@opsloop/platform';
import type { Resource } from '../store/model.js';
import type { ResourceJson } from '../store/rows.pure.js';
import { resourceOf } from '../store/rows.pure.js';

export interface ResourceFilter {
  paths?: string[];
  kind?: string;
  labels?: Record<string, string>;
  under?: string;
}

type Reader = Tx | Database;

@Injectable()
export class ResourceRepository {
  constructor(private readonly db: Database) {}

  async byPaths(from: Reader, paths: readonly string[], tenant = 'default'): Promise<Map<string, Resource>> {
    const rows = await from.query<ResourceJson>({
      name: 'decision.resources',
      text: 'SELECT * FROM decision.resource WHERE tenant = $1 AND path = ANY ($2)',
      values: [tenant, [...new Set(paths)]],
    });
    return new Map(rows.map((row) => [row.path, resourceOf(row)]));
  }

  async one(path: string, tenant = 'default'): Promise<Resource | undefined> {
    return (await this.byPaths(this.db, [path], tenant)).get(path);
  }

  async membersOf(from: Reader, groups: readonly string[], tenant = 'default'): Promise<Map<string, string[]>> {
    const rows = await from.query<{ path: string; member_of: string[] }>({
      name: 'decision.members',
      text: 'SELECT path, member_of FROM decision.resource WHERE tenant = $1 AND member_of && $2::text[] ORDER BY path LIMIT 10000',
      values: [tenant, [...new Set(groups)]],
    });
    const members = new Map<string, string[]>();
    for (const { path, member_of } of rows) {
      for (const group of member_of) members.set(group, [...(members.get(group) ?? []), path]);
    }
    return members;
  }

  /** By path; `after` of a page is the last path seen. */
  async list(
    filter: ResourceFilter,
    page: { limit: number; cursor?: string | undefined },
    tenant = 'default',
  ): Promise<Page<Resource>> {
    const after = page.cursor === undefined ? '' : String(decodeCursor(page.cursor));
    const rows = await this.db.query<ResourceJson>({
      name: 'decision.resource-list',
      text: `SELECT * FROM decision.resource WHERE tenant = $1 AND path > $2
        AND ($3::text[] IS NULL OR path = ANY ($3)) AND ($4::text IS NULL OR kind = $4)
        AND ($5::jsonb IS NULL OR labels @> $5) AND ($6::text IS NULL OR path = $6 OR (path >= $6 || '/' AND path < $6 || '0'))
        ORDER BY path LIMIT $7`,
      values: [
        tenant,
        after,
        filter.paths ?? null,
        filter.kind ?? null,
        filter.labels === undefined ? null : JSON.stringify(filter.labels),
        filter.under ?? null,
        page.limit + 1,
      ],
    });
    const items = rows.slice(0, page.limit).map(resourceOf);
    const last = items.at(-1);
    return {
      items,
      ...(rows.length > page.limit && last !== undefined ? { nextCursor: encodeCursor(last.path) } : {}),
    };
  }

  async remove(tx: Tx, path: string): Promise<void> {
    await tx.query('DELETE FROM decision.resource WHERE tenant = $1 AND path = $2', [tx.tenant, path]);
  }
}
