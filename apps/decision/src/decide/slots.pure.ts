/** Which outside values the slots of a rule read. */
import type { RuleDocument } from '@opsloop/contracts';

const flags = new WeakMap<RuleDocument, { config: boolean; resource: boolean }>();

/** Answered once per document: its text does not change. */
function flagsOf(doc: RuleDocument): { config: boolean; resource: boolean } {
  let known = flags.get(doc);
  if (known === undefined) {
    const slots = JSON.stringify([
      doc.dedupe?.by,
      doc.throttle?.by,
      doc.group?.by,
      doc.incident?.by,
      doc.targets,
      doc.budget,
      doc.facts,
    ]);
    known = { config: JSON.stringify(doc).includes('config.'), resource: slots.includes('resource.') };
    flags.set(doc, known);
  }
  return known;
}

/** Whether any slot reads a config. Text search: a false hit only costs one cached look. */
export function readsConfig(doc: RuleDocument): boolean {
  return flagsOf(doc).config;
}

/** Whether targets or keys read labels, so that the resource has to be known before it is locked. */
export function aimReadsResource(doc: RuleDocument): boolean {
  return flagsOf(doc).resource;
}
