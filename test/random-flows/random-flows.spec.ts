/** Random flows against a second, simpler reading of the language; a mismatch names its seed and a small flow. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Sandbox, interpreterSandbox } from '@opsloop/flowtest';
import { type Treatment, compareSeed } from './compare.js';
import { Seeded, hash } from './seed.js';
import { shrink } from './shrink.js';
import { seedsFromEnv } from './random.config.js';

let sandbox: Sandbox;
// The bundle is made once per version of the interpreter.
beforeAll(async () => {
  sandbox = await interpreterSandbox(join(tmpdir(), 'opsloop-random-flows'));
});

const { from, count } = seedsFromEnv(60);

function treated(name: string, treatment: (random: Seeded) => Treatment, leaves = 0): void {
  it(name, () => {
    let compared = 0;
    let continued = 0;
    for (let seed = from; seed < from + count; seed += 1) {
      const how = treatment(new Seeded(hash(`${seed} ${name}`)));
      const verdict = compareSeed(sandbox, seed, how);
      if (verdict.kind === 'different') {
        const small = shrink(sandbox, verdict.flow, seed, how);
        expect.fail(
          `seed ${seed} ${JSON.stringify(how)}\n${small.differences.join('\n')}\n${JSON.stringify(small.flow, null, 1)}`,
        );
      }
      if (verdict.kind === 'same') compared += 1;
      continued += verdict.continued;
      if (how.continueAsNewAt === undefined) expect(verdict.continued).toBe(0);
    }
    // The others have two things at the same moment, of which either may come first.
    expect(compared).toBeGreaterThan(count / 2);
    expect(continued).toBeGreaterThanOrEqual(leaves);
  });
}

describe('random flows end as on paper', () => {
  treated('left alone', () => ({}));
  treated('when the worker forgets them at random moments', () => ({ replays: 0.2 }));
  treated(
    'when they go on in new Temporal runs all the time',
    (random) => ({ continueAsNewAt: random.int(12, 120) }),
    // Short flows end before; the long ones leave several times.
    Math.floor(count / 2),
  );
  treated('when they are cancelled at a random moment', (random) => ({ cancelAt: random.int(1, 30_000) }));
});
