/** One rule test: a few events in their times against one rule, and what it said of each. */
import type {
  EventMessage,
  Json,
  JsonObject,
  MaintenanceDocument,
  RuleDocument,
  TableDocument,
} from '@opsloop/contracts';
import { durationMs, pathKind } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import { normaliseDocument } from '@opsloop/dsl';
import { unknownResource } from '../resources/merge.pure.js';
import type { DecisionRow, Resource, RuleTrace } from '../store/model.js';
import { RulePlay } from './rule-play.pure.js';

export interface RuleTestGiven {
  rule: RuleDocument;
  /** ISO. */
  start: string;
  configs: Record<string, JsonObject>;
  resources: readonly JsonObject[];
  events: readonly { at?: string; event: { type: string; source?: string; subject?: string; data?: Json } }[];
  until?: string;
  /** Decision tables by reference as the rule writes it. */
  tables?: Record<string, TableDocument>;
  maintenance?: readonly MaintenanceDocument[];
}

export interface RuleTestSeen {
  /** By place of the event. */
  verdicts: { verdict: string; stage: string; because?: string }[];
  /** `at` in seconds since the start. */
  decisions: JsonObject[];
}

export function playRuleTest(given: RuleTestGiven): RuleTestSeen {
  const start = Date.parse(given.start);
  const doc = normaliseDocument(given.rule) as RuleDocument;
  const verdicts = new Map<string, RuleTrace>();
  const decisions: DecisionRow[] = [];
  const play = new RulePlay({
    // A test asks what the rule decides, whatever mode it happens to be in.
    rules: [{ name: doc.name, version: doc.version, digest: '', mode: 'active', doc }],
    configs: given.configs,
    resources: given.resources.map((one) => resourceOf(one, given.start)),
    tables: new Map(
      Object.entries(given.tables ?? {}).map(([ref, table]) => [ref, normaliseDocument(table) as TableDocument]),
    ),
    maintenance: (given.maintenance ?? []).map((one) => ({ doc: one })),
    verdict: (eventId, _rule, trace) => verdicts.set(eventId, trace),
    decided: (decision) => decisions.push(decision),
  });
  const events = given.events.map((one, i) => eventOf(one, i, start));
  for (const event of [...events].sort((a, b) => (a.receivedAt < b.receivedAt ? -1 : 1))) play.send(event);
  const last = Math.max(start, ...events.map((event) => Date.parse(event.receivedAt)));
  play.advance(given.until === undefined ? last : start + durationMs(given.until));
  return {
    verdicts: events.map(({ eventId }) => verdictOf(verdicts.get(eventId))),
    decisions: decisions.map((row) => decisionOf(row, start)),
  };
}

function verdictOf(trace: RuleTrace | undefined): RuleTestSeen['verdicts'][number] {
  // What was no candidate leaves no trace: its type, source, subject or data fit nothing.
  if (trace === undefined) return { verdict: 'no-match', stage: 'on' };
  const { verdict, stage, because } = trace;
  return { verdict, stage, ...(because === undefined ? {} : { because: because.text }) };
}

function decisionOf({ branch, rung, tier, targets, batches, start: work, at }: DecisionRow, start: number): JsonObject {
  return {
    ...{ branch, rung, tier, targets, batches, run: work.ref },
    with: work.perTarget === undefined ? work.input : work.perTarget.items.map(({ input }) => input),
    at: (Date.parse(at) - start) / 1_000,
  };
}

function eventOf({ at, event }: RuleTestGiven['events'][number], i: number, start: number): EventMessage {
  const eventId = messageId('ruletest', String(i));
  const time = new Date(start + (at === undefined ? 0 : durationMs(at))).toISOString();
  const { type, source = 'test', subject, data = {} } = event;
  const reports = type.endsWith('.state') && subject !== undefined && isObject(data);
  return {
    ...{ eventId, id: eventId, type, source, data, time, receivedAt: time, correlationId: eventId, hops: 0 },
    ...(subject === undefined ? {} : { subject }),
    ...(reports ? { state: data } : {}),
  };
}

/** A state that is given was seen before the first event. */
function resourceOf(given: JsonObject, start: string): Resource {
  const path = String(given['path']);
  const { state, ...rest } = given as JsonObject & { state?: JsonObject };
  const before = new Date(Date.parse(start) - 1_000).toISOString();
  const stamps = Object.fromEntries(Object.keys(state ?? {}).map((key) => [key, before]));
  return {
    ...unknownResource(path),
    ...(rest as Partial<Resource>),
    kind: pathKind(path),
    ...(state === undefined ? {} : { state, stateAt: stamps, seenAt: stamps, observedAt: before }),
  };
}

function isObject(value: Json): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
