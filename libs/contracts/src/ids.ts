/**
 * Ids that need a UUID library. A module of its own (`@opsloop/contracts/ids`), since the workflow bundle must not
 * pull in `node:crypto`; everything else of this package is safe inside the sandbox.
 */
import { v5, v7, validate } from 'uuid';

/** Namespace of every name-based id of this project: uuid5(DNS, "opsloop.dev"). Fixed for ever: ids depend on it. */
const NAMESPACE = v5('opsloop.dev', v5.DNS);

/** Separator that can occur in no part, so that ("a","bc") and ("ab","c") differ. */
function nameId(...parts: string[]): string {
  return v5(parts.join('\u0000'), NAMESPACE);
}

/** Random bytes are drawn for 256 ids at once: drawn for each, they were most of the 6 µs that an id took. */
const ID_BYTES = 16;
const pool = new Uint8Array(256 * ID_BYTES);
let drawn = pool.length;
let last = { msecs: -Infinity, seq: 0 };

/** A new time-ordered id; those of one process are in the order in which they were made, also when its clock goes back. */
export function newId(): string {
  if (drawn === pool.length) {
    crypto.getRandomValues(pool);
    drawn = 0;
  }
  const random = pool.subarray(drawn, (drawn += ID_BYTES));
  const now = Date.now();
  // Each millisecond begins at a random place of the lower half, so that two thousand million ids of it have room.
  if (now > last.msecs)
    last = { msecs: now, seq: (random[6]! & 0x7f) * 0x1000000 + (random[7]! << 16) + (random[8]! << 8) + random[9]! };
  else last = { msecs: last.msecs, seq: last.seq + 1 };
  return v7({ random, ...last });
}

export const isUuid = (text: string): boolean => validate(text);

/** One decision = one start: the same rule version, cause and branch give the same id on every redelivery. */
export const decisionId = (tenant: string, rule: string, version: string, cause: string, branch: string): string =>
  nameId('decision', tenant, rule, version, cause, branch);

/** Run id of an API start with an Idempotency-Key. */
export const runIdOfKey = (tenant: string, principal: string, route: string, key: string): string =>
  nameId('api', tenant, principal, route, key);

/** A schedule starts once per time at which it fires, whoever fires it. */
export const firingId = (tenant: string, schedule: string, at: string): string =>
  nameId('schedule', tenant, schedule, at);

/** CloudEvents id of an event that a step emits: the same step and kind never emit twice. */
export const emittedEventId = (stepKey: string, kind: string): string => nameId('emit', stepKey, kind);

/** Id of a bus message that must be the same on every redelivery of its cause. */
export const messageId = (...parts: string[]): string => nameId('message', ...parts);

/** An approval is asked once per run and place. */
export const approvalId = (tenant: string, run: string, path: string): string => nameId('approval', tenant, run, path);
