/** Jobs, remembered answers, local steps, progress and logs, on the composed stack and through the command line: cases for a spec that has a stack. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { defineAtom, serveAtoms, type AtomService } from '@opsloop/atoms';
import type { AtomDocument, LogEntry } from '@opsloop/contracts';
import { eventually, type HttpTarget, startHttpTarget } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Stack } from './stack.spec-kit.js';

const run = promisify(execFile);
const CLI = fileURLToPath(new URL('../../apps/cli/bin/opsloop.mjs', import.meta.url));

let stack: Stack;
let target: HttpTarget;
/** Builds by id: how often each was asked for, and whether it was stopped. */
const builds = new Map<string, { polls: number; stopped: boolean }>();
let reads = 0;

const cli = async (...args: string[]): Promise<{ code: number; out: string }> => {
  const env = { ...process.env, OPSLOOP_URL: stack.process.url, OPSLOOP_TOKEN: stack.process.key, NO_COLOR: '1' };
  return run(process.execPath, [CLI, ...args], { env }).then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: { code: number; stdout: string }) => ({ code: error.code, out: error.stdout }),
  );
};
const started = async (name: string): Promise<string> => (await stack.start(name, { input: {} })).body.id as string;

export function atomCases(stackOf: () => Stack): void {
  describe('atoms', () => {
    beforeAll(async () => {
      stack = stackOf();
      target = await startHttpTarget(({ method, path, headers }) => {
        if (path === '/rack') return { body: { n: (reads += 1) } };
        if (method === 'POST') {
          const id = String(headers['idempotency-key']);
          builds.set(id, builds.get(id) ?? { polls: 0, stopped: false });
          return { status: 202, body: { id } };
        }
        const build = builds.get(path.split('/').at(-1)!)!;
        if (method === 'DELETE') build.stopped = true;
        build.polls += 1;
        const state = build.stopped ? 'stopped' : path.startsWith('/slow') || build.polls < 3 ? 'running' : 'done';
        return { body: { state, percent: 10 * build.polls, image: 'i-7' } };
      });
      const job = (place: string) => ({
        start: { method: 'POST', url: `${target.url}/${place}` },
        poll: {
          url: `${target.url}/${place}/\${job.id}`,
          every: '200ms',
          done: "response.body.state == 'done'",
          failed: "response.body.state == 'stopped'",
          progress: { percent: '${response.body.percent}', message: '${response.body.state}' },
          output: { image: '${response.body.image}' },
        },
        cancel: { method: 'DELETE', url: `${target.url}/${place}/\${job.id}` },
      });
      const mutate = { effect: 'mutate', idempotency: 'native' };
      const read = { effect: 'read', idempotency: 'native' };
      await stack.put(
        { kind: 'atom', name: 'vm.build', ...mutate, job: job('quick') },
        { kind: 'atom', name: 'vm.build-slowly', ...mutate, job: job('slow') },
        {
          kind: 'atom',
          name: 'rack.read',
          ...read,
          execution: 'local',
          cache: { ttl: '1m' },
          http: { method: 'GET', url: `${target.url}/rack`, output: '${response.body}' },
        },
        {
          kind: 'atom',
          name: 'say.things',
          ...mutate,
          idempotency: 'none',
          script: {
            interpreter: ['bash', '-eu'],
            source: 'for i in 1 2 3; do echo "line $i"; sleep 0.3; done; echo "no room left" >&2; exit 3',
          },
        },
        {
          kind: 'flow',
          name: 'e2e/build',
          do: [
            { id: 'one', call: 'rack.read@1' },
            { id: 'two', call: 'rack.read@1' },
            { id: 'build', call: 'vm.build@1' },
          ],
          output: ['${steps.one.output.n}', '${steps.two.output.n}', '${steps.build.output.image}'],
        },
        { kind: 'flow', name: 'e2e/build-slowly', do: [{ id: 'build', call: 'vm.build-slowly@1' }] },
        { kind: 'flow', name: 'e2e/talk', do: [{ id: 'talk', call: 'say.things@1' }] },
      );
    });
    afterAll(async () => {
      await target?.close();
    });

    test('a job is started once and polled to its end; a known answer is not asked for again', async () => {
      const answer = await stack.start('e2e/build', { input: {}, wait: '20s' });
      expect(answer.body).toMatchObject({ status: 'succeeded', output: [1, 1, 'i-7'] });
      const [one, two, build] = answer.body.steps;
      expect(one.cachedAt).toBeUndefined();
      expect(two.cachedAt).toMatch(/^20/);
      expect(build).toMatchObject({ path: 'build', jobId: [...builds.keys()].at(-1), attempts: 1 });
      expect(reads).toBe(1);
      expect(builds.size).toBe(1);
    });

    test('a job shows how far it is, and is told to stop with its run', async () => {
      const id = await started('e2e/build-slowly');
      await eventually(async () => {
        const { steps } = await stack.get(`/v1/runs/${id}`);
        expect(steps[0].progress).toMatchObject({ percent: expect.any(Number) as number, message: 'running' });
      });
      await stack.ok('POST', `/v1/runs/${id}/cancel`, { reason: 'spec' });
      await eventually(async () => expect((await stack.get(`/v1/runs/${id}`)).status).toBe('cancelled'));
      expect([...builds.values()].at(-1)!.stopped).toBe(true);
    });

    test('lines of a script are followed while it runs; its last lines stand in the problem', async () => {
      const id = await started('e2e/talk');
      const followed = await cli('runs', 'logs', id, '--follow', '--json');
      const lines = followed.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as LogEntry);
      expect(lines.map((l) => `${l.step} ${l.stream} ${l.text}`)).toEqual([
        'talk stdout line 1',
        'talk stdout line 2',
        'talk stdout line 3',
        'talk stderr no room left',
      ]);
      const ended = await stack.get(`/v1/runs/${id}`);
      expect(ended).toMatchObject({ status: 'failed', problem: { code: 'atom/say.things/exit', exitCode: 3 } });
      expect(ended.problem.log).toEqual(['line 1', 'line 2', 'line 3', 'no room left']);
      expect((await cli('runs', 'logs', id, '--step', 'talk')).out).toContain('no room left');
    });

    test('a worker of a team says its lines through the API, and verify finds what it lacks', async () => {
      const manifest: AtomDocument = {
        dsl: 'opsloop/v1',
        kind: 'atom',
        name: 'team.add',
        version: '1.0.0',
        owner: 'e2e',
        effect: 'mutate',
        idempotency: 'native',
        worker: { queue: 'e2e-team', activity: 'team.add' },
        verify: { input: {} },
      };
      let n = 0;
      const add = defineAtom({
        manifest,
        execute: ({ log, context }) => {
          log('adding one', { step: context.step });
          return Promise.resolve({ n: (n += 1) });
        },
      });
      await stack.put(manifest as never, { kind: 'flow', name: 'e2e/add', do: [{ id: 'add', call: 'team.add@1' }] });
      const token = (
        await stack.ok('POST', '/v1/tokens', { name: 'e2e-team', roles: ['worker'], expiresInDays: 1, reason: 'spec' })
      ).token as string;
      const service: AtomService = await serveAtoms([add], {
        address: stack.process.temporalAddress,
        platform: { url: stack.process.url, token },
      });
      try {
        const answer = await stack.start('e2e/add', { input: {}, wait: '20s' });
        expect(answer.body).toMatchObject({ status: 'succeeded' });
        const { items } = await stack.get(`/v1/runs/${answer.body.id}/logs`);
        expect(items).toMatchObject([{ step: 'add', stream: 'log', text: 'adding one {"step":"add"}' }]);
        const verified = await cli('atoms', 'verify', 'team.add', '--json');
        expect(verified.code).toBe(1);
        const { checks } = JSON.parse(verified.out) as { checks: { check: string; status: string }[] };
        expect(checks.filter((c) => c.status === 'failed').map((c) => c.check)).toEqual(['same-key', 'stale-fence']);
      } finally {
        await service.shutdown();
      }
    });
  });
}
