import type { Json, JsonObject } from '@opsloop/contracts';

/** Deepest object of an input whose members have defaults; schemas of people nest two or three levels. */
const DEPTH_MAX = 16;

/** The input of a sub-flow with the defaults of its schema filled in, as control does for a run. */
export function withDefaults(schema: JsonObject | undefined, input: Json, depth = 0): Json {
  const properties = schema?.['properties'];
  if (!isObject(properties) || !isObject(input) || depth > DEPTH_MAX) return input;
  const whole: JsonObject = { ...input };
  for (const [name, member] of Object.entries(properties)) {
    if (!isObject(member)) continue;
    if (Object.hasOwn(whole, name)) whole[name] = withDefaults(member, whole[name]!, depth + 1);
    else if (Object.hasOwn(member, 'default')) whole[name] = member['default']!;
  }
  return whole;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
