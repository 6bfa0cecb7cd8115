import type { DocumentKind, Json } from '@opsloop/contracts';
import type { LoadedDocument } from './read-documents.js';

/**
 * What is referred to comes before what refers to it. Sources come last: a poll looks as soon as it is there, and its
 * first event should meet the rules that wait for it.
 */
const ORDER: readonly DocumentKind[] = [
  'config',
  'table',
  'resource',
  'maintenance',
  'atom',
  'flow',
  'policy',
  'schedule',
  'rule',
  'source',
];

/** Dependency order, stable within a kind; flows after the flows that they run. */
export function inDependencyOrder(documents: readonly LoadedDocument[]): LoadedDocument[] {
  return ORDER.flatMap((kind) => {
    const ofKind = documents.filter((document) => document.kind === kind);
    return kind === 'flow' ? subFlowsFirst(ofKind) : ofKind;
  });
}

function subFlowsFirst(flows: readonly LoadedDocument[]): LoadedDocument[] {
  const ordered: LoadedDocument[] = [];
  const seen = new Set<LoadedDocument>();
  const visit = (flow: LoadedDocument): void => {
    // A circle is refused by the server, with a better message; here it only must not loop.
    if (seen.has(flow)) return;
    seen.add(flow);
    const wanted = runReferences(flow.document);
    for (const other of flows) if (wanted.has(other.name)) visit(other);
    ordered.push(flow);
  };
  flows.forEach(visit);
  return ordered;
}

/** Names of the flows that `run` steps name, without their range. */
function runReferences(value: Json): Set<string> {
  const names = new Set<string>();
  const visit = (one: Json): void => {
    if (one === null || typeof one !== 'object') return;
    if (Array.isArray(one)) return one.forEach(visit);
    for (const [key, member] of Object.entries(one)) {
      if (key === 'run' && typeof member === 'string') names.add(member.split('@', 1)[0]!);
      else visit(member);
    }
  };
  visit(value);
  return names;
}
