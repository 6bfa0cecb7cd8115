/** Median and spread of a list of milliseconds. */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return { n: sorted.length, min: sorted[0], p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted[sorted.length - 1] };
}

export const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

/** Runs both in turn, so that a noisy minute hits both alike. */
export async function alternate(rounds, first, second) {
  const a = [];
  const b = [];
  for (let i = 0; i < rounds; i++) {
    a.push(await first(i));
    b.push(await second(i));
  }
  return [a, b];
}
