/** The real Prometheus and Alertmanager, as their Debian packages install them, on files and ports of their own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { eventually, freePort } from '@opsloop/testing';

const PROGRAMS = ['prometheus', 'prometheus-alertmanager'];

/** Those that are not installed. */
export function missingPrograms(): string[] {
  return PROGRAMS.filter(
    (program) => !(process.env['PATH'] ?? '').split(delimiter).some((dir) => isProgram(join(dir, program))),
  );
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Monitoring {
  prometheus: string;
  stop(): Promise<void>;
}

/** Watches `metrics` (host:port) with one rule, and tells `hook` with `token`. Everything each second, so that a test ends soon. */
export async function startMonitoring(options: {
  metrics: string;
  alert: { name: string; expr: string };
  hook: string;
  token: string;
}): Promise<Monitoring> {
  const dir = mkdtempSync(join(tmpdir(), 'opsloop-prometheus-'));
  const [prometheusPort, alertmanagerPort] = [await freePort(), await freePort()];
  const file = (name: string, value: object): string => {
    const path = join(dir, name);
    // JSON is YAML.
    writeFileSync(path, JSON.stringify(value));
    return path;
  };
  const rules = file('rules.yml', {
    groups: [{ name: 'spec', rules: [{ alert: options.alert.name, expr: options.alert.expr }] }],
  });
  const prometheusFile = file('prometheus.yml', {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: [{ job_name: 'spec', static_configs: [{ targets: [options.metrics] }] }],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [`127.0.0.1:${alertmanagerPort}`] }] }] },
  });
  const alertmanagerFile = file('alertmanager.yml', {
    route: { receiver: 'opsloop', group_by: ['...'], group_wait: '0s', group_interval: '1s', repeat_interval: '1h' },
    receivers: [
      {
        name: 'opsloop',
        webhook_configs: [
          { url: options.hook, send_resolved: true, http_config: { authorization: { credentials: options.token } } },
        ],
      },
    ],
  });
  const children = [
    start('prometheus-alertmanager', [
      `--config.file=${alertmanagerFile}`,
      `--storage.path=${join(dir, 'alertmanager')}`,
      `--web.listen-address=127.0.0.1:${alertmanagerPort}`,
      '--cluster.listen-address=',
    ]),
    start('prometheus', [
      `--config.file=${prometheusFile}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${prometheusPort}`,
    ]),
  ];
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(end));
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    for (const port of [alertmanagerPort, prometheusPort])
      await eventually(
        async () => {
          const answer = await fetch(`http://127.0.0.1:${port}/-/ready`);
          if (!answer.ok) throw new Error(`port ${port} answers ${answer.status}`);
        },
        { timeoutMs: 40_000 },
      );
  } catch (error) {
    await stop();
    throw error;
  }
  return { prometheus: `http://127.0.0.1:${prometheusPort}`, stop };
}

function start(program: string, args: string[]): ChildProcess {
  return spawn(program, args, { stdio: 'ignore' });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}
