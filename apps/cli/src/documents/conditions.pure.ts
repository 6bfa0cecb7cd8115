import type { Json } from '@opsloop/contracts';
import { printLogic, validateLogic } from '@opsloop/rules';

/** Slots that hold a condition, whatever the kind of document. */
const SLOTS: ReadonlySet<string> = new Set(['if', 'when', 'until', 'while', 'goal', 'expect', 'filter', 'state']);

/** A copy in which JSONLogic in condition slots is printed as text. */
export function withConditionsAsText(value: Json): Json {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(withConditionsAsText);
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      (SLOTS.has(key) ? asText(member) : undefined) ?? withConditionsAsText(member),
    ]),
  );
}

/** Text of an object with one member that is an operator; anything else is no condition. */
function asText(value: Json): string | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || Object.keys(value).length !== 1)
    return undefined;
  // `goal: { state: … }` of a rule has one member as well, but `state` is no operator.
  return validateLogic(value).some(({ severity }) => severity === 'error') ? undefined : printLogic(value);
}
