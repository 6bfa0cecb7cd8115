import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Median, tail and spread of a list of milliseconds. */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return {
    n: sorted.length,
    min: sorted[0],
    p10: at(0.1),
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    max: sorted[sorted.length - 1],
  };
}

export const ms = (value) => (Math.abs(value) < 100 ? value.toFixed(1) : value.toFixed(0));

/** `p50 12.3, p99 20.1 (11.0–20.1) ms` */
export const spread = (s) => `p50 ${ms(s.p50)}, p99 ${ms(s.p99)} (${ms(s.min)}–${ms(s.max)}) ms`;

/** One line: what was measured, its name, its figure. */
export const say = (bench, what, figure) => process.stdout.write(`${bench.padEnd(6)} ${what.padEnd(42)} ${figure}\n`);

/** Runs all in turn, each round in the other direction, so that a noisy minute hits all alike. */
export async function alternate(rounds, ...works) {
  const results = works.map(() => []);
  for (let i = 0; i < rounds; i++) {
    const order = i % 2 === 0 ? works : works.toReversed();
    for (const work of order) results[works.indexOf(work)].push(await work(i));
  }
  return results;
}

/** Milliseconds since the epoch with fractions, comparable with the clocks of the servers on this machine. */
export const nowMs = () => performance.timeOrigin + performance.now();

/** CPU seconds used so far by a process (Linux; undefined elsewhere). */
export function cpuSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}

/** Where a program is, as the shell would find it. */
export function onPath(program) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));
}
