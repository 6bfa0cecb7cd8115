/** Which published documents read which secret. */
import type { AtomDocument, FlowDocument, Json } from '@opsloop/contracts';
import { templatePaths } from '@opsloop/rules';

interface Stored {
  kind: 'flow' | 'atom';
  name: string;
  version: string;
  status: string;
  body: FlowDocument | AtomDocument;
}

function secretsOf(body: FlowDocument | AtomDocument): string[] {
  if (body.kind === 'flow') return body.use?.secrets ?? [];
  const { http, script } = body;
  const templates = [http?.url, http?.headers, http?.body, script?.env, script?.stdin] as (Json | undefined)[];
  return templates
    .flatMap((template) => (template === undefined ? [] : templatePaths(template)))
    .flatMap((path) => /^secrets(?:\.([a-z0-9-]+)|\["([a-z0-9-]+)"\])/.exec(path)?.slice(1).find(Boolean) ?? []);
}

/** Secret → documents that can still start with it (`flow/fleet/x`, `atom/cmdb.retire`); deprecated versions count. */
export function usesOf(stored: readonly Stored[]): Map<string, string[]> {
  const uses = new Map<string, Set<string>>();
  for (const { kind, name, body } of stored)
    for (const secret of secretsOf(body)) uses.set(secret, (uses.get(secret) ?? new Set()).add(`${kind}/${name}`));
  return new Map([...uses].map(([secret, users]) => [secret, [...users].sort()]));
}

/** `*` at the end of a pattern takes every name that begins so; a pattern `*` takes all. */
export function matchesAny(name: string, patterns: readonly string[]): boolean {
  return patterns.some((p) => (p.endsWith('*') ? name.startsWith(p.slice(0, -1)) : p === name));
}
