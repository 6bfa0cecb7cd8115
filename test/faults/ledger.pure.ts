/** Judges what a run of the suite left behind. Facts come from the sink, PostgreSQL and Temporal; nothing is asked of our own API. */
import { stepKey } from '@opsloop/contracts';
import type { Application } from './sink.js';

export interface Facts {
  /** Events that were answered with 202, and the decisions that each must have caused. */
  acked: { eventId: string; decisions: number }[];
  traces: { eventId: string; verdicts: string[] }[];
  decisions: { id: string; eventId: string | null }[];
  runs: {
    id: string;
    decisionId: string | null;
    flow: string;
    state: string;
    status: string | null;
    workflowId: string | null;
    fence: string | null;
    target: string;
  }[];
  /** Every execution that Temporal knows, with the decision of its memo and the end that its history says. */
  executions: { workflowId: string; runId: string; decisionId?: string; status: string }[];
  claims: { path: string; runId: string | null }[];
  waiting: number;
  dead: number;
  lag: number;
  /** Running runs that somebody saw without their lock, at any moment of the test. */
  unlocked: string[];
  sink: { applied: Application[]; staleFences: number; overlaps: number; unmarked: number };
}

/** Only these say that a rule has had its last word on an event. */
const FINAL = new Set(['decided', 'no-match', 'false', 'stale', 'episode-open', 'own-effect']);
const EPOCH = 0;

/** One line per violated promise; empty when all hold. `steps`: those of each flow, each of which is one effect. */
export function violationsOf(facts: Facts, steps: Readonly<Record<string, readonly string[]>>): string[] {
  return [...events(facts), ...starts(facts), ...executions(facts), ...effects(facts, steps), ...remains(facts)];
}

function* events({ acked, traces, decisions }: Facts): Generator<string> {
  const traceOf = new Map(traces.map((t) => [t.eventId, t]));
  const made = countBy(decisions, (d) => d.eventId ?? '');
  for (const { eventId, decisions: wanted } of acked) {
    const trace = traceOf.get(eventId);
    if (trace === undefined) yield `lost: event ${eventId} was acknowledged and has no trace`;
    for (const verdict of trace?.verdicts ?? [])
      if (!FINAL.has(verdict)) yield `open: event ${eventId} still has the verdict ${verdict}`;
    const count = made.get(eventId) ?? 0;
    if (count !== wanted) yield `decisions: event ${eventId} has ${count}, expected ${wanted}`;
  }
}

function* starts({ decisions, runs }: Facts): Generator<string> {
  const runsOf = countBy(runs, (r) => r.decisionId ?? '');
  const known = new Set(decisions.map((d) => d.id));
  for (const { id } of decisions) {
    const count = runsOf.get(id) ?? 0;
    if (count !== 1) yield `runs: decision ${id} has ${count}`;
  }
  for (const run of runs) {
    if (run.decisionId === null || !known.has(run.decisionId)) yield `runs: ${run.id} belongs to no decision`;
    if (run.state !== 'closed') yield `stuck: run ${run.id} is ${run.state}`;
    else if (run.status !== 'succeeded') yield `failed: run ${run.id} ended as ${String(run.status)}`;
  }
}

function* executions({ runs, executions: known }: Facts): Generator<string> {
  const perDecision = countBy(known, (e) => e.decisionId ?? '');
  const perWorkflow = countBy(known, (e) => e.workflowId);
  for (const run of runs) {
    if ((perWorkflow.get(run.workflowId ?? '') ?? 0) !== 1)
      yield `workflows: run ${run.id} has ${perWorkflow.get(run.workflowId ?? '') ?? 0} executions`;
    if (run.decisionId !== null && (perDecision.get(run.decisionId) ?? 0) > 1)
      yield `double start: decision ${run.decisionId} has ${perDecision.get(run.decisionId)} executions`;
  }
  const ours = new Set(runs.map((r) => r.workflowId));
  for (const execution of known) {
    if (!ours.has(execution.workflowId)) yield `workflows: ${execution.workflowId} belongs to no run`;
    else if (execution.status !== 'COMPLETED')
      yield `workflows: ${execution.workflowId} is ${execution.status} on Temporal`;
  }
}

function* effects({ runs, sink }: Facts, steps: Readonly<Record<string, readonly string[]>>): Generator<string> {
  const applied = countBy(sink.applied, (a) => a.key);
  const byKey = new Map(sink.applied.map((a) => [a.key, a]));
  const wanted = new Set<string>();
  for (const run of runs) {
    for (const step of steps[run.flow] ?? []) {
      const key = stepKey(run.id, step, EPOCH);
      wanted.add(key);
      const count = applied.get(key) ?? 0;
      if (count !== 1) yield `effects: step ${step} of run ${run.id} was applied ${count} times`;
      const one = byKey.get(key);
      if (one !== undefined && (one.target !== run.target || one.fence !== run.fence))
        yield `effects: step ${step} of run ${run.id} came to ${one.target} with fence ${one.fence}, not ${String(run.fence)}`;
    }
  }
  for (const key of applied.keys()) if (!wanted.has(key)) yield `effects: ${key} is the key of no step`;
  if (sink.staleFences > 0) yield `fences: ${sink.staleFences} stale ones reached the target`;
  if (sink.overlaps > 0) yield `exclusion: ${sink.overlaps} times two runs worked on one target`;
  if (sink.unmarked > 0) yield `effects: ${sink.unmarked} calls had no key or no fence`;
}

function* remains({ claims, waiting, dead, lag, unlocked }: Facts): Generator<string> {
  for (const claim of claims) yield `claims: ${claim.path} is still taken by ${String(claim.runId)}`;
  if (waiting > 0) yield `claims: ${waiting} still wait`;
  if (dead > 0) yield `bus: ${dead} messages were put aside`;
  if (lag > 0) yield `bus: ${lag} messages are not handled`;
  for (const run of unlocked) yield `freed early: run ${run} was running without its lock`;
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}
