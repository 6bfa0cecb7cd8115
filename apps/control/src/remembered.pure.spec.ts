import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Remembered } from './remembered.js';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

/** Answers 1, 2, 3 …; or fails. */
class Question {
  count = 0;
  fails = false;
  readonly of = new Remembered(() => this.answer());

  private answer(): Promise<number> {
    this.count += 1;
    return this.fails ? Promise.reject(new Error('away')) : Promise.resolve(this.count);
  }
}
const asked = (): Question => new Question();

it('asks once a second, and not at all while nobody wants to know', async () => {
  const question = asked();
  expect([await question.of.get(), await question.of.get()]).toEqual([1, 1]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(question.count).toBe(1);
  expect(await question.of.get()).toBe(2);
});

it('asks ahead while it is used, so that a stream of starts never waits', async () => {
  const question = asked();
  await question.of.get();
  for (let i = 0; i < 50; i++) {
    await vi.advanceTimersByTimeAsync(100);
    const before = question.count;
    const answer = await question.of.get();
    expect(question.count).toBe(before);
    // Half a second old at most: what is used was asked for a moment ago.
    expect(answer).toBe(before);
  }
  expect(question.count).toBeGreaterThan(5);
});

it('counts what it knows until it is a second old, then says why there is nothing newer', async () => {
  const question = asked();
  await question.of.get();
  question.fails = true;
  await vi.advanceTimersByTimeAsync(500);
  expect(await question.of.get()).toBe(1);
  await vi.advanceTimersByTimeAsync(300);
  expect(question.count).toBe(2);
  expect(await question.of.get()).toBe(1);
  await vi.advanceTimersByTimeAsync(300);
  await expect(question.of.get()).rejects.toThrow('away');
  question.fails = false;
  expect(await question.of.get()).toBe(4);
});

it('forgets at once, also what is just being asked ahead', async () => {
  const question = asked();
  await question.of.get();
  await vi.advanceTimersByTimeAsync(500);
  await question.of.get();
  question.of.forget();
  expect(await question.of.get()).toBe(2);
  await vi.advanceTimersByTimeAsync(200);
  expect(question.count).toBe(2);
});
