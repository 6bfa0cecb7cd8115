import { expect, it } from 'vitest';
import { LookTurns } from './look-turns.pure.js';

const PAGES = ['b', 'd', 'f', 'h'];

/** One pass in which every page wants two looks; answers what each got. */
function pass(turns: LookTurns): number[] {
  turns.begin();
  return PAGES.map((last, i) => {
    const looks = Math.min(2, turns.grant(last));
    turns.took(looks, PAGES[i - 1]);
    return looks;
  });
}

it('begins where the last pass ran out, and from the start after one that did not', () => {
  const turns = new LookTurns(4);
  expect([pass(turns), pass(turns), pass(turns), pass(turns)]).toEqual([
    [2, 2, 0, 0],
    [0, 2, 2, 0],
    [0, 0, 2, 2],
    [0, 0, 0, 2],
  ]);
  expect(pass(turns)).toEqual([2, 2, 0, 0]);
});

it('gives every page its looks when there are enough', () => {
  const turns = new LookTurns(9);
  expect([pass(turns), pass(turns)]).toEqual([PAGES.map(() => 2), PAGES.map(() => 2)]);
});
