import { version } from 'uuid';
import { describe, expect, it } from 'vitest';
import { digestOf, sha256Hex } from './digest.js';
import { decisionId, emittedEventId, isUuid, messageId, newId, runIdOfKey } from './ids.js';
import { childWorkflowId, itemSegment, stepKey, workflowIdOf } from './step-key.js';

describe('ids', () => {
  it('of one decision are the same on every redelivery, and differ with each part', () => {
    const id = decisionId('default', 'fleet/down', '1.0.0', 'e1', 'default');
    expect(decisionId('default', 'fleet/down', '1.0.0', 'e1', 'default')).toBe(id);
    // Fixed for ever: a new value would start all decided work once more.
    expect(id).toBe('92b738f6-4c9d-5b90-87a4-f2ece458e606');
    for (const other of [
      decisionId('t2', 'fleet/down', '1.0.0', 'e1', 'default'),
      decisionId('default', 'fleet/down', '1.0.1', 'e1', 'default'),
      decisionId('default', 'fleet/down', '1.0.0', 'e2', 'default'),
      decisionId('default', 'fleet/down', '1.0.0', 'e1', 'database'),
    ]) {
      expect(other).not.toBe(id);
    }
  });

  it('keep their parts apart', () => {
    expect(messageId('a', 'bc')).not.toBe(messageId('ab', 'c'));
    expect(runIdOfKey('t', 'p', 'r', 'k')).not.toBe(runIdOfKey('t', 'pr', '', 'k'));
    expect(emittedEventId('ops-1', 'a')).not.toBe(emittedEventId('ops-1', 'b'));
  });

  it('grow with time', () => {
    const ids = Array.from({ length: 5_000 }, () => newId());
    expect(ids.every((id) => isUuid(id) && version(id) === 7)).toBe(true);
    expect([...new Set(ids)].sort()).toEqual(ids);
    const ms = Number.parseInt(ids.at(-1)!.replaceAll('-', '').slice(0, 12), 16);
    expect(Math.abs(Date.now() - ms)).toBeLessThan(60_000);
  });
});

describe('step keys', () => {
  it('are fixed by run, path and epoch', () => {
    expect(stepKey('r', 'a/b', 0)).toMatch(/^ops-[0-9a-f]{32}$/);
    expect(stepKey('r', 'a/b', 0)).toBe(`ops-${sha256Hex('r\na/b\n0').slice(0, 32)}`);
    expect(new Set([stepKey('r', 'a', 0), stepKey('r', 'a', 1), stepKey('r', 'b', 0), stepKey('s', 'a', 0)]).size).toBe(
      4,
    );
  });

  it('name workflows without slashes', () => {
    expect(workflowIdOf('fleet/restart', '42')).toBe('fleet.restart.42');
    expect(childWorkflowId('fleet.restart.42', 'a[host%2F1]/b')).toMatch(/^fleet\.restart\.42\.[0-9a-f]{16}$/);
  });

  it('percent-encode item keys and hash long ones', () => {
    expect(itemSegment('host/a b')).toBe('host%2Fa%20b');
    expect(itemSegment('x'.repeat(129))).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe('digests', () => {
  it('do not depend on the order of members', () => {
    expect(digestOf({ a: 1, b: [{ c: 2, d: 3 }] })).toBe(digestOf({ b: [{ d: 3, c: 2 }], a: 1 }));
    expect(digestOf({ a: 1 })).not.toBe(digestOf({ a: '1' }));
  });

  it('are sha256', () => {
    expect(sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});
