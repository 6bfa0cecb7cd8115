import type { RuleDocument, Rung } from '@opsloop/contracts';
import { finding, type Finding } from '@opsloop/rules';
import { ruleReferences } from './references.js';
import { checkRef, checkTemplate } from './checks.js';

export function ruleFindings(rule: RuleDocument): Finding[] {
  const findings: Finding[] = [
    ...checkTemplate(rule.rollout?.by, '/rollout/by'),
    ...checkTemplate(rule.dedupe?.by, '/dedupe/by'),
    ...checkTemplate(rule.group?.by, '/group/by'),
    ...checkTemplate(rule.batch?.by, '/batch/by'),
    ...checkTemplate(
      rule.targets !== undefined && 'paths' in rule.targets ? rule.targets.paths : undefined,
      '/targets/paths',
    ),
    ...(rule.budget ?? []).flatMap((budget, i) => checkTemplate(budget.by, `/budget/${i}/by`)),
  ];
  const observe = rule.goal?.observe;
  if (observe !== undefined)
    findings.push(
      ...checkRef(observe.call, 'atom', '/goal/observe/call'),
      ...checkTemplate(observe.with, '/goal/observe/with'),
    );
  if (Array.isArray(rule.tier)) findings.push(...defaultLast(rule.tier, '/tier'));
  else if (rule.tier !== undefined) findings.push(...checkRef(rule.tier.table, 'table', '/tier/table'));
  if (rule.for !== undefined && rule.atLeast !== undefined)
    findings.push(
      finding('OPS1030', '/atLeast', 'a rule waits either by "for" or by "atLeast"', 'remove one of the two'),
    );
  findings.push(...defaultLast(rule.branches, '/branches'), ...uniqueIds(rule.branches, '/branches'));
  rule.branches.forEach((branch, i) => findings.push(...ladderFindings(rule, branch.ladder, `/branches/${i}/ladder`)));
  return [...findings, ...ruleReferences(rule)];
}

/** An entry without `when` matches always, so whatever stands after it is dead. */
export function defaultLast(entries: readonly { when?: unknown }[], pointer: string): Finding[] {
  const early = entries.findIndex((entry, i) => entry.when === undefined && i < entries.length - 1);
  return early < 0
    ? []
    : [
        finding(
          'OPS1103',
          `${pointer}/${early}`,
          'an entry without "when" matches always; what stands after it is never reached',
          'move it to the end, or give it a condition',
        ),
      ];
}

function uniqueIds(entries: readonly { id: string }[], pointer: string): Finding[] {
  const seen = new Set<string>();
  return entries.flatMap((entry, i) => {
    if (!seen.has(entry.id)) return (seen.add(entry.id), []);
    return [finding('OPS1003', `${pointer}/${i}/id`, `the id "${entry.id}" is used twice`, 'ids must differ')];
  });
}

function ladderFindings(rule: RuleDocument, ladder: readonly Rung[], pointer: string): Finding[] {
  const findings = uniqueIds(ladder, pointer);
  ladder.forEach((rung, i) => {
    const at = `${pointer}/${i}`;
    if ((rung.run === undefined) === (rung.call === undefined))
      findings.push(finding('OPS1031', at, 'a rung has exactly one of run (a flow), call (an atom)'));
    if (rung.run !== undefined) findings.push(...checkRef(rung.run, 'flow', `${at}/run`));
    if (rung.call !== undefined) findings.push(...checkRef(rung.call, 'atom', `${at}/call`));
    findings.push(...checkTemplate(rung.with, `${at}/with`));
    if (rung.within === undefined && i < ladder.length - 1)
      findings.push(
        finding(
          'OPS1032',
          `${at}/within`,
          'a rung without "within" ends the ladder, so the rungs after it are never reached',
          'say how long each attempt has to reach the goal',
        ),
      );
    if (rung.within === undefined && (rung.attempts ?? 1) > 1)
      findings.push(
        finding('OPS1033', `${at}/attempts`, 'several attempts need "within": the time each has to reach the goal'),
      );
    if (rule.goal === undefined && i > 0)
      findings.push({
        ...finding('OPS1034', at, 'without a goal only the first rung runs', 'add a goal, or remove this rung'),
        severity: 'warning',
      });
  });
  return findings;
}
