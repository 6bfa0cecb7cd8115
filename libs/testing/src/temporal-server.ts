import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { eventually } from './eventually.js';
import { freePort } from './ports.js';
import { findTemporalBinary } from './temporal-binary.js';

export interface RunningTemporal {
  address: string;
  namespace: string;
  uiUrl?: string;
  stop(): Promise<void>;
}

/** A dev server answers after 1–2 s; four test runs on two cores need more. */
const START_MS = 60_000;
const STOP_MS = 5_000;

/** The server's own limits of 20 tasks per second make a step 50 ms and a timer 1 s; raised, they take 12 and 15 ms. */
const DYNAMIC_CONFIG = [
  'history.transferProcessorMaxPollRPS=1000',
  'history.timerProcessorMaxPollRPS=1000',
  'history.visibilityProcessorMaxPollRPS=1000',
  'history.timerProcessorMaxTimeShift="1ms"',
  // New search attributes are otherwise unknown for some ten seconds.
  'system.forceSearchAttributesCacheRefreshOnRead=true',
];
const SEARCH_ATTRIBUTES = ['OpsTenant=Keyword', 'OpsTier=Keyword', 'OpsPhase=Keyword', 'OpsTargets=KeywordList'];

/** Starts a file-backed dev server on a free port, without the Web UI. */
export async function startTemporal(): Promise<RunningTemporal> {
  const binary = await findTemporalBinary();
  const dir = await mkdtemp(join(tmpdir(), 'opsloop-temporal-'));
  const port = await freePort();
  const args = [
    ...['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', String(port), '--log-level', 'error'],
    ...['--db-filename', join(dir, 'temporal.db')],
    ...['--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL'],
    ...DYNAMIC_CONFIG.flatMap((value) => ['--dynamic-config-value', value]),
    ...SEARCH_ATTRIBUTES.flatMap((value) => ['--search-attribute', value]),
  ];
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4_000)));
  // A run that is ended the hard way must not leave a server behind.
  const onExit = (): void => void child.kill('SIGKILL');
  process.once('exit', onExit);
  const stop = async (): Promise<void> => {
    process.off('exit', onExit);
    await end(child);
    await rm(dir, { recursive: true, force: true });
  };
  const address = `127.0.0.1:${port}`;
  try {
    await waitUntilUp(child, port, address);
  } catch (error) {
    await stop();
    throw new Error(`Temporal did not start: ${String(error)}\n${log}`);
  }
  return { address, namespace: 'default', stop };
}

async function waitUntilUp(child: ChildProcess, port: number, address: string): Promise<void> {
  await eventually(
    async () => {
      if (child.exitCode !== null) return;
      await canConnect(port);
      const connection = await Connection.connect({ address, connectTimeout: 2_000 });
      try {
        await connection.workflowService.describeNamespace({ namespace: 'default' });
      } finally {
        await connection.close();
      }
    },
    { timeoutMs: START_MS, everyMs: 100 },
  );
  if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
}

function canConnect(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(void socket.destroy()));
    socket.once('error', reject);
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(timer);
}
