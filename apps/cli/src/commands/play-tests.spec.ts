import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '../program.js';

const EXAMPLE = fileURLToPath(new URL('../../../../examples/rules/service-down', import.meta.url));
/** A PostgreSQL is made for the scenario, and half an hour of it is played. */
const SCENARIO_MS = 120_000;

let folder: string;
let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'opsloop-play-scratch-'));
  chmodSync(scratch, 0o711);
  folder = mkdtempSync(join(tmpdir(), 'opsloop-play-spec-'));
  cpSync(EXAMPLE, folder, { recursive: true });
});
afterAll(() => {
  for (const one of [folder, scratch]) rmSync(one, { recursive: true, force: true });
});

interface Answer {
  passed: number;
  failed: number;
  tests: { test: string; passed: boolean; mismatches: { of: string; message: string; lines: string[] }[] }[];
}

async function run(...args: string[]): Promise<{ code: number; answer: Answer }> {
  const out: string[] = [];
  const code = await runCli(['--json', ...args], {
    out: (text) => void out.push(text),
    err: () => undefined,
    isTTY: false,
    // A folder of its own for what the play makes, which as root another account must reach.
    env: { ...process.env, TMPDIR: scratch },
    cwd: folder,
    stdin: () => Promise.resolve(''),
  });
  return { code, answer: JSON.parse(out.join('')) as Answer };
}

function changed(file: string, to: string, change: (text: string) => string): void {
  writeFileSync(join(folder, to), change(readFileSync(join(folder, file), 'utf8')));
}

test(
  'the example passes: a rule test, and a scenario with two restarts, a person and a replacement',
  async () => {
    const { code, answer } = await run('test', '.');
    expect(answer.tests.flatMap(({ mismatches }) => mismatches)).toEqual([]);
    expect({ code, passed: answer.passed }).toEqual({ code: 0, passed: 2 });
    // Neither the database of the play nor its data stay behind.
    expect(readdirSync(scratch).filter((name) => name.startsWith('opsloop-play-'))).toEqual([]);
  },
  SCENARIO_MS,
);

test('a rule that waits longer than its test says is shown by what differs; a test that is wrong by its place', async () => {
  changed('noise.ruletest.json', 'slow.ruletest.json', (text) => text.replace('"at": 30', '"at": 20'));
  changed('noise.ruletest.json', 'wrong.ruletest.json', (text) => text.replace('"events"', '"event"'));
  changed('noise.ruletest.json', 'nobody.ruletest.json', (text) => text.replace('shop/service-down@1', 'shop/other@1'));
  const { code, answer } = await run('test', 'slow.ruletest.json', 'wrong.ruletest.json', 'nobody.ruletest.json');
  expect({ code, failed: answer.failed }).toEqual({ code: 1, failed: 3 });
  const said = answer.tests.flatMap(({ mismatches }) => mismatches.map(({ of, lines }) => `${of}: ${lines.join(' ')}`));
  expect(said).toEqual([
    expect.stringContaining('test: /event'),
    'test: ',
    expect.stringMatching(/^decisions: .*"at":20.*"at":30/),
  ]);
});
