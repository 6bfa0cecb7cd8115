/** Which maintenance window is open for a resource and a rule. */
import type { MaintenanceDocument } from '@opsloop/contracts';
import { isUnder, matchesPattern } from '@opsloop/contracts';
import { openWindow } from '@opsloop/rules/windows';
import type { Resource } from '../store/model.js';

/** A window with what people did to it. */
export interface MaintenanceInForce {
  doc: MaintenanceDocument;
  /** The stretch that lasts until then was ended before its time. Milliseconds since 1970. */
  endedUntil?: number;
}

export interface OpenMaintenance {
  doc: MaintenanceDocument;
  /** Milliseconds since 1970. */
  until: number;
}

/** Of several the one that lasts longest: before its end nothing may be done anyway. */
export function maintenanceOver(
  windows: readonly MaintenanceInForce[],
  rule: string,
  resource: Resource,
  now: number,
): OpenMaintenance | undefined {
  let longest: OpenMaintenance | undefined;
  for (const { doc, endedUntil } of windows) {
    if (!covers(doc, rule, resource)) continue;
    const open = openWindow(doc.during, now);
    if (open === undefined || open.until <= (endedUntil ?? 0)) continue;
    if (longest === undefined || open.until > longest.until) longest = { doc, until: open.until };
  }
  return longest;
}

export function covers({ scope }: MaintenanceDocument, rule: string, resource: Resource): boolean {
  const { paths, labels, memberOf, rules } = scope;
  return (
    (rules === undefined || rules.some((pattern) => matchesPattern(pattern, rule))) &&
    (paths === undefined || paths.some((p) => matchesPattern(p, resource.path) || isUnder(resource.path, p))) &&
    (memberOf === undefined || resource.memberOf.some((group) => memberOf.includes(group))) &&
    (labels === undefined || Object.entries(labels).every(([key, value]) => resource.labels[key] === value))
  );
}

export function maintenanceText({ doc, until }: OpenMaintenance): string {
  const why = doc.reason === undefined ? '' : `: ${doc.reason}`;
  return `maintenance ${doc.name} until ${new Date(until).toISOString()}${why}; looked at again at its end`;
}
