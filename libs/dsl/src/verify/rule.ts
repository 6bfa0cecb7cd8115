/** Rules: entries that are reached, slots that read what is there, rungs that lead to something. */
import { durationMs, type Json, type RuleDocument, type Rung } from '@opsloop/contracts';
import { logicReads, normaliseCondition, pointerTo, templateReads, type Finding } from '@opsloop/rules';
import { checkTemplate } from '../checks.js';
import { refProblem } from '../refs.js';
import { finding } from '@opsloop/rules';
import { constantFindings, defaultLast, sameTwice } from './graph.js';
import { analyseFlow, atomOf, flowOf, found, isLost, type FlowModel } from './model.js';
import { lostFinding } from './structure.js';
import { factFindings, RUNG_FACTS, tableRefFindings } from './facts.js';
import { unsent } from './events.js';
import { near } from '../near.js';
import { Match } from './types.js';
import type { World } from './world.js';

export function ruleFindings(rule: RuleDocument, world: World = {}): Finding[] {
  const findings: Finding[] = [
    ...checkTemplate(rule.rollout?.by, '/rollout/by'),
    ...checkTemplate(rule.dedupe?.by, '/dedupe/by'),
    ...checkTemplate(rule.group?.by, '/group/by'),
    ...checkTemplate(rule.batch?.by, '/batch/by'),
    ...checkTemplate(rule.batch?.spread, '/batch/spread'),
    ...checkTemplate(rule.throttle?.by, '/throttle/by'),
    ...checkTemplate(rule.incident?.by, '/incident/by'),
    ...checkTemplate(
      rule.targets !== undefined && 'paths' in rule.targets ? rule.targets.paths : undefined,
      '/targets/paths',
    ),
    ...(rule.budget ?? []).flatMap((budget, i) => checkTemplate(budget.by, `/budget/${i}/by`)),
  ];
  const observe = rule.goal?.observe;
  if (observe !== undefined)
    findings.push(...workFindings(world, { call: observe.call, with: observe.with }, '/goal/observe', 'read'));
  if (Array.isArray(rule.tier)) findings.push(...defaultLast(rule.tier, '/tier'), ...sameTwice(rule.tier, '/tier'));
  else if (rule.tier !== undefined) findings.push(...tableRefFindings(world, rule.tier.table, '/tier/table'));
  findings.push(...factFindings(rule, world));
  if (rule.for !== undefined && rule.atLeast !== undefined)
    findings.push(
      found('OPS1030', '/atLeast', 'a rule waits either by "for" or by "atLeast"', 'remove one of the two'),
    );
  findings.push(...defaultLast(rule.branches, '/branches'), ...uniqueIds(rule.branches, '/branches'));
  findings.push(...sameTwice(rule.branches, '/branches'), ...conditionsOf(rule).flatMap(constant));
  rule.branches.forEach((branch, i) =>
    findings.push(...ladderFindings(rule, branch.ladder, `/branches/${i}/ladder`, world)),
  );
  (rule.on ?? []).forEach(({ type }, i) =>
    findings.push(...(type === undefined ? [] : unsent(type, `/on/${i}/type`, world))),
  );
  return [...findings, ...ruleReferences(rule), ...timeFindings(rule), ...patternFindings(rule)];
}

/** Conditions of a rule with their places. The goal may be constant for a while; a branch may not. */
function conditionsOf(rule: RuleDocument): [Json, string][] {
  const tiers = Array.isArray(rule.tier) ? rule.tier : [];
  return [
    ...(rule.when === undefined ? [] : [[rule.when, '/when'] as [Json, string]]),
    ...tiers.flatMap((one, i) => (one.when === undefined ? [] : [[one.when, `/tier/${i}/when`] as [Json, string]])),
    ...(rule.goal === undefined ? [] : [[rule.goal.state, '/goal/state'] as [Json, string]]),
    ...rule.branches.flatMap((one, i) =>
      one.when === undefined ? [] : [[one.when, `/branches/${i}/when`] as [Json, string]],
    ),
  ];
}

function constant([written, pointer]: [Json, string]): Finding[] {
  try {
    const logic = normaliseCondition(written);
    const node = { id: '' } as never;
    return constantFindings({ written, logic, pointer, node, names: [], slot: 'when' });
  } catch {
    // Cannot be read at all: a finding of its own.
    return [];
  }
}

function uniqueIds(entries: readonly { id: string }[], pointer: string): Finding[] {
  const seen = new Set<string>();
  return entries.flatMap((entry, i) => {
    if (!seen.has(entry.id)) return (seen.add(entry.id), []);
    return [found('OPS1003', `${pointer}/${i}/id`, `the id "${entry.id}" is used twice`, 'ids must differ')];
  });
}

function ladderFindings(rule: RuleDocument, ladder: readonly Rung[], pointer: string, world: World): Finding[] {
  const findings = uniqueIds(ladder, pointer);
  ladder.forEach((rung, i) => {
    const at = `${pointer}/${i}`;
    if ((rung.run === undefined) === (rung.call === undefined))
      findings.push(found('OPS1031', at, 'a rung has exactly one of run (a flow), call (an atom)'));
    else findings.push(...workFindings(world, rung, at));
    if (rung.within === undefined && i < ladder.length - 1)
      findings.push(
        found(
          'OPS1032',
          `${at}/within`,
          'a rung without "within" ends the ladder, so the rungs after it are never reached',
          'say how long each attempt has to reach the goal',
        ),
      );
    if (rung.within === undefined && (rung.attempts ?? 1) > 1)
      findings.push(
        found('OPS1033', `${at}/attempts`, 'several attempts need "within": the time each has to reach the goal'),
      );
    if (rule.goal === undefined && i > 0)
      findings.push(found('OPS1034', at, 'without a goal only the first rung runs', 'add a goal, or remove this rung'));
  });
  return findings;
}

/** A document that starts something: the reference, what it resolves to, and the input it is given. */
export function workFindings(
  world: World,
  work: { run?: string | undefined; call?: string | undefined; with?: Json | undefined },
  pointer: string,
  effect?: 'read',
): Finding[] {
  const findings: Finding[] = [...checkTemplate(work.with, `${pointer}/with`)];
  const model = nothing(world);
  for (const [key, kind] of [
    ['run', 'flow'],
    ['call', 'atom'],
  ] as const) {
    const ref = work[key];
    if (ref === undefined) continue;
    const at = `${pointer}/${key}`;
    const problem = refProblem(ref, kind);
    if (problem !== undefined) {
      findings.push(finding('OPS1014', at, problem));
      continue;
    }
    const target = kind === 'flow' ? flowOf(world, ref) : atomOf(world, ref);
    if (target === undefined) {
      if (isLost(world, kind, ref)) findings.push(lostFinding(world, kind, ref, at));
      continue;
    }
    if (effect === 'read' && target.kind === 'atom' && target.effect !== 'read') {
      findings.push(found('OPS1051', at, `"${ref}" is of effect "${target.effect}", and an observation only reads`));
      continue;
    }
    if (target.input !== undefined) {
      const match = new Match(model, model.root, kind === 'flow' ? 'OPS1608' : 'OPS1604', target.name);
      findings.push(...match.of(work.with ?? {}, target.input.schema, `${pointer}/with`));
    }
  }
  return findings;
}

/** The model of no flow at all: nothing that a template reads is known. */
function nothing(world: World): FlowModel {
  return analyseFlow({ dsl: 'opsloop/v1', kind: 'flow', name: 'x/x', version: '0.0.0', do: [] }, world);
}

const EVENT = ['event', 'resource', 'config'];
/** Read once facts are known: everything behind the first look at an event. */
const DECIDED = [...EVENT, 'facts', 'now'];
const RUNG = [...DECIDED, 'episode', 'tier', 'targets', 'batches', 'decision', 'incident'];
/** The goal is asked without any event: at every look, also years after the one that began the episode. */
const GOAL = ['resource', 'config'];

/** Slots of a rule see fixed names; one that reads another would be the verdict `error`, or a goal never known. */
function ruleReferences(rule: RuleDocument): Finding[] {
  const tiers = Array.isArray(rule.tier) ? rule.tier : [];
  const { goal, targets } = rule;
  const facts = new Set(Object.keys(rule.facts ?? {}));
  const rungFacts = new Set([...facts, ...RUNG_FACTS]);
  return [
    ...condition(rule.when, '/when', DECIDED, facts),
    ...Object.entries(rule.facts ?? {}).flatMap(([name, fact]) => [
      ...template(fact.of, `/facts/${name}/of`, EVENT),
      ...template(fact.under, `/facts/${name}/under`, EVENT),
    ]),
    ...template(rule.rollout?.by, '/rollout/by', EVENT),
    ...template(rule.dedupe?.by, '/dedupe/by', EVENT),
    ...template(rule.throttle?.by, '/throttle/by', EVENT),
    ...template(rule.group?.by, '/group/by', EVENT),
    ...template(rule.incident?.by, '/incident/by', EVENT),
    ...template(rule.batch?.by, '/batch/by', ['resource']),
    ...template(rule.batch?.spread, '/batch/spread', ['resource']),
    ...template(targets !== undefined && 'paths' in targets ? targets.paths : undefined, '/targets/paths', EVENT),
    ...(rule.budget ?? []).flatMap((budget, i) => template(budget.by, `/budget/${i}/by`, EVENT)),
    ...tiers.flatMap((entry, i) => condition(entry.when, `/tier/${i}/when`, DECIDED, facts)),
    ...condition(goal?.state, '/goal/state', GOAL),
    ...template(goal?.observe?.with, '/goal/observe/with', GOAL),
    ...rule.branches.flatMap((branch, i) => [
      ...condition(branch.when, `/branches/${i}/when`, [...DECIDED, 'tier'], facts),
      ...branch.ladder.flatMap((rung, n) => template(rung.with, `/branches/${i}/ladder/${n}/with`, RUNG, rungFacts)),
    ]),
  ];
}

/** Reads of a condition outside the names it sees. `facts`: the names that `facts.<name>` may have. */
export function condition(
  value: Json | undefined,
  pointer: string,
  names: readonly string[],
  facts?: ReadonlySet<string>,
): Finding[] {
  if (value === undefined) return [];
  try {
    return unknownIn(
      logicReads(normaliseCondition(value))
        .filter((read) => !read.inItem)
        .map((read) => ({ ...read, pointer })),
      names,
      facts,
    );
  } catch {
    return [];
  }
}

/** Reads of a template outside the names it sees. */
export function template(
  value: Json | undefined,
  pointer: string,
  names: readonly string[],
  facts?: ReadonlySet<string>,
): Finding[] {
  if (value === undefined) return [];
  const reads = templateReads(value).filter((read) => !read.inItem);
  return unknownIn(
    reads.map((read) => ({ ...read, pointer: pointer + read.pointer })),
    names,
    facts,
  );
}

function unknownIn(
  reads: readonly { path: string; segments: readonly string[]; pointer: string }[],
  names: readonly string[],
  facts?: ReadonlySet<string>,
): Finding[] {
  return reads.flatMap(({ path, segments, pointer }) => {
    const [name = '', member] = segments;
    // Secrets have a finding of their own that says where they may stand.
    if (name === 'secrets') return [];
    if (names.includes(name)) {
      if (name !== 'facts' || facts === undefined || member === undefined || facts.has(member)) return [];
      return [
        found(
          'OPS1501',
          pointer,
          `"${path}" reads the fact "${member}", which the rule does not declare`,
          near(member, facts) ?? 'declare it under "facts"',
        ),
      ];
    }
    return [
      found(
        'OPS1501',
        pointer,
        `"${path}" begins with "${name}", which is not there`,
        near(name, new Set(names)) ?? `names here: ${names.join(', ')}`,
      ),
    ];
  });
}

function timeFindings(rule: RuleDocument): Finding[] {
  const { goal } = rule;
  const findings: Finding[] = [];
  const longer = (a: string | undefined, b: string | undefined): boolean =>
    a !== undefined && b !== undefined && durationMs(a) > durationMs(b);
  const observe = goal?.observe;
  if (longer(observe?.every, observe?.staleAfter ?? '1m') && observe?.every !== undefined)
    findings.push(
      found(
        'OPS1052',
        '/goal/observe/every',
        `observations are ${observe.every} apart and count as unknown after ${observe.staleAfter ?? '1m, the default'}`,
        'look more often, or raise staleAfter',
      ),
    );
  rule.branches.forEach((branch, i) =>
    branch.ladder.forEach((rung, n) => {
      if (longer(goal?.stableFor, rung.within))
        findings.push(
          found(
            'OPS1052',
            `/branches/${i}/ladder/${n}/within`,
            `the goal must hold for ${goal!.stableFor}, and an attempt has ${rung.within}`,
            'give the attempt more time, or lower stableFor',
          ),
        );
      if (longer(observe?.every, rung.within))
        findings.push(
          found(
            'OPS1052',
            `/branches/${i}/ladder/${n}/within`,
            `is over before the next look, ${observe!.every} later`,
          ),
        );
    }),
  );
  return findings;
}

function patternFindings(rule: RuleDocument): Finding[] {
  const seen = new Set<string>();
  return rule.on.flatMap((pattern, i) => {
    const key = JSON.stringify(pattern);
    if (!seen.has(key)) return (seen.add(key), []);
    return [found('OPS1053', pointerTo('/on', i), 'is the same as an entry before it')];
  });
}
