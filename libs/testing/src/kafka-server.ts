import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort, isPortBusy } from '@opsloop/embedded';
import { javaEnvironment } from './config.js';
import { eventually } from './eventually.js';
import { kafkaJars } from './kafka-files.js';

const HOST = '127.0.0.1';
/** A start takes 3–5 s; on a machine that runs everything else as well, several times that. */
const START_MS = 60_000;
/** Kafka hands its partitions over before it ends; alone it has nobody to hand them to, so this is enough. */
const STOP_MS = 10_000;

export interface KafkaOptions {
  /** Clients have to say who they are, by SASL PLAIN. */
  user?: { name: string; password: string };
  /** Lines of `server.properties` beside or instead of those of the kit. */
  properties?: Record<string, string>;
}

/**
 * A Kafka broker that is its own controller (KRaft), in a directory of its own. It can be killed and started again on
 * the same data and the same port.
 */
export class KafkaBroker {
  private child: ChildProcess | undefined;
  private log = '';

  /** A run that is ended the hard way must not leave a JVM behind. */
  private readonly onExit = (): void => void this.child?.kill('SIGKILL');

  private constructor(
    private readonly jars: string[],
    private readonly dir: string,
    readonly port: number,
  ) {
    process.once('exit', this.onExit);
  }

  static async start(options: KafkaOptions = {}): Promise<KafkaBroker> {
    const jars = await kafkaJars();
    const dir = mkdtempSync(join(tmpdir(), 'opsloop-kafka-'));
    const port = await freePort(2);
    format(dir, port, {
      ...(options.user === undefined ? {} : saslProperties(port, options.user)),
      ...options.properties,
    });
    const broker = new KafkaBroker(jars, dir, port);
    await broker.start();
    return broker;
  }

  /** For `KAFKA_BROKERS`. */
  get brokers(): string {
    return `${HOST}:${this.port}`;
  }

  async start(): Promise<void> {
    // A small heap, one collector thread and the quick compiler alone: a broker of tests lives for minutes, on a
    // machine that it shares. 256 MB hold some 20 topics of 16 partitions with room to spare.
    const flags = ['-Xms64m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const logging = '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn';
    const args = [...flags, logging, '-cp', this.jars.join(delimiter), 'kafka.Kafka', join(this.dir, PROPERTIES)];
    const child = spawn('java', args, { env: javaEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk: Buffer) => (this.log = (this.log + chunk.toString()).slice(-20_000)));
    child.once('exit', () => {
      if (this.child === child) this.child = undefined;
    });
    await eventually(
      async () => {
        if (this.child === child && !(await isPortBusy(this.port))) throw new Error('not yet');
      },
      { timeoutMs: START_MS, everyMs: 50 },
    ).catch(() => undefined);
    if (this.child !== child || !(await isPortBusy(this.port))) {
      await this.kill();
      throw new Error(`the Kafka broker did not come up:\n${this.log.slice(-3_000)}`);
    }
  }

  /** As a power cut would. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.child;
    if (child === undefined) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    const forced = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await exit;
    clearTimeout(forced);
  }

  /** Hangs it and lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child?.kill(signal);
  }

  /** Ends it and removes its data. */
  async close(): Promise<void> {
    // Nobody reads the data again, so nothing has to be flushed.
    await this.kill();
    process.off('exit', this.onExit);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const PROPERTIES = 'server.properties';

/** What `kafka-storage format` writes, without a JVM for it. */
function format(dir: string, port: number, more: Record<string, string>): void {
  const data = join(dir, 'data');
  mkdirSync(data);
  writeFileSync(
    join(data, 'meta.properties'),
    'version=1\ncluster.id=b3BzbG9vcC1zcGVjcy0wMQ\nnode.id=1\ndirectory.id=b3BzbG9vcC1kaXItMDAwMQ\n',
  );
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@${HOST}:${port + 1}`,
    listeners: `PLAINTEXT://${HOST}:${port},CONTROLLER://${HOST}:${port + 1}`,
    'advertised.listeners': `PLAINTEXT://${HOST}:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': data,
    // A topic that nobody created must be seen as missing.
    'auto.create.topics.enable': 'false',
    // One broker: one copy of everything, and few partitions of what Kafka keeps for itself.
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '2',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    // By default a new group waits 3 s for more members; specs wait for nothing.
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    // A broker that was killed is let in again when its old session has ended: after 9 s by default.
    'broker.session.timeout.ms': '1500',
    'broker.heartbeat.interval.ms': '300',
    // Of each partition; 10 MB by default, mapped into memory.
    'log.index.size.max.bytes': '65536',
    'num.network.threads': '2',
    'num.io.threads': '2',
    'background.threads': '2',
    'log.cleaner.dedupe.buffer.size': '2097152',
    ...more,
  };
  const text = Object.entries(properties).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(join(dir, PROPERTIES), text.join(''));
}

function saslProperties(port: number, { name, password }: { name: string; password: string }): Record<string, string> {
  const login = 'org.apache.kafka.common.security.plain.PlainLoginModule required';
  return {
    listeners: `SASL_PLAINTEXT://${HOST}:${port},CONTROLLER://${HOST}:${port + 1}`,
    'advertised.listeners': `SASL_PLAINTEXT://${HOST}:${port}`,
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
    'inter.broker.listener.name': 'SASL_PLAINTEXT',
    'sasl.enabled.mechanisms': 'PLAIN',
    'sasl.mechanism.inter.broker.protocol': 'PLAIN',
    'listener.name.sasl_plaintext.plain.sasl.jaas.config': `${login} username="${name}" password="${password}" user_${name}="${password}";`,
  };
}
