/**
 * Ids that need a UUID library. A module of its own (`@opsloop/contracts/ids`), since the workflow bundle must not
 * pull in `node:crypto`; everything else of this package is safe inside the sandbox.
 */
import { randomFillSync } from 'node:crypto';
import { v5, validate } from 'uuid';

/** Namespace of every name-based id of this project: uuid5(DNS, "opsloop.dev"). Fixed for ever: ids depend on it. */
const NAMESPACE = v5('opsloop.dev', v5.DNS);

/** Separator that can occur in no part, so that ("a","bc") and ("ab","c") differ. */
function nameId(...parts: string[]): string {
  return v5(parts.join('\u0000'), NAMESPACE);
}

/** Random bytes are drawn for 512 ids at once: a call into the kernel for each is most of what an id costs. */
const BYTES_PER_ID = 10;
const POOL_BYTES = 512 * BYTES_PER_ID;
const pool = Buffer.allocUnsafe(POOL_BYTES);
let drawn = POOL_BYTES;
let lastMs = -Infinity;
let sequence = 0;

/** Where the next random bytes stand: four for a sequence, six for the id itself. */
function draw(): number {
  if (drawn === POOL_BYTES) {
    randomFillSync(pool);
    drawn = 0;
  }
  drawn += BYTES_PER_ID;
  return drawn - BYTES_PER_ID;
}

/**
 * A new time-ordered id: UUIDv7 with a sequence of 32 bits below the millisecond, so that the ids of one process are in
 * the order in which they were made, also when its clock goes back.
 */
export function newId(): string {
  const at = draw();
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    // Its highest bit is free, so that two thousand million ids of one millisecond have room.
    sequence = pool.readUInt32BE(at) >>> 1;
  } else {
    sequence = (sequence + 1) >>> 0;
    if (sequence === 0) lastMs += 1;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const high = (0x7000 | (sequence >>> 20)).toString(16);
  const middle = (0x8000 | ((sequence >>> 6) & 0x3fff)).toString(16);
  const low = (((sequence & 0x3f) << 2) | (pool[at + 4]! & 3)).toString(16).padStart(2, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-${high}-${middle}-${low}${pool.toString('hex', at + 5, at + BYTES_PER_ID)}`;
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
