import type { Json } from '@opsloop/contracts';
import { fail } from './errors.js';
import type { Where } from './failures.js';

/**
 * Largest value that a step hands on, in characters. Temporal refuses a payload of 2 MB by failing the workflow task
 * for ever; 512 K characters are at most 1.5 MB.
 */
export const VALUE_CHARS_MAX = 512 * 1024;

/** Throws `payload-too-large` for a value that no payload can carry. */
export function checkSize(value: Json, what: string, where: Where): void {
  if (isLarger(value, VALUE_CHARS_MAX)) {
    throw fail('payload-too-large', `${what} is larger than ${VALUE_CHARS_MAX / 1024} KB`, where);
  }
}

/** Whether the JSON text of the value would exceed `max`, estimated from below; stops as soon as it does. */
export function isLarger(value: Json, max: number): boolean {
  const stack: Json[] = [value];
  let size = 0;
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (typeof at === 'string') size += at.length + 2;
    else if (at === null || typeof at !== 'object') size += 2;
    else if (Array.isArray(at)) {
      size += at.length + 2;
      if (size <= max) for (const item of at) stack.push(item);
    } else {
      for (const key of Object.keys(at)) {
        size += key.length + 4;
        const member = at[key];
        if (member !== undefined) stack.push(member);
      }
    }
    if (size > max) return true;
  }
  return false;
}
