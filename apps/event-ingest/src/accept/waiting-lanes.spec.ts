import { describe, expect, it } from 'vitest';
import { WaitingLanes } from './waiting-lanes.pure.js';

interface One {
  tenant: string;
  lane: string;
  events: number;
  bytes: number;
  n: number;
}
const one = (lane: string, n: number, more: Partial<One> = {}): One => ({
  tenant: 't',
  lane,
  events: 1,
  bytes: 1,
  n,
  ...more,
});
const lanesOf = (events: number, bytes = 1_000_000) => new WaitingLanes<One>({ events, bytes });
const names = (group: One[]) => group.map(({ lane, n }) => `${lane}${n}`);

describe('requests that wait', () => {
  it('are taken in turns by sender, and in order of each sender', () => {
    const lanes = lanesOf(100);
    for (let n = 0; n < 6; n++) lanes.add(one('a', n));
    lanes.add(one('b', 0));
    lanes.add(one('c', 0));
    expect(names(lanes.takeGroup(4))).toEqual(['a0', 'b0', 'c0', 'a1']);
    lanes.add(one('b', 1));
    expect(names(lanes.takeGroup(3))).toEqual(['a2', 'b1', 'a3']);
    expect(names(lanes.takeGroup(64))).toEqual(['a4', 'a5']);
    expect([lanes.events, lanes.takeGroup(64)]).toEqual([0, []]);
  });

  it('a flood is told to come back, a quiet sender is not', () => {
    const lanes = lanesOf(10);
    const flooded = Array.from({ length: 20 }, (_, n) => lanes.add(one('flood', n)));
    expect(flooded.filter(Boolean)).toHaveLength(10);
    expect([lanes.add(one('quiet', 0)), lanes.add(one('flood', 99))]).toEqual([true, false]);
    expect(names(lanes.takeGroup(2))).toEqual(['flood0', 'quiet0']);
  });

  it('wait within twice the bound, however many senders there are', () => {
    const lanes = lanesOf(10);
    for (let n = 0; n < 10; n++) lanes.add(one('flood', n));
    for (let n = 0; n < 100; n++) lanes.add(one(`s${n}`, 0));
    expect(lanes.events).toBeLessThanOrEqual(20);
  });

  it('are bounded in bytes; one that is larger than the bound gets in when nothing waits', () => {
    const lanes = lanesOf(100, 50);
    expect(lanes.add(one('a', 0, { bytes: 80 }))).toBe(true);
    expect(lanes.add(one('a', 1, { bytes: 10 }))).toBe(false);
    expect(lanes.add(one('b', 0, { bytes: 10 }))).toBe(true);
    expect(names(lanes.takeGroup(64))).toEqual(['a0', 'b0']);
    expect(lanes.add(one('a', 1, { events: 500 }))).toBe(true);
    expect(names(lanes.takeGroup(64))).toEqual(['a1']);
  });

  it('one group is of one tenant', () => {
    const lanes = lanesOf(100);
    lanes.add(one('a', 0));
    lanes.add(one('a', 0, { tenant: 'other' }));
    lanes.add(one('b', 0));
    expect(lanes.takeGroup(64).map(({ tenant }) => tenant)).toEqual(['t', 't']);
    expect(lanes.takeGroup(64).map(({ tenant }) => tenant)).toEqual(['other']);
  });
});
