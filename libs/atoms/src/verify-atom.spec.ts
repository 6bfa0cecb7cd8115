import { problem, type AtomDocument, type Json } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { verifyAtom, type Trial, type TrialOutcome, type VerifyTools } from './verify-atom.js';

/** What a worker may do wrong. */
interface Faults {
  nobody?: boolean;
  unregistered?: boolean;
  wrongOutput?: boolean;
  forgetsKeys?: boolean;
  ignoresFence?: boolean;
  fenceAsOther?: boolean;
  actsInDryRun?: boolean;
  deaf?: boolean;
  hearsLate?: boolean;
  countFails?: boolean;
}

/** A counter as a worker would serve it, with its faults. */
function worker(faults: Faults): VerifyTools {
  const done = new Map<string, Json>();
  let effects = 0;
  let newest = 0;
  let fence = 10;
  let key = 0;
  const fail = (
    code: 'stale-fence' | 'cancelled' | 'runtime' | 'conflict',
    detail: string,
    tookMs = 1,
  ): TrialOutcome => ({
    ok: false,
    problem: problem(code, detail),
    tookMs,
  });
  const act = ({ call, cancelAfterMs }: Trial): TrialOutcome => {
    const { context } = call;
    if (faults.unregistered) return fail('runtime', 'activity demo.add is not registered');
    if (cancelAfterMs !== undefined)
      return faults.deaf
        ? { ok: true, output: { n: 0 }, tookMs: 30_000 }
        : fail('cancelled', '', faults.hearsLate ? 9_000 : 500);
    if (context.dryRun && !faults.actsInDryRun) return { ok: true, output: {}, tookMs: 1 };
    if (!faults.forgetsKeys && done.has(context.key)) return { ok: true, output: done.get(context.key)!, tookMs: 1 };
    if (context.fence !== undefined && !faults.ignoresFence) {
      if (Number(context.fence) < newest) return fail(faults.fenceAsOther ? 'conflict' : 'stale-fence', 'old');
      newest = Number(context.fence);
    }
    effects += 1;
    const output: Json = faults.wrongOutput ? { wrong: true } : { n: effects };
    done.set(context.key, output);
    return { ok: true, output, tookMs: 1 };
  };
  return {
    attempt: (trial) => {
      if (trial.activity !== 'demo.count') return Promise.resolve(act(trial));
      return Promise.resolve(
        faults.countFails ? fail('runtime', 'gone') : { ok: true, output: { effects }, tookMs: 1 },
      );
    },
    pollers: () => Promise.resolve(faults.nobody ? 0 : 1),
    resolve: () =>
      Promise.resolve({
        ...manifest,
        name: 'demo.count',
        effect: 'read',
        worker: { queue: 'q', activity: 'demo.count' },
      }),
    fence: () => Promise.resolve(String((fence += 1))),
    newKey: () => `k${(key += 1)}`,
    config: {},
  };
}

const manifest: AtomDocument = {
  dsl: 'opsloop/v1',
  kind: 'atom',
  name: 'demo.add',
  version: '1.0.0',
  effect: 'mutate',
  idempotency: 'native',
  output: { schema: { type: 'object', required: ['n'] } },
  worker: { queue: 'q', activity: 'demo.add' },
  verify: { input: {}, count: { call: 'demo.count@1', value: '${result.effects}' }, slow: {} },
};

const verdicts = async (atom: AtomDocument, faults: Faults): Promise<string[]> =>
  (await verifyAtom(atom, worker(faults))).map(({ check, status }) => `${check} ${status}`);

const ALL = ['worker', 'answers', 'same-key', 'stale-fence', 'dry-run', 'cancel'];

describe('verify', () => {
  it('passes an atom that does as flows expect', async () => {
    expect(await verdicts(manifest, {})).toEqual(ALL.map((check) => `${check} passed`));
  });

  it.each<[keyof Faults, string[]]>([
    ['nobody', ['worker']],
    ['unregistered', ['answers']],
    ['wrongOutput', ['answers']],
    ['forgetsKeys', ['same-key']],
    ['ignoresFence', ['stale-fence']],
    ['fenceAsOther', ['stale-fence']],
    ['actsInDryRun', ['dry-run']],
    ['deaf', ['cancel']],
    ['hearsLate', ['cancel']],
    ['countFails', ['same-key', 'stale-fence', 'dry-run']],
  ])('finds what is wrong with one that is %s', async (fault, wrong) => {
    const checks = await verifyAtom(manifest, worker({ [fault]: true }));
    expect(checks.filter((c) => c.status === 'failed').map((c) => c.check)).toEqual(wrong);
    for (const check of checks) expect(check.status === 'passed' || check.remedy).toBeTruthy();
  });

  it('tries nothing of a change whose manifest names no safe input', async () => {
    const { verify: _none, ...bare } = manifest;
    expect(await verdicts({ ...bare, examples: [{ input: {} }] }, {})).toEqual(['worker passed', 'answers skipped']);
  });

  it('says what it cannot know without a way to count', async () => {
    const found = await verdicts({ ...manifest, verify: { input: {} } }, { actsInDryRun: true });
    expect(found).toEqual([
      'worker passed',
      'answers passed',
      'same-key skipped',
      'stale-fence passed',
      'dry-run skipped',
      'cancel skipped',
    ]);
    expect(await verdicts({ ...manifest, verify: { input: {} } }, { forgetsKeys: true })).toContain('same-key failed');
  });

  it('takes the first example of a read, and asks nothing more of it', async () => {
    const { verify: _none, ...bare } = manifest;
    expect(await verdicts({ ...bare, effect: 'read', examples: [{ input: {} }] }, {})).toEqual([
      'worker passed',
      'answers passed',
      'same-key skipped',
      'stale-fence skipped',
      'dry-run skipped',
      'cancel skipped',
    ]);
  });
});
