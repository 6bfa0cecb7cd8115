/** Merging observed state: JSON Merge Patch per key, where a late observation never overwrites a newer one. */
import type { Json, JsonObject } from '@opsloop/contracts';
import { pathKind } from '@opsloop/contracts';
import type { Resource } from '../store/model.js';

export interface Merged {
  resource: Resource;
  /** Keys whose value changed, with the new value (null = removed). */
  changes: JsonObject;
  /** True when a newer observation of at least one key is already known. */
  late: boolean;
}

/** A resource that nobody declared: all that is known is its path. */
export function unknownResource(path: string): Resource {
  return {
    path,
    kind: pathKind(path),
    labels: {},
    state: {},
    stateAt: {},
    seenAt: {},
    reportedBy: [],
    memberOf: [],
    dependsOn: [],
    declared: false,
  };
}

/**
 * Applies a report of `at` (ISO). Keys are compared by the time they were last *seen*, not last changed: a key that was
 * seen `up` twice must not be overwritten by a `down` from between. Equal times: the later commit wins.
 */
export function mergeState(resource: Resource, report: JsonObject, at: string): Merged {
  const time = Date.parse(at);
  const state: JsonObject = { ...resource.state };
  const stateAt = { ...resource.stateAt };
  const seenAt = { ...resource.seenAt };
  const changes: JsonObject = {};
  let late = false;
  for (const [key, value] of Object.entries(report)) {
    const seen = seenAt[key];
    if (seen !== undefined && Date.parse(seen) > time) {
      late = true;
      continue;
    }
    seenAt[key] = at;
    const next = mergePatch(state[key], value);
    if (equalJson(state[key] ?? null, next ?? null)) continue;
    if (next === undefined) delete state[key];
    else state[key] = next;
    stateAt[key] = at;
    changes[key] = next ?? null;
  }
  const observedAt =
    resource.observedAt !== undefined && Date.parse(resource.observedAt) > time ? resource.observedAt : at;
  return { resource: { ...resource, state, stateAt, seenAt, observedAt }, changes, late };
}

/** RFC 7396. `undefined` = the key is removed. */
export function mergePatch(target: Json | undefined, patch: Json): Json | undefined {
  if (patch === null) return undefined;
  if (typeof patch !== 'object' || Array.isArray(patch)) return patch;
  const base = target !== null && typeof target === 'object' && !Array.isArray(target) ? target : {};
  const out: JsonObject = { ...base };
  for (const [key, value] of Object.entries(patch)) {
    const next = mergePatch(out[key], value);
    if (next === undefined) delete out[key];
    else out[key] = next;
  }
  return out;
}

export function equalJson(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((k) => Object.hasOwn(b, k) && equalJson((a as JsonObject)[k]!, (b as JsonObject)[k]!));
}

/** A change of numbers alone (latency, temperature) is a measurement, not a transition: it is merged but not told as a story. */
export function isTransition(changes: JsonObject): boolean {
  return Object.values(changes).some((value) => typeof value !== 'number');
}
