import { Injectable } from '@nestjs/common';
import type { InternalCalls } from '@opsloop/contracts';
import { Database } from '@opsloop/postgres';

type Groups = InternalCalls['POST /internal/decision/groups']['answer'];

const TENANT = 'default';

/** A path and those above it. */
const line = (path: string): string =>
  `ARRAY(SELECT array_to_string((string_to_array(${path}, '/'))[1:n], '/') FROM generate_series(1, cardinality(string_to_array(${path}, '/'))) n)`;

/**
 * Members at a path, above it and below it: whoever works on a disk works on its host, whoever works on a rack on all that
 * stands in it. What lies below a group belongs to the groups that the group is a member of.
 */
const GROUPS = `WITH RECURSIVE found AS (
    SELECT a.path, g.name FROM unnest($2::text[]) a(path), LATERAL (
      SELECT unnest(r.member_of) FROM decision.resource r
        WHERE r.tenant = $1 AND r.kind = split_part(a.path, '/', 1) AND r.path = ANY (${line('a.path')}) AND r.member_of <> '{}'
      UNION ALL SELECT unnest(r.member_of) FROM decision.resource r
        WHERE r.tenant = $1 AND r.kind = split_part(a.path, '/', 1) AND r.path >= a.path || '/' AND r.path < a.path || '0' AND r.member_of <> '{}') g(name)
    UNION
    SELECT f.path, g.name FROM found f, LATERAL (SELECT unnest(r.member_of) FROM decision.resource r
      WHERE r.tenant = $1 AND r.kind = split_part(f.name, '/', 1) AND r.path = ANY (${line('f.name')}) AND r.member_of <> '{}') g(name))
  SELECT path, array_agg(name ORDER BY name) AS groups FROM found GROUP BY path`;

/** From one kind to the next over the index, so that a large inventory takes no longer. */
const KINDS = `WITH RECURSIVE k AS (
    (SELECT r.kind FROM decision.resource r WHERE r.tenant = $1 AND r.member_of <> '{}' ORDER BY r.kind LIMIT 1)
    UNION ALL
    SELECT (SELECT r.kind FROM decision.resource r WHERE r.tenant = $1 AND r.member_of <> '{}' AND r.kind > k.kind ORDER BY r.kind LIMIT 1)
      FROM k WHERE k.kind IS NOT NULL)
  SELECT kind FROM k WHERE kind IS NOT NULL`;

/** Who is a member of what, for locks: a group overlaps its members. */
@Injectable()
export class GroupsService {
  constructor(private readonly db: Database) {}

  async of(paths: readonly string[]): Promise<Groups> {
    const [found, kinds] = await Promise.all([
      paths.length === 0
        ? []
        : this.db.query<{ path: string; groups: string[] }>({
            name: 'decision.groups',
            text: GROUPS,
            values: [TENANT, paths],
          }),
      this.db.query<{ kind: string }>({ name: 'decision.grouped-kinds', text: KINDS, values: [TENANT] }),
    ]);
    return {
      groups: Object.fromEntries(found.map((f) => [f.path, f.groups])),
      kinds: kinds.map((k) => k.kind),
    };
  }
}
