import { Injectable } from '@nestjs/common';
import type { EventPattern, FactSpec, Json, JsonObject } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { Database } from '@opsloop/postgres';
import type { Counted } from './around.pure.js';
import type { CountRequest } from './facts.pure.js';
import { COUNT_MAX } from './facts.pure.js';

const LIVE = ['pending', 'acting', 'verifying', 'steady'];
/** Alternatives of one data pattern: a list means any of, and lists multiply. */
const ALTERNATIVES_MAX = 64;

/** Counts over stored events and episodes, in one statement per kind of count, only for rules that ask. */
@Injectable()
export class FactCounts {
  async read(
    from: Tx | Database,
    requests: readonly CountRequest[],
    except: readonly string[],
    until: number,
    tenant = 'default',
  ): Promise<Map<string, Counted>> {
    const counts = new Map<string, Counted>();
    const unique = [...new Map(requests.map((one) => [one.key, one])).values()];
    for (const { key } of unique) counts.set(key, { count: 0 });
    for (const request of unique) {
      const query =
        request.fact.events === undefined ? episodesQuery(request, until) : eventsQuery(request, except, until);
      const [row] = await from.query<{ n: string; subjects: string[] | null }>({
        text: query.text,
        values: [tenant, ...query.values],
      });
      const distinct = request.fact.distinct !== undefined;
      counts.set(request.key, { count: Number(row!.n), ...(distinct ? { subjects: row!.subjects ?? [] } : {}) });
    }
    return counts;
  }
}

interface Parts {
  text: string;
  values: unknown[];
}

/** Collects conditions with their values; `$1` is the tenant. */
class Where {
  readonly parts: string[] = [];
  readonly values: unknown[] = [];

  add(text: (parameter: string) => string, value: unknown): void {
    this.values.push(value);
    this.parts.push(text(`$${this.values.length + 1}`));
  }
}

/** By subject through its index, else by age: `under` and `any` read what happened within the time, bounded. */
function eventsQuery({ fact, place, since }: CountRequest, except: readonly string[], until: number): Parts {
  const where = new Where();
  if ('of' in place) where.add((p) => `t.subject = ${p}`, place.of);
  if ('under' in place) where.add((p) => `starts_with(t.subject, ${p})`, `${place.under}/`);
  if (since !== undefined) where.add((p) => `t.at > ${p}`, new Date(since));
  where.add((p) => `t.at <= ${p}`, new Date(until));
  // Events of this batch are counted by whoever judges it, whether or not they were stored before.
  where.add((p) => `t.event_id <> ALL (${p}::uuid[])`, except);
  const { type, source, subject, data } = fact.events as EventPattern;
  if (type !== undefined) where.add((p) => like(`t.event->>'type'`, type, p), patternOf(type));
  if (source !== undefined) where.add((p) => like(`t.event->>'source'`, source, p), patternOf(source));
  if (subject !== undefined) where.add((p) => like('t.subject', subject, p), patternOf(subject));
  if (data !== undefined)
    where.add(
      (p) => `t.event->'data' @> ANY (${p}::jsonb[])`,
      alternatives(data).map((one) => JSON.stringify(one)),
    );
  return {
    text: `SELECT count(*) n, array_agg(DISTINCT subject) FILTER (WHERE ${fact.distinct === undefined ? 'false' : 'subject IS NOT NULL'}) subjects
      FROM (SELECT t.subject FROM decision.trace t WHERE t.tenant = $1 AND ${where.parts.join(' AND ')} LIMIT ${COUNT_MAX}) q`,
    values: where.values,
  };
}

function episodesQuery({ fact, place, since, not }: CountRequest, until: number): Parts {
  const where = new Where();
  const { rule, state } = fact.episodes as NonNullable<FactSpec['episodes']>;
  if ('of' in place) where.add((p) => `e.resource = ${p}`, place.of);
  if ('under' in place) {
    where.add((p) => `e.resource >= ${p}`, `${place.under}/`);
    where.add((p) => `e.resource < ${p}`, `${place.under}0`);
  }
  if (since !== undefined) where.add((p) => `e.opened_at > ${p}`, new Date(since));
  where.add((p) => `e.opened_at < ${p}`, new Date(until));
  where.add((p) => `e.state = ANY (${p})`, state ?? LIVE);
  // Said beside the states, so that the index of the open ones can be used.
  if ((state ?? LIVE).every((one) => LIVE.includes(one))) where.parts.push('e.live');
  if (rule !== undefined) where.add((p) => like('e.rule', rule, p), patternOf(rule));
  where.add((p) => `NOT (e.rule = (${p}::text[])[1] AND e.resource = (${p}::text[])[2])`, [not.rule, not.resource]);
  return {
    text: `SELECT count(*) n, NULL::text[] subjects FROM (SELECT 1 FROM decision.episode e WHERE e.tenant = $1 AND ${where.parts.join(' AND ')} LIMIT ${COUNT_MAX}) q`,
    values: where.values,
  };
}

const like = (column: string, pattern: string, parameter: string): string =>
  pattern.includes('*') ? `${column} LIKE ${parameter}` : `${column} = ${parameter}`;

/** `*` means any characters; everything else stands for itself. */
function patternOf(pattern: string): string {
  return pattern.includes('*') ? pattern.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%') : pattern;
}

/** A list in a pattern means any of its members, which containment does not know: one pattern per choice. */
export function alternatives(pattern: JsonObject): JsonObject[] {
  let all: JsonObject[] = [{}];
  for (const [key, expected] of Object.entries(pattern)) {
    const choices: Json[] = Array.isArray(expected)
      ? expected
      : expected !== null && typeof expected === 'object'
        ? alternatives(expected)
        : [expected];
    all = all.flatMap((one) => choices.map((choice) => ({ ...one, [key]: choice })));
    if (all.length > ALTERNATIVES_MAX) throw new Error(`a pattern of more than ${ALTERNATIVES_MAX} alternatives`);
  }
  return all;
}
