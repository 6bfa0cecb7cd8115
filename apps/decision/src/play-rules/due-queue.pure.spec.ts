import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DueQueue } from './due-queue.pure.js';

describe('a queue of what is due', () => {
  it('gives what stands by time and then by turn, and forgets what does not', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(20), fc.boolean()), { maxLength: 40 }), fc.nat(20), (given, to) => {
        const noted = given.map(([at, stands], turn) => ({ at, stands, turn }));
        const queue = new DueQueue<(typeof noted)[number]>(({ item }) => item.stands);
        for (const one of noted) queue.note(one.at, one);
        const due = noted.filter((one) => one.stands && one.at <= to).sort((a, b) => a.at - b.at || a.turn - b.turn);
        for (let again = 0; again < 2; again += 1) {
          expect(queue.next(to)).toBe(due[0]?.at);
          expect(queue.upTo(to)).toEqual(due);
        }
        const first = due[0];
        if (first === undefined) return;
        first.stands = false;
        expect(queue.upTo(to)).toEqual(due.slice(1));
      }),
    );
  });
});
