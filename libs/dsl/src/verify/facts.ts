/** Facts that a rule declares, and the reads of facts that nobody declared. */
import { durationMs, type FactSpec, type JsonObject, type RuleDocument } from '@opsloop/contracts';
import { finding, type Finding } from '@opsloop/rules';
import { checkTemplate } from '../checks.js';
import { refProblem } from '../refs.js';
import { found, isLost } from './model.js';
import { windowFindings } from './windows.js';
import type { World } from './world.js';

const KINDS = ['events', 'episodes', 'clock', 'during', 'table'] as const;
const PLACES = ['of', 'under', 'any'] as const;
/** Facts of every rung, whatever the rule declares. */
export const RUNG_FACTS = ['targets', 'batches'];
/** Counting reads stored events one by one; a week of a busy subject is some ten thousand. */
const WITHIN_MAX_MS = 7 * 86_400_000;

export function factFindings(rule: RuleDocument, world: World): Finding[] {
  return Object.entries(rule.facts ?? {}).flatMap(([name, fact]) => [
    ...(RUNG_FACTS.includes(name)
      ? [found('OPS1016', `/facts/${name}`, `"facts.${name}" is there already, in every rung`)]
      : []),
    ...ofFact(fact, `/facts/${name}`, world),
  ]);
}

function ofFact(fact: FactSpec, pointer: string, world: World): Finding[] {
  const kinds = KINDS.filter((kind) => fact[kind] !== undefined);
  if (kinds.length !== 1)
    return [
      finding('OPS1009', pointer, `a fact has exactly one of ${KINDS.join(', ')}`, 'keep one, and name others apart'),
    ];
  const kind = kinds[0]!;
  const counts = kind === 'events' || kind === 'episodes';
  const findings: Finding[] = [
    ...checkTemplate(fact.of, `${pointer}/of`),
    ...checkTemplate(fact.under, `${pointer}/under`),
  ];
  const places = PLACES.filter((place) => fact[place] !== undefined);
  if (places.length > 1)
    findings.push(finding('OPS1009', `${pointer}/${places[1]}`, 'of, under and any exclude each other', 'keep one'));
  for (const member of [...PLACES, 'within', 'distinct'] as const)
    if (!counts && fact[member] !== undefined)
      findings.push(finding('OPS1009', `${pointer}/${member}`, `has no meaning for "${kind}"`, 'remove it'));
  if (kind === 'events' && fact.within === undefined)
    findings.push(finding('OPS1009', `${pointer}/within`, 'events are counted within a time', 'add "within": "1h"'));
  if (fact.within !== undefined && durationMs(fact.within) > WITHIN_MAX_MS)
    findings.push(found('OPS1052', `${pointer}/within`, 'counts over at most 7d are kept quick enough to decide by'));
  if (fact.during !== undefined)
    findings.push(...windowFindings(fact.during as unknown as JsonObject, `${pointer}/during`));
  if (fact.clock !== undefined)
    findings.push(
      ...windowFindings({ from: '2000-01-01', zone: fact.clock }, pointer).map((one) => ({
        ...one,
        pointer: `${pointer}/clock`,
      })),
    );
  if (fact.table !== undefined) findings.push(...tableRefFindings(world, fact.table, `${pointer}/table`));
  return findings;
}

export function tableRefFindings(world: World, ref: string, pointer: string): Finding[] {
  const problem = refProblem(ref, 'table');
  if (problem !== undefined) return [finding('OPS1014', pointer, problem)];
  return isLost(world, 'table', ref) && world.table !== undefined && world.table(ref) === undefined
    ? [found('OPS1017', pointer, `no table answers to "${ref}"`)]
    : [];
}
