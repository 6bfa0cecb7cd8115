/** A stored episode → the scenario that it would pass: events in their times, atoms as they answered, people as they did. */
import type {
  EventMessage,
  Json,
  JsonObject,
  ResourceView,
  RuleDocument,
  RunView,
  StepRecord,
} from '@opsloop/contracts';
import { ANY } from '../play/flowtest.js';
import type { ScenarioAct, ScenarioAnswer, ScenarioEvent, ScenarioTest } from './scenario.js';

export interface EpisodeRecord {
  episode: { id: string; rule: string; resource: string; state: string; changedAt: string };
  rule: RuleDocument;
  resources: readonly ResourceView[];
  events: readonly { event: EventMessage; verdicts: Record<string, { verdict: string; decisionIds?: string[] }> }[];
  changes: readonly { path: string; at: string; changes: JsonObject; cause?: string }[];
  decisions: readonly { rung: string; branch: string; tier: string; ref: string; targets: string[]; at: string }[];
  runs: readonly RunView[];
  /** Answers of people to questions of these runs. */
  answers: readonly { flow: string; by: string; answer: 'approve' | 'reject'; at: string; reason?: string }[];
  name?: string;
}

/** Events that a flow emits come from the flow again when it is played. */
const OWN_SOURCES = 'opsloop/';

export function recordScenario(record: EpisodeRecord): { test: ScenarioTest; notes: string[] } {
  const { episode, events, runs, decisions } = record;
  const notes: string[] = [];
  const outside = events.filter(({ event }) => !event.source.startsWith(OWN_SOURCES));
  if (outside.length === 0)
    notes.push('no event began it, only what was seen of the state; add the event that should, or the first look');
  const start = Date.parse(outside[0]?.event.receivedAt ?? record.decisions[0]?.at ?? episode.changedAt);
  const after = (at: string): string => `${Math.max(0, Date.parse(at) - start)}ms`;
  const calls = runs.flatMap((run) => callsOf(run, notes)).sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
  const test: ScenarioTest = {
    dsl: 'opsloop/v1',
    kind: 'scenario',
    name: record.name ?? `${episode.rule} on ${episode.resource} as it went in episode ${episode.id}`,
    start: { at: new Date(start).toISOString() },
    resources: record.resources.map(declared),
    mocks: { ...mocksOf(calls), ...looksOf(record, after) },
    events: outside.map(({ event }): ScenarioEvent => ({ at: after(event.receivedAt), event: eventOf(event) })),
    ...actsOf(record, after),
    expect: {
      decisions: decisionsOf(record, outside),
      verdicts: outside.flatMap(({ verdicts }, i) => {
        const verdict = verdicts[episode.rule]?.verdict;
        return verdict === undefined ? [] : [{ event: i, rule: episode.rule, verdict }];
      }),
      calls: decisions.length === 0 ? [] : [...calls.map(({ atom }) => nameOf(atom!))],
      runs: runs.map(({ flow, status }) => ({ flow, status })),
      episodes: [{ rule: episode.rule, resource: episode.resource, state: episode.state }],
    },
  };
  const acts = runs.flatMap((run) => run.acts ?? []);
  if (acts.length > 0)
    notes.push(`${acts.length} acts of operators on its runs are not part of the scenario; add them under "operator"`);
  if (record.rule.mode === 'shadow')
    notes.push('the rule is in shadow in its document: it decides nothing when played');
  // A world with other rules may do more; what is told is what belongs to the episode.
  test.expect.calls = [ANY, ...(test.expect.calls ?? []).flatMap((one) => [one, ANY])];
  test.expect.runs = [ANY, ...(test.expect.runs ?? []).flatMap((one) => [one, ANY])];
  test.expect.episodes = [ANY, ...test.expect.episodes!, ANY];
  return { test, notes };
}

const nameOf = (ref: string): string => ref.split('@', 1)[0]!;

/** As it was declared; what was seen of it comes from events and looks. */
function declared({ path, labels, memberOf, dependsOn, owner }: ResourceView): JsonObject {
  return {
    path,
    ...(Object.keys(labels ?? {}).length === 0 ? {} : { labels: { ...labels } }),
    ...((memberOf ?? []).length === 0 ? {} : { memberOf: [...memberOf!] }),
    ...((dependsOn ?? []).length === 0 ? {} : { dependsOn: [...dependsOn!] }),
    ...(owner === undefined ? {} : { owner }),
  };
}

function eventOf({ type, source, subject, data }: EventMessage): ScenarioEvent['event'] {
  return { type, source, ...(subject === undefined ? {} : { subject }), ...(data === undefined ? {} : { data }) };
}

function callsOf(run: RunView, notes: string[]): StepRecord[] {
  return (run.steps ?? []).filter((step) => {
    if (step.atom === undefined || step.verb !== 'call' || step.status === 'skipped') return false;
    if (step.reused === true) return false;
    if (step.problem === undefined && step.output === undefined && step.status === 'succeeded')
      notes.push(`${run.flow} ${step.path} has no output in the record; null stands in for it`);
    return true;
  });
}

/** Answers of each atom in the order in which it was called. */
function mocksOf(calls: readonly StepRecord[]): Record<string, ScenarioAnswer[]> {
  const mocks: Record<string, ScenarioAnswer[]> = {};
  for (const step of calls) {
    const list = (mocks[nameOf(step.atom!)] ??= []);
    // Failed attempts before the last one are known only by their number.
    const before = step.status === 'succeeded' ? Math.min(step.attempts - 1, 100) : 0;
    for (let n = 0; n < before; n += 1) list.push({ problem: { type: 'communication', retryable: true } });
    list.push({ ...answerOf(step), ...delayOf(step) });
  }
  return mocks;
}

function answerOf(step: StepRecord): ScenarioAnswer {
  if (step.status !== 'failed' || step.problem === undefined) return { result: step.output ?? null };
  const { code, detail, retryable, status } = step.problem;
  return {
    problem: {
      ...{ type: code, status },
      ...(detail === undefined ? {} : { detail }),
      ...(retryable === undefined ? {} : { retryable }),
    },
  };
}

function delayOf(step: StepRecord): { delay?: string } {
  if (step.endedAt === undefined || step.attempts > 1) return {};
  const ms = Date.parse(step.endedAt) - Date.parse(step.startedAt);
  return ms > 0 ? { delay: `${ms}ms` } : {};
}

/** What the goal's atom saw, and from when on; it tells of the resource of the episode. */
function looksOf(
  { rule, episode, events, changes }: EpisodeRecord,
  after: (at: string) => string,
): ScenarioTest['mocks'] {
  const call = rule.goal?.observe?.call;
  if (call === undefined) return {};
  const first = events.find(({ event }) => event.subject === episode.resource)?.event;
  let state: JsonObject = { ...first?.state };
  // Whoever told of a change, a look from then on sees it.
  const seen = new Map<string, Json>([['0ms', { ...state }]]);
  for (const change of changes) {
    if (change.path !== episode.resource) continue;
    state = Object.fromEntries(Object.entries({ ...state, ...change.changes }).filter(([, value]) => value !== null));
    seen.set(after(change.at), { ...state });
  }
  return { [nameOf(call)]: [...seen].map(([from, result]): ScenarioAnswer => ({ from, result })) };
}

function actsOf({ answers }: EpisodeRecord, after: (at: string) => string): { operator?: ScenarioAct[] } {
  if (answers.length === 0) return {};
  return {
    operator: answers.map(({ flow, by, answer, at, reason }): ScenarioAct => ({
      ...{ at: after(at), act: answer, flow, by },
      ...(reason === undefined ? {} : { reason }),
    })),
  };
}

function decisionsOf(
  { episode, decisions }: EpisodeRecord,
  outside: EpisodeRecord['events'],
): NonNullable<ScenarioTest['expect']['decisions']> {
  const mine = decisions.map(({ rung, branch, tier, ref, targets }) => ({
    ...{ rule: episode.rule, branch, rung, tier, run: ref, targets },
  }));
  const others = outside.some(({ verdicts }) =>
    Object.entries(verdicts).some(([rule, { decisionIds }]) => rule !== episode.rule && (decisionIds ?? []).length > 0),
  );
  return others ? [ANY, ...mine.flatMap((one) => [one, ANY])] : mine;
}
