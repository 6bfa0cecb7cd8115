/** What is known of a run before it starts. */
import { AT_RUN_TIME, OpsError, type CompiledFlow, type Json, type JsonObject, type Known } from '@opsloop/contracts';
import { renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';
import { isObject } from '../normalise.js';

/** The value, or that only the run can know it. */
export const known = <T>(compute: () => T): Known<T> => {
  try {
    return compute();
  } catch (error) {
    if (error instanceof OpsError) return AT_RUN_TIME;
    throw error;
  }
};

/** What is known before the start. A variable that a step sets is not. */
export function scopeOf(compiled: CompiledFlow, input: Json, config: Readonly<Record<string, JsonObject>>): Scope {
  const outer: Scope = { input: toScopeValue(input), config: toScopeValue({ ...config }) };
  const written = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) return value.forEach(visit);
    if (!isObject(value)) return;
    if (isObject(value['set'])) for (const name of Object.keys(value['set'])) written.add(name);
    Object.values(value).forEach(visit);
  };
  visit([compiled.flow.do, compiled.flow.catch ?? [], compiled.flow.finally ?? []]);
  const vars: JsonObject = {};
  for (const [name, value] of Object.entries(compiled.flow.vars ?? {})) {
    if (written.has(name)) continue;
    const rendered = known(() => renderTemplate(value, outer));
    if (rendered !== AT_RUN_TIME || value === AT_RUN_TIME) vars[name] = rendered;
  }
  return { ...outer, vars: toScopeValue(vars) };
}
