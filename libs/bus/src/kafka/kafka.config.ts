import { readFileSync } from 'node:fs';
import { OpsError } from '@opsloop/contracts';

export const SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;

/** How the bus reaches Kafka, and how patient it is with it. */
export interface KafkaConfig {
  /** `host:port` of any brokers; the others are learnt from them. */
  brokers: string[];
  /** Appears in the broker's logs and quotas. */
  clientId: string;
  /** Topics are `<prefix><topic>`, consumer groups `<prefix><group>.<topic>`. */
  prefix: string;
  /** Partitions of a topic that we create: so many consumers of a group can share it. */
  partitions: number;
  /** Copies of each partition of a topic that we create; -1 = what the broker's configuration says. */
  replication: number;
  tls?: { ca?: string; cert?: string; key?: string };
  sasl?: { mechanism: (typeof SASL_MECHANISMS)[number]; username: string; password: string };
  /** Only specs change others than the session. */
  timings?: Partial<KafkaTimings>;
}

export interface KafkaTimings {
  /** A killed consumer is noticed after this; the broker refuses less than its `group.min.session.timeout.ms`, 6 s. */
  sessionMs: number;
  /** No fetch, heartbeat or batch for this long: the consumer is given up and made anew. */
  silentMs: number;
  /** Messages were relayed, and the group has not moved for this long: the same. */
  stalledMs: number;
  /** Kafka may be away for this long before readiness says so: a restart of a broker is no news. */
  awayMs: number;
  /** A send must have been acknowledged by then. Below the 5 s after which PostgreSQL ends the transaction around it. */
  sendMs: number;
}

export const KAFKA_TIMINGS: KafkaTimings = {
  sessionMs: 6_000,
  silentMs: 15_000,
  stalledMs: 20_000,
  awayMs: 10_000,
  sendMs: 4_000,
};

/** As many as the log has parts, which bounds how many processes a group can use; more would stay empty. */
const PARTITIONS_DEFAULT = 16;
const PREFIX_DEFAULT = 'opsloop.';
/** The shortest that a broker can be told to allow; above the longest, a heartbeat would come later than our watchdog. */
const SESSION_MS_MIN = 1_000;
const SESSION_MS_MAX = 30_000;
/** Kafka's own limit is 249 for a topic; groups and topics of ours add less than 40. */
const PREFIX_SHAPE = /^[A-Za-z0-9._-]{0,200}$/;

type Environment = Record<string, string | undefined>;

const wrong = (name: string, remedy: string): OpsError => new OpsError('configuration', `${name} ${remedy}`);

/**
 * `KAFKA_BROKERS` switches the bus to Kafka; without it the carrier is PostgreSQL alone. `KAFKA_CLIENT_ID`,
 * `KAFKA_TOPIC_PREFIX`, `KAFKA_PARTITIONS`, `KAFKA_REPLICATION`, `KAFKA_SESSION_MS`; `KAFKA_TLS`, `KAFKA_TLS_CA_FILE`, `KAFKA_TLS_CERT_FILE`,
 * `KAFKA_TLS_KEY_FILE`; `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME`, `KAFKA_SASL_PASSWORD`.
 */
export function kafkaConfigFromEnv(env: Environment): KafkaConfig | undefined {
  const set = (name: string): string | undefined => env[name]?.trim() || undefined;
  const list = set('KAFKA_BROKERS');
  if (list === undefined) return undefined;
  const brokers = list.split(',').map((broker) => broker.trim());
  for (const broker of brokers) {
    if (!/^[^\s:/]+:\d{1,5}$/.test(broker) && !/^\[[0-9a-fA-F:]+\]:\d{1,5}$/.test(broker))
      throw wrong('KAFKA_BROKERS', `names "${broker}"; write host:port, several with commas between them`);
  }
  const prefix = env['KAFKA_TOPIC_PREFIX'] ?? PREFIX_DEFAULT;
  if (!PREFIX_SHAPE.test(prefix))
    throw wrong('KAFKA_TOPIC_PREFIX', `is "${prefix}"; write up to 200 letters, digits, dots, dashes or underscores`);
  const replication = Number(set('KAFKA_REPLICATION') ?? -1);
  if (!Number.isInteger(replication) || replication === 0 || replication < -1)
    throw wrong('KAFKA_REPLICATION', `is "${env['KAFKA_REPLICATION']}"; write a number, or leave it to the broker`);
  const partitions = Number(set('KAFKA_PARTITIONS') ?? PARTITIONS_DEFAULT);
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_DEFAULT)
    throw wrong('KAFKA_PARTITIONS', `is "${env['KAFKA_PARTITIONS']}"; write a number from 1 to ${PARTITIONS_DEFAULT}`);
  const session = set('KAFKA_SESSION_MS');
  const sessionMs = Number(session);
  if (
    session !== undefined &&
    !(Number.isInteger(sessionMs) && sessionMs >= SESSION_MS_MIN && sessionMs <= SESSION_MS_MAX)
  )
    throw wrong('KAFKA_SESSION_MS', `is "${session}"; write a number from ${SESSION_MS_MIN} to ${SESSION_MS_MAX}`);
  const tls = tlsOf(env);
  const sasl = saslOf(env);
  // A password in clear may leave this process, never this machine.
  if (
    sasl !== undefined &&
    tls === undefined &&
    !brokers.every((b) => /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]):/.test(b))
  )
    throw wrong('KAFKA_SASL_MECHANISM', 'sends a password; set KAFKA_TLS=true as well');
  return {
    brokers,
    clientId: set('KAFKA_CLIENT_ID') ?? 'opsloop',
    prefix,
    partitions,
    replication,
    ...(tls === undefined ? {} : { tls }),
    ...(sasl === undefined ? {} : { sasl }),
    ...(session === undefined ? {} : { timings: { sessionMs } }),
  };
}

function tlsOf(env: Environment): KafkaConfig['tls'] {
  const wanted = env['KAFKA_TLS'] ?? 'false';
  if (wanted !== 'true' && wanted !== 'false') throw wrong('KAFKA_TLS', `is "${wanted}"; write true or false`);
  const files = { ca: 'KAFKA_TLS_CA_FILE', cert: 'KAFKA_TLS_CERT_FILE', key: 'KAFKA_TLS_KEY_FILE' } as const;
  if (wanted === 'false') {
    const unused = Object.values(files).find((name) => env[name] !== undefined);
    if (unused !== undefined) throw wrong(unused, 'is set and KAFKA_TLS is not true');
    return undefined;
  }
  const tls: NonNullable<KafkaConfig['tls']> = {};
  for (const [member, name] of Object.entries(files) as [keyof typeof files, string][]) {
    const file = env[name];
    if (file === undefined) continue;
    try {
      tls[member] = readFileSync(file, 'utf8');
    } catch (error) {
      throw wrong(name, `names a file that cannot be read: ${(error as Error).message}`);
    }
  }
  if ((tls.cert === undefined) !== (tls.key === undefined))
    throw wrong('KAFKA_TLS_CERT_FILE', 'and KAFKA_TLS_KEY_FILE belong together; set both or none');
  return tls;
}

function saslOf(env: Environment): KafkaConfig['sasl'] {
  const mechanism = env['KAFKA_SASL_MECHANISM'];
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = env;
  if (mechanism === undefined || mechanism === '') {
    if (username !== undefined || password !== undefined)
      throw wrong('KAFKA_SASL_MECHANISM', `is missing; write one of ${SASL_MECHANISMS.join(', ')}`);
    return undefined;
  }
  const known = SASL_MECHANISMS.find((m) => m === mechanism.toLowerCase());
  if (known === undefined)
    throw wrong('KAFKA_SASL_MECHANISM', `is "${mechanism}"; write one of ${SASL_MECHANISMS.join(', ')}`);
  if (!username || !password) throw wrong('KAFKA_SASL_USERNAME', 'and KAFKA_SASL_PASSWORD must both be set');
  return { mechanism: known, username, password };
}
