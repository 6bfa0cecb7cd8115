import { TEMPORAL_NAMES, type Json } from '@opsloop/contracts';
import { testTemporal } from '@opsloop/testing';
import { mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cachedRunsFor, createAtomWorker, createFlowWorker, parseDeployment } from './flow-worker.js';
import type { Log } from './log.js';
import { TemporalConnection } from './temporal-connection.service.js';
import { WorkerHost } from './worker-host.service.js';
import { workflowBundle } from './workflow-bundle.js';

const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

describe('cachedRunsFor', () => {
  it.each([
    [256, 50],
    [2_096, 4_000],
    [1_024, 1_560],
    [4_096, 4_000],
  ])('%i MB of heap keep %i runs', (megabytes, runs) => {
    expect(cachedRunsFor(megabytes * 2 ** 20)).toBe(runs);
  });
});

describe('parseDeployment', () => {
  it('reads name and build', () => {
    expect(parseDeployment('ops:loop:7')).toEqual({ deploymentName: 'ops:loop', buildId: '7' });
    expect(parseDeployment(undefined)).toBeUndefined();
    expect(parseDeployment('')).toBeUndefined();
  });
  it.each(['name', ':7', 'name:'])('refuses "%s"', (text) =>
    expect(() => parseDeployment(text)).toThrow(/OPSLOOP_DEPLOYMENT/),
  );
});

describe('workers', () => {
  const dir = mkdtempSync(join(tmpdir(), 'opsloop-flow-worker-'));
  const workflowsPath = join(dir, 'flows.cjs');
  // Workflow code is bundled from where it lies, so it must find the SDK from there.
  symlinkSync(fileURLToPath(new URL('../../../node_modules', import.meta.url)), join(dir, 'node_modules'));
  writeFileSync(
    workflowsPath,
    `const { proxyLocalActivities, proxyActivities } = require('@temporalio/workflow');
     exports.default = async (x) => {
       const local = proxyLocalActivities({ startToCloseTimeout: '10s' });
       const remote = proxyActivities({ startToCloseTimeout: '10s', taskQueue: 'h4-atoms' });
       return [await local['any.local.name'](x), await remote['any.atom'](x)];
     };`,
  );
  let temporal: TemporalConnection;
  let host: WorkerHost;
  beforeAll(async () => {
    const { address, namespace } = await testTemporal();
    temporal = await TemporalConnection.connect({ address, namespace, uiUrl: 'http://ui' }, silent);
    host = new WorkerHost(temporal, silent);
  });
  afterAll(async () => {
    await host.onApplicationShutdown();
    await rm(dir, { recursive: true, force: true });
  });

  it('starts from the kept bundle, starts runs eagerly and answers any activity name', async () => {
    const { Context } = await import('@temporalio/activity');
    const answer = (x: Json): Promise<Json> => Promise.resolve(`${Context.current().info.activityType}:${String(x)}`);
    const options = {
      temporal,
      activities: { default: answer },
      cacheDir: dir,
      log: silent,
      workflowsPath,
      taskQueue: 'h4-flows',
    };
    const first = await createFlowWorker(options);
    const kept = await readdir(join(dir, 'workflow-bundles'));
    expect(kept).toHaveLength(1);
    host.start('one', first);
    host.start('atoms', await createAtomWorker({ temporal, activities: { default: answer }, taskQueue: 'h4-atoms' }));
    expect(() => host.check('one')).not.toThrow();
    expect(() => host.check('nobody')).toThrow(/not started/);
    const handle = await temporal.client.workflow.start('fleet/any-flow', {
      taskQueue: 'h4-flows',
      workflowId: `h4-${Date.now()}`,
      args: [7],
      requestEagerStart: true,
    });
    expect(handle.eagerlyStarted).toBe(true);
    expect(await handle.result()).toEqual(['any.local.name:7', 'any.atom:7']);

    const made = await stat(join(dir, 'workflow-bundles', kept[0]!));
    const second = await createFlowWorker({ ...options, taskQueue: 'h4-flows-2' });
    expect(await readdir(join(dir, 'workflow-bundles'))).toEqual(kept);
    // A bundle made anew would be renamed over it, and be another file.
    expect((await stat(join(dir, 'workflow-bundles', kept[0]!))).ino).toBe(made.ino);
    host.start('two', second);
    await host.drain();
    expect(() => host.check('one')).toThrow(/not started/);
  });

  it('says what is wrong with code that cannot be bundled, and leaves nothing behind', async () => {
    const broken = join(dir, 'broken.cjs');
    writeFileSync(broken, `require('./is-not-there.js');`);
    const before = await readdir(join(dir, 'workflow-bundles'));
    await expect(workflowBundle({ workflowsPath: broken, cacheDir: dir, log: silent })).rejects.toMatchObject({
      code: 'configuration',
      detail: expect.stringMatching(/broken\.cjs could not be bundled: .*is-not-there/s) as string,
    });
    expect(await readdir(join(dir, 'workflow-bundles'))).toEqual(before);
  });

  it('gives links and checks the namespace', async () => {
    expect(temporal.workflowUrl('a.b/c', 'r')).toBe('http://ui/namespaces/default/workflows/a.b%2Fc/r/history');
    await temporal.check();
    expect(TEMPORAL_NAMES.flowQueue).toBe('opsloop-flows');
  });

  it('says what to do when no server answers', async () => {
    await expect(
      TemporalConnection.connect({ address: '127.0.0.1:1', namespace: 'default' }, silent, 100),
    ).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringContaining('TEMPORAL_ADDRESS') as string,
    });
  });
});
