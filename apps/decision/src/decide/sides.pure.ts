/** Which version of a rule acts on an event while another one is tried beside it. */
import type { EventMessage, Json, Side } from '@opsloop/contracts';
import { sha256Hex } from '@opsloop/contracts';
import { renderTemplate } from '@opsloop/rules';
import type { Configs, LiveRule, Pair, Resource, Ruleset, WaitDoc } from '../store/model.js';
import { ruleScope } from './scope.pure.js';
import { ruleNamed } from './world.pure.js';

const BUCKETS = 100;

/** Where windows and verdicts of a rule are kept: a version that only watches has its own. */
export function slotOf(rule: Pick<LiveRule, 'name' | 'slot'>): string {
  return rule.slot ?? rule.name;
}

/** The same key is always in the same place, so a resource does not flip between two versions, nor in and out of a share. */
export function bucketOf(rule: string, key: Json): number {
  return Number.parseInt(sha256Hex(`${rule}\n${JSON.stringify(key)}`).slice(0, 8), 16) % BUCKETS;
}

/** The version as it acts, and as it only watches. */
function acting(rule: LiveRule, side: Side): LiveRule {
  return { ...rule, side };
}

function watching(rule: LiveRule, side: Side): LiveRule {
  return { ...rule, mode: 'shadow', slot: `${rule.name}@${rule.version}`, side };
}

function bucketFor(
  pair: Pair,
  event: EventMessage,
  resource: () => Resource | undefined,
  configs: Configs,
): number | undefined {
  if (pair.by === undefined) return bucketOf(pair.live.name, event.subject ?? event.eventId);
  try {
    return bucketOf(pair.live.name, renderTemplate(pair.by, ruleScope(configs, event, resource())));
  } catch {
    // A key that cannot be read says nothing for the new version: the last good one acts.
    return undefined;
  }
}

function sideOf(pair: Pair, rule: LiveRule, bucket: number | undefined): Side {
  const tried = bucket !== undefined && bucket < pair.percent;
  const isTried = rule.version === pair.tried.version;
  return {
    acts: tried === isTried,
    percent: pair.percent,
    ...(bucket === undefined ? {} : { bucket }),
    beside: isTried ? pair.live.version : pair.tried.version,
  };
}

/**
 * The candidates as they judge this event. Of two versions the one that only watches comes first: it has to see the
 * world before the other opens an episode in it.
 */
export function sides(
  rules: LiveRule[],
  event: EventMessage,
  resource: () => Resource | undefined,
  configs: Configs,
): LiveRule[] {
  if (!rules.some((rule) => rule.pair !== undefined)) return rules;
  const all = rules.map((rule) => {
    if (rule.pair === undefined) return rule;
    const side = sideOf(rule.pair, rule, bucketFor(rule.pair, event, resource, configs));
    return side.acts ? acting(rule, side) : watching(rule, side);
  });
  return [...all.filter(({ slot }) => slot !== undefined), ...all.filter(({ slot }) => slot === undefined)];
}

/** The version that acts on what the event is about, whether or not its `on` fits. */
export function actingOn(
  rule: LiveRule,
  event: EventMessage,
  resource: () => Resource | undefined,
  configs: Configs,
): LiveRule {
  if (rule.pair === undefined) return rule;
  const { live, tried } = rule.pair;
  const bucket = bucketFor(rule.pair, event, resource, configs);
  const side = sideOf(rule.pair, tried, bucket);
  return side.acts ? acting(tried, side) : acting(live, sideOf(rule.pair, live, bucket));
}

/** Whose window this is: it ends by the version that opened it while that one still judges, else by the live one. */
export function ruleOfWait(ruleset: Ruleset, wait: { rule: string; doc: WaitDoc }): LiveRule | undefined {
  const [name = '', version] = wait.rule.split('@', 2);
  const live = ruleNamed(ruleset, name);
  if (live?.pair === undefined) return version === undefined ? live : undefined;
  const { pair } = live;
  const wanted = version ?? wait.doc.ruleVersion;
  const rule = wanted === pair.tried.version ? pair.tried : live;
  if (version !== undefined && rule.version !== version) return undefined;
  const side = { acts: version === undefined, percent: pair.percent };
  const beside = rule === live ? pair.tried.version : live.version;
  return version === undefined ? acting(rule, { ...side, beside }) : watching(rule, { ...side, beside });
}
