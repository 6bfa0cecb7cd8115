/** What holds back noise beside windows, dedupe and groups: throttle and flapping; and what makes one incident of many. */
import type { EventMessage, RuleDocument } from '@opsloop/contracts';
import { durationMs } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import { renderTemplate } from '@opsloop/rules';
import { keyText } from './aim.pure.js';
import type { IncidentRef, LiveRule, WaitRow } from '../store/model.js';
import type { Answer } from './answer.pure.js';
import { no } from './answer.pure.js';
import { isAbout } from './match.pure.js';
import { ruleScope } from './scope.pure.js';
import { slotOf } from './sides.pure.js';
import type { World } from './world.pure.js';

/** Turns that one window remembers: more than any rule asks for. */
const TURNS_MAX = 1_001;
/** An incident takes new episodes for so long after its last one. */
const INCIDENT_WITHIN = '30m';

// ---------------------------------------------------------------- throttle
/** Counts a decision of the rule; above the bound it is left out. Only decisions that are made count. */
export function throttle(world: World, rule: LiveRule, event: EventMessage): Answer | undefined {
  const spec = rule.doc.throttle;
  if (spec === undefined) return undefined;
  const key = throttleKey(world, rule.doc, event);
  const withinMs = durationMs(spec.within);
  const times = timesOf(world, world.wait(slotOf(rule), 'throttle', key), withinMs);
  if (times.length >= spec.count)
    return no('deduped', 'throttle', {
      text: `${times.length} decisions within ${spec.within} by ${key}, at most ${spec.count}`,
      expected: spec.count,
      actual: times.length,
    });
  times.push(world.nowIso);
  const expiresAt = new Date(world.now + withinMs).toISOString();
  world.putWait({
    rule: slotOf(rule),
    kind: 'throttle',
    key,
    doc: { ruleVersion: rule.version, events: [], times },
    expiresAt,
  });
  return undefined;
}

function throttleKey(world: World, doc: RuleDocument, event: EventMessage): string {
  const by = doc.throttle?.by;
  return by === undefined
    ? 'all'
    : keyText(renderTemplate(by, ruleScope(world.configs, event, world.subjectOf(event))));
}

function timesOf(world: World, wait: WaitRow | undefined, withinMs: number): string[] {
  return (wait?.doc.times ?? []).filter((time) => Date.parse(time) > world.now - withinMs);
}

// ---------------------------------------------------------------- flapping
/** Notes whether the subject matches now; what counts is how often the answer turns. */
export function noteTurn(world: World, rule: LiveRule, event: EventMessage, matches: boolean): void {
  const spec = rule.doc.flapping;
  if (spec === undefined || event.subject === undefined || (!matches && !isAbout(rule, event))) return;
  const withinMs = durationMs(spec.within);
  const known = world.wait(slotOf(rule), 'flap', event.subject);
  if (known?.doc.matches === matches) return;
  const times = [...timesOf(world, known, withinMs), world.nowIso].slice(-TURNS_MAX);
  const expiresAt = new Date(world.now + withinMs).toISOString();
  const doc = { ruleVersion: rule.version, events: [], times, matches };
  world.putWait({ rule: slotOf(rule), kind: 'flap', key: event.subject, doc, expiresAt });
}

/** Whether the rule leaves this subject alone now, and until when it has to stand still. */
export function flappingOf(world: World, rule: LiveRule, path: string): { turns: number; until: number } | undefined {
  const spec = rule.doc.flapping;
  if (spec === undefined) return undefined;
  const times = timesOf(world, world.wait(slotOf(rule), 'flap', path), durationMs(spec.within));
  if (times.length < spec.changes) return undefined;
  const last = Date.parse(times.at(-1)!);
  const until = last + durationMs(spec.quiet ?? spec.within);
  // It has stood still for long enough, whatever happened before.
  return until <= world.now ? undefined : { turns: times.length, until };
}

// ---------------------------------------------------------------- incidents
/** Rule under which incident windows are kept: they belong to a domain, not to one rule. */
export const INCIDENT_RULE = '*';

/**
 * The incident that a new episode belongs to. Without `incident` it is that of the first cause: what a run did and what
 * came of it are one story. With it the episodes of all rules of the domain with the same key are, while they follow
 * each other within the time.
 */
export function incidentOf(world: World, rule: LiveRule, event: EventMessage, cause: string): IncidentRef {
  const spec = rule.doc.incident;
  if (spec === undefined) return { id: messageId('incident', world.tenant, event.correlationId) };
  const rendered = keyText(renderTemplate(spec.by, ruleScope(world.configs, event, world.subjectOf(event))));
  const key = `${rule.name.split('/', 1)[0]}/${rendered}`;
  const known = world.wait(INCIDENT_RULE, 'incident', key);
  const id = known?.doc.incident ?? messageId('incident', world.tenant, key, cause);
  const expiresAt = new Date(world.now + durationMs(spec.within ?? INCIDENT_WITHIN)).toISOString();
  world.putWait({
    rule: INCIDENT_RULE,
    kind: 'incident',
    key,
    doc: { ruleVersion: rule.version, events: [], incident: id },
    expiresAt: known !== undefined && known.expiresAt > expiresAt ? known.expiresAt : expiresAt,
  });
  return { id, key: rendered };
}
