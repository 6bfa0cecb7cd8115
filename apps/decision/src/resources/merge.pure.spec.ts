import type { JsonObject } from '@opsloop/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Resource } from '../store/model.js';
import { isTransition, mergeState, unknownResource } from './merge.pure.js';

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const merge = (...reports: [JsonObject, number][]): Resource =>
  reports.reduce(
    (resource, [report, second]) => mergeState(resource, report, at(second)).resource,
    unknownResource('host/a'),
  );

describe('merging state', () => {
  it('patches objects, removes what is null, replaces lists', () => {
    const resource = merge(
      [{ disk: { a: 1, b: 2 }, list: [1, 2], gone: true }, 1],
      [{ disk: { b: null, c: 3 }, list: [3], gone: null }, 2],
    );
    expect(resource.state).toEqual({ disk: { a: 1, c: 3 }, list: [3] });
  });

  it('keeps the time of the last change and forgets nothing that it has seen', () => {
    const resource = merge([{ state: 'up' }, 1], [{ state: 'up' }, 5]);
    expect(resource).toMatchObject({ stateAt: { state: at(1) }, seenAt: { state: at(5) }, observedAt: at(5) });
    // Seen up at 5: a down of 3 is from before, though the last *change* is older.
    expect(mergeState(resource, { state: 'down' }, at(3))).toMatchObject({
      late: true,
      changes: {},
      resource: { state: { state: 'up' } },
    });
  });

  it('does not bring back what was removed later', () => {
    expect(merge([{ alarm: 'x' }, 1], [{ alarm: null }, 5], [{ alarm: 'y' }, 3]).state).toEqual({});
  });

  it('takes the later commit of equal times', () => {
    expect(merge([{ state: 'up' }, 1], [{ state: 'down' }, 1]).state).toEqual({ state: 'down' });
  });

  it('ends in the same state in whatever order reports arrive', () => {
    const report = fc.record({ key: fc.constantFrom('a', 'b'), value: fc.constantFrom('x', 'y', null) });
    fc.assert(
      fc.property(
        fc.array(report, { maxLength: 12 }).chain((list) =>
          fc.tuple(
            fc.constant(list),
            fc.shuffledSubarray(
              list.map((_, n) => n),
              { minLength: list.length },
            ),
          ),
        ),
        ([list, order]) => {
          const inOrder = merge(...list.map(({ key, value }, n): [JsonObject, number] => [{ [key]: value }, n]));
          const mixed = merge(...order.map((n): [JsonObject, number] => [{ [list[n]!.key]: list[n]!.value }, n]));
          expect(mixed.state).toEqual(inOrder.state);
          expect(mixed.observedAt).toBe(inOrder.observedAt);
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });

  it.each<[JsonObject, boolean]>([
    [{ latencyMs: 3 }, false],
    [{ state: 'up', latencyMs: 3 }, true],
    [{ alarm: null }, true],
    [{}, false],
  ])('%j is a transition: %s', (changes, expected) => expect(isTransition(changes)).toBe(expected));
});
