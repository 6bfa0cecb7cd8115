import { validateTogether } from '@opsloop/dsl';
import { CliError, EXIT } from '../errors.js';
import type { LoadedDocument } from './read-documents.js';

export interface PlacedFinding {
  place: string;
  kind: string;
  name: string;
  severity: 'error' | 'warning';
  pointer: string;
  message: string;
}

/** Findings of all documents; throws when one of them is an error, so that nothing is written before all are good. */
export function checkDocuments(documents: readonly LoadedDocument[]): PlacedFinding[] {
  const checked = validateTogether(documents.map(({ document }) => document));
  const findings = checked.flatMap(({ findings: found }, i) => {
    const { kind, name, place } = documents[i]!;
    return found.map(({ severity, pointer, message, hint }): PlacedFinding => ({
      place,
      kind,
      name,
      severity,
      pointer,
      message: hint === undefined ? message : `${message}; ${hint}`,
    }));
  });
  failOnErrors(findings);
  return findings;
}

export function failOnErrors(findings: readonly PlacedFinding[]): void {
  const errors = findings.filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return;
  throw new CliError(
    `${errors.length} ${errors.length === 1 ? 'mistake' : 'mistakes'}; nothing was written`,
    EXIT.failed,
    errors.map(findingLine),
    { code: 'validation', findings },
  );
}

export function findingLine({ place, pointer, message }: PlacedFinding): string {
  return `${place}: ${pointer === '' ? '(document)' : pointer} ${message}`;
}
