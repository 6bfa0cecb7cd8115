import { describe, expect, it } from 'vitest';
import { namesPath } from './paths.pure.js';

describe('a pattern of a test names a path', () => {
  it.each([
    ['drain', 'drain', 'exact'],
    ['roll[a]/drain', 'roll[a]/drain', 'exact'],
    ['roll[host/a]/drain', 'roll[host%2Fa]/drain', 'exact'],
    ['roll[batch:1]/slo', 'roll[batch:1]/slo', 'exact'],
    ['roll[a]/drain', 'roll[a]/drain~2', 'pattern'],
    ['roll[*]/drain', 'roll[a]/drain', 'pattern'],
    ['roll[a]/healthy/probe', 'roll[a]/healthy[3]/probe', 'pattern'],
    ['roll[a]/healthy[2]/probe', 'roll[a]/healthy[2]/probe', 'exact'],
    ['roll/healthy/probe', 'roll[a]/healthy[3]/probe', 'step'],
    ['probe', 'roll[a]/healthy[3]/probe', 'id'],
    ['roll[b]/healthy/probe', 'roll[a]/healthy[3]/probe', undefined],
    ['roll[a]/healthy[2]/probe', 'roll[a]/healthy[3]/probe', undefined],
    ['roll[a]/healthy', 'roll[a]/healthy[3]/probe', undefined],
    ['roll[a]/heal', 'roll[a]/healthy[3]', undefined],
  ])('%s: %s is %s', (pattern, path, precision) => {
    expect(namesPath(pattern, path)).toBe(precision);
  });
});
