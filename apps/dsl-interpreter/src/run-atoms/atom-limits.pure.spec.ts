import { expect, it } from 'vitest';
import { callDeadlineMs, heartbeatEveryMs } from './atom-limits.pure.js';

it.each([
  [30_000, 29_750],
  [1_000, 750],
  [400, 300],
  [1, 1],
])('a call with startToClose %i ms ends after %i', (startToClose, deadline) => {
  expect(callDeadlineMs(startToClose)).toBe(deadline);
});

it.each([
  [undefined, 3_000],
  [0, 3_000],
  [30_000, 3_000],
  [3_000, 1_000],
  [90, 100],
])('a heartbeat timeout of %s ms is met every %i', (timeout, every) => {
  expect(heartbeatEveryMs(timeout)).toBe(every);
});
