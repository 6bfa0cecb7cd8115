import { OpsError, pathProblem, type Claim, type FlowDocument, type Json, type JsonObject } from '@opsloop/contracts';
import { renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';

type Configs = Readonly<Record<string, JsonObject>>;

function scopeOf(input: Json, config: Configs): Scope {
  return { input: toScopeValue(input), config: toScopeValue(config) };
}

/** The paths that a run of this flow changes, from its input; each once, in the order of the flow. */
export function computeTargets(doc: FlowDocument, input: Json, config: Configs): string[] {
  if (doc.targets === undefined) return [];
  const paths = [renderTemplate(doc.targets, scopeOf(input, config))].flat(2);
  return [...new Set(paths.map((path) => checked(path, '/targets')))];
}

/** The further claims of a flow, granted before its start, all or nothing. */
export function computeLocks(doc: FlowDocument, input: Json, config: Configs): Claim[] {
  const scope = scopeOf(input, config);
  return (doc.locks ?? []).map(({ path, mode }, i) => ({
    path: checked(renderTemplate(path, scope), `/locks/${i}/path`),
    mode,
  }));
}

function checked(path: Json, pointer: string): string {
  if (typeof path !== 'string')
    throw wrong(pointer, `gives ${JSON.stringify(path)?.slice(0, 80)}, where a resource path is needed`);
  const problem = pathProblem(path);
  if (problem !== undefined) throw wrong(pointer, `gives "${path.slice(0, 80)}", which ${problem}`);
  return path;
}

function wrong(pointer: string, message: string): OpsError {
  return new OpsError('validation', `${pointer} of the flow ${message}`, { errors: [{ pointer, message }] });
}
