import { afterAll, beforeAll, expect, it } from 'vitest';

const { Error: before } = globalThis;
const limit = before.stackTraceLimit;
beforeAll(async () => {
  await import('./preload.js');
});
afterAll(() => {
  globalThis.Error = before;
  before.stackTraceLimit = limit;
});

it('an error without a message, as the SDK makes one for every promise, costs no stack trace', () => {
  expect(globalThis.Error).not.toBe(before);
  expect(new Error().stack).toBeUndefined();
});

it('every other error is what it was', () => {
  class Own extends Error {}
  const cause = new TypeError('inner');
  const made = new Error('outer', { cause });
  expect(made).toMatchObject({ message: 'outer', cause });
  for (const error of [made, new Own(), new Own('own'), cause, new RangeError()]) {
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(before);
    expect(error.stack).toContain('preload.spec');
    expect(error.stack!.split('\n').filter((line) => line.includes(' at '))).toHaveLength(2);
  }
  expect(made.constructor).toBe(before);
  expect(new Own()).toBeInstanceOf(Own);
  expect(Error('called')).toMatchObject({ message: 'called' });
});
