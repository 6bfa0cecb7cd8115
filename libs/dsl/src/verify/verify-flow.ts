import type { FlowDocument } from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import { budgetFindings } from './budget.js';
import { eventFindings } from './events.js';
import { evolutionFindings } from './evolution.js';
import { expressionFindings } from './expressions.js';
import { graphFindings } from './graph.js';
import { analyseFlow, type FlowModel } from './model.js';
import { referenceFindings } from './references.js';
import { findingUrl, fixOf } from './registry.js';
import { safetyFindings } from './safety.js';
import { structureFindings } from './structure.js';
import { terminationFindings } from './termination.js';
import { typeFindings } from './types.js';
import type { World } from './world.js';

const GROUPS: readonly ((model: FlowModel) => Finding[])[] = [
  structureFindings,
  graphFindings,
  expressionFindings,
  referenceFindings,
  typeFindings,
  terminationFindings,
  budgetFindings,
  safetyFindings,
  eventFindings,
  evolutionFindings,
];

/** All groups of checks over one model of a flow that has passed its schema. */
export function verifyFlow(flow: FlowDocument, world: World = {}): Finding[] {
  const model = analyseFlow(flow, world);
  return distinct(GROUPS.flatMap((group) => group(model)));
}

/** One finding per code and place. */
export function distinct(findings: readonly Finding[]): Finding[] {
  const seen = new Set<string>();
  return findings.filter(({ code, pointer }) => {
    const key = `${code} ${pointer}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Findings as they are shown: each with a hint and the page of its code. */
export function withUrls(findings: readonly Finding[]): Finding[] {
  return findings.map((one) => {
    const hint = one.hint ?? fixOf(one.code);
    return { ...one, ...(hint === undefined ? {} : { hint }), url: findingUrl(one.code) };
  });
}
