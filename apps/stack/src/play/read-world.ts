/** What a played world did, read from what its apps have stored. */
import type { JsonObject } from '@opsloop/contracts';
import type { ScenarioSeen } from '@opsloop/flowtest';
import type { Database } from '@opsloop/postgres';

type Read = Omit<ScenarioSeen, 'calls' | 'troubles' | 'warnings'>;

export async function readWorld(
  db: Database,
  { startMs, events, tookMs }: { startMs: number; events: readonly string[]; tookMs: number },
): Promise<Read> {
  const at = (column: string): string => `round(extract(epoch FROM ${column}) - ${startMs / 1_000}, 3)::float8`;
  const rows = (sql: string): Promise<JsonObject[]> => db.query<JsonObject>(sql);
  const traces = await db.query<{
    event_id: string;
    verdicts: Record<string, { verdict: string; because?: { text: string } }>;
  }>('SELECT event_id, verdicts FROM decision.trace WHERE event_id = ANY ($1)', [events]);
  const byEvent = new Map(traces.map((trace) => [trace.event_id, trace.verdicts]));
  const resources = await db.query<{ path: string; state: JsonObject }>('SELECT path, state FROM decision.resource');
  return {
    decisions: await rows(
      `SELECT rule AS name, rule, branch, rung, tier, targets, batches, start->>'ref' AS run, start->'input' AS input, ${at('at')} AS at
       FROM decision.decision ORDER BY decision.at, id`,
    ),
    verdicts: events.map((id) =>
      Object.fromEntries(
        Object.entries(byEvent.get(id) ?? {}).map(([rule, { verdict, because }]) => [
          rule,
          { verdict, ...(because === undefined ? {} : { because: because.text }) },
        ]),
      ),
    ),
    admissions: await rows(`SELECT flow AS name, flow, verdict, targets FROM decision.run ORDER BY run.at, id`),
    runs: await rows(
      `SELECT flow AS name, flow, status, targets, ${at('started_at')} AS started, ${at('closed_at')} AS ended
       FROM decision.run WHERE started_at IS NOT NULL ORDER BY started_at, id`,
    ),
    episodes: await rows(
      `SELECT rule AS name, rule, resource, state, ${at('opened_at')} AS at FROM decision.episode ORDER BY opened_at, resource, rule`,
    ),
    resources: Object.fromEntries(resources.map(({ path, state }) => [path, state])),
    tookMs,
  };
}
