/** What a run changes and needs, computed from its flow and input: the same for every caller. */
import { type Claim, type FlowDocument, type Json, type JsonObject, OpsError, pathProblem } from '@opsloop/contracts';
import { renderTemplate, type Scope, toScopeValue } from '@opsloop/rules';

type Config = Record<string, JsonObject>;

function scopeOf(input: Json, config: Config, vars: JsonObject): Scope {
  return { input: toScopeValue(input), config: toScopeValue(config), vars: toScopeValue(vars) };
}

function checkedPath(value: unknown, what: string): string {
  const wrong = typeof value === 'string' ? pathProblem(value) : 'is no text';
  if (wrong !== undefined) throw new OpsError('validation', `${what} ${JSON.stringify(value)} ${wrong}; it must be a resource path`);
  return value as string;
}

/** The paths that a run changes, without repeats, in order. Empty when the flow declares none. */
export function computeTargets(document: FlowDocument, input: Json, config: Config): string[] {
  if (document.targets === undefined) return [];
  const value = renderTemplate(document.targets, scopeOf(input, config, document.vars ?? {}));
  const list = Array.isArray(value) ? value.flat() : value === null ? [] : [value];
  return [...new Set(list.map((path) => checkedPath(path, 'target')))];
}

/**
 * The claims of a run: an exclusive one per target (`lockTargets: all`, the default) and the flow's further `locks`. With
 * `perItem` or `none` the targets are not locked before the start.
 */
export function computeLocks(document: FlowDocument, input: Json, config: Config): Claim[] {
  const scope = scopeOf(input, config, document.vars ?? {});
  const targets = (document.lockTargets ?? 'all') === 'all' ? computeTargets(document, input, config) : [];
  const claims: Claim[] = targets.map((path) => ({ path, mode: 'exclusive' }));
  for (const { path, mode } of document.locks ?? []) {
    const rendered = renderTemplate(path, scope);
    for (const one of Array.isArray(rendered) ? rendered : [rendered]) claims.push({ path: checkedPath(one, 'lock'), mode });
  }
  return claims;
}
