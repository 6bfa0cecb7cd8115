/** Unix seconds, or milliseconds, near enough to now. */
export function isWithin(text: string, now: Date, toleranceMs: number): boolean {
  if (!/^\d{9,13}$/.test(text)) return false;
  const number = Number(text);
  // Eleven digits of seconds are the year 5138, eleven of milliseconds 1973.
  return Math.abs(now.getTime() - (number < 1e11 ? number * 1_000 : number)) <= toleranceMs;
}
