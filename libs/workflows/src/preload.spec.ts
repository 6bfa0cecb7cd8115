import { afterAll, beforeAll, expect, it } from 'vitest';

const { Error: before } = globalThis;
const limit = before.stackTraceLimit;
beforeAll(async () => {
  await import('./preload.js');
});
afterAll(() => {
  globalThis.Error = before;
  before.stackTraceLimit = limit;
  delete (Promise as { constructor?: unknown }).constructor;
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

it('what the SDK compiles for every promise is made once, and everything else is compiled as before', () => {
  const made = (Promise.resolve().constructor as unknown as { constructor: FunctionConstructor }).constructor;
  expect(made).not.toBe(Function);
  const code = 'return globalThis.__TEMPORAL_ACTIVATOR__';
  expect(made(code)).toBe(made(code));
  expect(made(code)()).toBeUndefined();
  (globalThis as Record<string, unknown>)['__TEMPORAL_ACTIVATOR__'] = 'of this run';
  expect(made(code)()).toBe('of this run');
  delete (globalThis as Record<string, unknown>)['__TEMPORAL_ACTIVATOR__'];
  expect(made('return globalThis.Error')()).toBe(globalThis.Error);
  expect(made('a', 'b', 'return a + b')(1, 2)).toBe(3);
  expect(made('return 7')()).toBe(7);
  expect(made('return 7')).toBeInstanceOf(made);
  expect(made('toString')()).toBeUndefined();
});
