import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../program.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-cli-test-'));
  write('flow.yaml', FLOW);
});
afterEach(() => rmSync(dir, { recursive: true }));

const FLOW = `
dsl: opsloop/v1
kind: flow
name: ops/ask
version: 1.0.0
title: Ask
timeout: 30h
do:
  - id: look
    call: http.request@1
    with: { url: "http://example.test/" }
  - id: rest
    if: steps.look.output.status == 503
    wait: { for: 24h }
output: "\${steps.look.output.status}"
---
dsl: opsloop/v1
kind: flowtest
name: it rests when the target is overloaded
flow: ops/ask@1
mocks: { look: { result: { status: 503, headers: {}, body: null } } }
expect: { status: succeeded, output: 503, path: [look, rest] }
`;

function write(name: string, text: string): void {
  writeFileSync(join(dir, name), text);
}

async function cli(
  argv: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const code = await runCli(argv, {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    isTTY: false,
    env,
    cwd: dir,
    stdin: async () => '',
  });
  return { code, out, err };
}

describe('opsloop test', () => {
  it('runs the tests below a folder without a server', async () => {
    const { code, out } = await cli(['test']);
    expect(out).toContain(
      'ok   it rests when the target is overloaded flow.yaml, ops/ask@1\n1 test passed, 2 of 3 branches',
    );
    expect(code).toBe(0);
  });

  it('fails with what differs, as text, as JSON and as JUnit', async () => {
    write('flow.yaml', FLOW.replace('output: 503', 'output: 200'));
    const text = await cli(['test', 'flow.yaml', '--junit', 'r.xml']);
    expect(text.code).toBe(1);
    expect(text.out).toContain('output: the output differs\n       (value): expected 200, got 503');
    expect(readFileSync(join(dir, 'r.xml'), 'utf8')).toContain('tests="1" failures="1"');
    const json = JSON.parse((await cli(['test', '.', '--json'])).out) as { failed: number; tests: { flow: string }[] };
    expect(json).toMatchObject({ passed: 0, failed: 1, tests: [{ flow: 'ops/ask@1', passed: false }] });
  });

  it('wants enough branches taken, and names the others', async () => {
    const { code, out } = await cli(['test', '--coverage', '--min-coverage', '90']);
    expect(code).toBe(1);
    expect(out).toContain('not taken: rest: skipped');
    expect((await cli(['test', '--min-coverage', '60'])).code).toBe(0);
  });

  it.each([
    ['no tests', ['test', '--only', 'nothing like this'], 'no tests in .'],
    ['a percentage that is none', ['test', '--min-coverage', 'half'], '--min-coverage is a percentage from 0 to 100'],
    ['a file that is not there', ['test', 'gone.json'], 'gone.json does not exist'],
  ])('refuses %s', async (_what, argv, message) => {
    const { code, err } = await cli(argv);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });

  it('says what is wrong with a test before it runs it', async () => {
    write('flow.yaml', FLOW.replace('mocks: { look:', 'mocks: { lok:').replace('status: succeeded', 'status: fine'));
    const { code, out } = await cli(['test']);
    expect(code).toBe(1);
    expect(out).toContain('the test itself is wrong');
    expect(out).toContain('/expect/status');
  });

  it('records a finished run as a test', async () => {
    const at = '2026-03-04T05:06:07.000Z';
    const run = {
      id: '1',
      flow: 'ops/ask',
      version: '1.0.0',
      status: 'succeeded',
      input: {},
      output: 200,
      tier: 'P3',
      startedAt: at,
      initiator: { kind: 'user', name: 'anna' },
      steps: [
        {
          path: 'look',
          id: 'look',
          verb: 'call',
          atom: 'http.request@1.0.0',
          status: 'succeeded',
          attempts: 1,
          startedAt: at,
          endedAt: at,
          output: { status: 200, headers: {}, body: null },
        },
      ],
    };
    const body = { do: [{ id: 'look', call: 'http.request@1' }] };
    const server = createServer((req, res) => {
      const answer = req.url!.endsWith('/timeline') ? { items: [] } : req.url!.includes('/flows/') ? { body } : run;
      res.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const env = { OPSLOOP_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, OPSLOOP_TOKEN: 't' };
    try {
      const { code } = await cli(['test', 'record', '1', '-o', 'again.flowtest.json', '--name', 'as it went'], env);
      expect(code).toBe(0);
    } finally {
      server.close();
    }
    const recorded = await cli(['test', 'again.flowtest.json']);
    expect(recorded.out).toContain('ok   as it went');
    expect(recorded.code).toBe(0);
  });
});
