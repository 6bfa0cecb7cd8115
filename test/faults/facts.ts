/** Reads the facts of the ledger where they are kept. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { type Facts, violationsOf } from './ledger.pure.js';
import type { Sink } from './sink.js';
import type { FaultStack } from './stack.js';
import { inParallel, STEPS } from './workload.js';

const WATCH_EVERY_MS = 100;
const DESCRIBES = 8;

type Executions = Facts['executions'];

/** Where a stack keeps its data; connections of its own, so that they outlive what is killed. */
export type Sources = Pick<FaultStack, 'databaseUrl' | 'temporalAddress'> & { temporalNamespace?: string };

export async function query<R extends pg.QueryResultRow>(
  s: Sources,
  text: string,
  values: unknown[] = [],
): Promise<R[]> {
  const client = new pg.Client({ connectionString: s.databaseUrl, connectionTimeoutMillis: 2_000 });
  // A server that goes away while we are idle is part of the test.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<R>(text, values)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

const RUNS = `SELECT id, decision_id AS "decisionId", flow, state, status, workflow_id AS "workflowId", fence::text, targets[1] AS target
  FROM control.admission WHERE kind = 'run' ORDER BY created_at`;
const COUNTS = `SELECT
  (SELECT count(*)::int FROM control.waiter) AS waiting,
  (SELECT count(*)::int FROM bus.dead) AS dead,
  (SELECT count(*)::int FROM bus.cursor c JOIN bus.message m ON m.topic = c.topic AND m.part = c.part AND m.id > c.position) AS lag`;
const OPEN = `SELECT
  (SELECT count(*)::int FROM unnest($1::uuid[]) a(id) WHERE NOT EXISTS (SELECT 1 FROM decision.trace t WHERE t.event_id = a.id)) AS undecided,
  (SELECT count(*)::int FROM decision.decision d WHERE NOT EXISTS (SELECT 1 FROM control.admission r WHERE r.id = d.id)) AS unadmitted,
  (SELECT count(*)::int FROM control.admission WHERE kind = 'run' AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')) AS running,
  (SELECT count(*)::int FROM control.claim) AS claims,
  (SELECT count(*)::int FROM bus.cursor c JOIN bus.message m ON m.topic = c.topic AND m.part = c.part AND m.id > c.position) AS lag`;

/** Waits until nothing is on its way any more. */
export async function settled(s: Sources, acked: readonly string[], timeoutMs: number): Promise<void> {
  const still = { undecided: 0, unadmitted: 0, running: 0, claims: 0, lag: 0 };
  await eventually(
    async () => {
      const [open] = await query(s, OPEN, [acked]);
      if (JSON.stringify(open) !== JSON.stringify(still)) throw new Error(`still open: ${JSON.stringify(open)}`);
    },
    { timeoutMs, everyMs: 100 },
  );
}

export async function gather(s: Sources, acked: Facts['acked'], sink: Sink, unlocked: string[] = []): Promise<Facts> {
  const ids = acked.map((a) => a.eventId);
  const runs = await query<Facts['runs'][number]>(s, RUNS);
  const [counts] = await query<Pick<Facts, 'waiting' | 'dead' | 'lag'>>(s, COUNTS);
  return {
    acked,
    traces: await query(
      s,
      `SELECT event_id AS "eventId", ARRAY(SELECT v->>'verdict' FROM jsonb_each(verdicts) e(k, v)) AS verdicts FROM decision.trace WHERE event_id = ANY($1)`,
      [ids],
    ),
    decisions: await query(s, `SELECT id, event_id AS "eventId" FROM decision.decision`),
    runs,
    executions: await executionsOf(s, runs),
    claims: await query(s, 'SELECT path, run_id AS "runId" FROM control.claim'),
    ...counts!,
    unlocked,
    sink: { applied: sink.applied, staleFences: sink.staleFences, overlaps: sink.overlaps, unmarked: sink.unmarked },
  };
}

/** Visibility is only the list, and lags; how an execution stands says Describe. */
async function executionsOf(s: Sources, runs: Facts['runs']): Promise<Executions> {
  const connection = await Connection.connect({ address: s.temporalAddress });
  try {
    const client = new Client({ connection, namespace: s.temporalNamespace ?? 'default' });
    const describe = async ({ workflowId, runId }: { workflowId: string; runId?: string }) => {
      const d = await client.workflow.getHandle(workflowId, runId).describe();
      const decision = d.memo?.['decision'];
      return {
        workflowId,
        runId: d.runId,
        status: d.status.name,
        ...(typeof decision === 'string' ? { decisionId: decision } : {}),
      };
    };
    return await eventually(
      async () => {
        const listed: { workflowId: string; runId: string }[] = [];
        for await (const w of client.workflow.list({ query: `TaskQueue = '${TEMPORAL_NAMES.flowQueue}'` }))
          listed.push({ workflowId: w.workflowId, runId: w.runId });
        const started = runs.filter((r) => r.workflowId !== null);
        if (listed.length < started.length) throw new Error(`${listed.length} of ${started.length} are listed yet`);
        return inParallel(listed, DESCRIBES, describe);
      },
      { timeoutMs: 40_000, everyMs: 200 },
    );
  } finally {
    await connection.close();
  }
}

/** Settles, gathers and judges. The executions' last events may trail our own report. */
export async function ledger(
  s: Sources,
  acked: Facts['acked'],
  sink: Sink,
  watch: LockWatch,
  timeoutMs = 120_000,
): Promise<{ facts: Facts; violations: string[] }> {
  await settled(
    s,
    acked.map((a) => a.eventId),
    timeoutMs,
  );
  const judge = async (): Promise<{ facts: Facts; violations: string[] }> => {
    const facts = await gather(s, acked, sink, watch.unlocked);
    return { facts, violations: violationsOf(facts, STEPS) };
  };
  // The workflow task that reported the end completes after the report; that is the only thing worth waiting for.
  return eventually(
    async () => {
      const judged = await judge();
      if (judged.facts.executions.some((e) => e.status === 'RUNNING')) throw new Error('a workflow is still ending');
      return judged;
    },
    { timeoutMs: 30_000, everyMs: 200 },
  ).catch(judge);
}

export interface LockWatch {
  unlocked: string[];
  /** Looks that the database answered. */
  looks: number;
  stop(): Promise<void>;
}

/** Looks all the time for a run that is under way and does not hold its lock. */
export function watchLocks(s: Sources): LockWatch {
  const seen = new Set<string>();
  let stopped = false;
  const watch: LockWatch = {
    get unlocked() {
      return [...seen];
    },
    looks: 0,
    stop: async () => {
      stopped = true;
      await loop;
    },
  };
  const look = async (): Promise<void> => {
    const rows = await query<{ id: string }>(
      s,
      `SELECT id FROM control.admission a WHERE kind = 'run' AND state IN ('admitted', 'started') AND cardinality(targets) > 0
        AND NOT EXISTS (SELECT 1 FROM control.claim c WHERE c.tenant = a.tenant AND c.run_id = a.id AND NOT c.releasing)`,
    );
    for (const { id } of rows) seen.add(id);
    watch.looks += 1;
  };
  const loop = (async () => {
    while (!stopped) {
      await look().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, WATCH_EVERY_MS));
    }
  })();
  return watch;
}
