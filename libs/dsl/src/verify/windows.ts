/** Windows of time in documents: what `@opsloop/rules/windows` says of them, as findings. */
import type { JsonObject } from '@opsloop/contracts';
import { pointerTo, type Finding } from '@opsloop/rules';
import { windowProblems, type WindowSpec } from '@opsloop/rules/windows';
import { found } from './model.js';

const CODES: Readonly<Record<string, string>> = {
  zone: 'OPS1061',
  rrule: 'OPS1062',
  start: 'OPS1609',
  from: 'OPS1609',
  until: 'OPS1609',
  for: 'OPS1009',
};

export function windowFindings(during: JsonObject, pointer: string): Finding[] {
  return windowProblems(during as WindowSpec).map(({ member, message }) =>
    found(CODES[member] ?? 'OPS1009', member === '' ? pointer : pointerTo(pointer, member), message),
  );
}
