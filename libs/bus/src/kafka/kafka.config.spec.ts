import { describe, expect, test } from 'vitest';
import { kafkaConfigFromEnv } from './kafka.config.js';

const KEY = new URL(import.meta.url).pathname;

describe('Kafka in the environment', () => {
  test.each([{}, { KAFKA_BROKERS: '' }, { KAFKA_BROKERS: ' ' }])('is off with %j', (env) =>
    expect(kafkaConfigFromEnv(env)).toBeUndefined(),
  );

  test('is on with brokers alone', () => {
    expect(kafkaConfigFromEnv({ KAFKA_BROKERS: 'kafka:9092, 10.0.0.1:9093' })).toEqual({
      brokers: ['kafka:9092', '10.0.0.1:9093'],
      clientId: 'opsloop',
      prefix: 'opsloop.',
      partitions: 16,
      replication: -1,
    });
  });

  test('with names, TLS and SASL', () => {
    const env = {
      KAFKA_BROKERS: '[::1]:9092',
      KAFKA_CLIENT_ID: 'ops-a',
      KAFKA_TOPIC_PREFIX: 'a.',
      KAFKA_PARTITIONS: '4',
      KAFKA_REPLICATION: '3',
      KAFKA_SESSION_MS: '1500',
      KAFKA_TLS: 'true',
      KAFKA_TLS_CA_FILE: KEY,
      KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
      KAFKA_SASL_USERNAME: 'ops',
      KAFKA_SASL_PASSWORD: 'x',
    };
    expect(kafkaConfigFromEnv(env)).toMatchObject({
      clientId: 'ops-a',
      prefix: 'a.',
      partitions: 4,
      replication: 3,
      timings: { sessionMs: 1_500 },
      tls: { ca: expect.stringContaining('import') as string },
      sasl: { mechanism: 'scram-sha-512', username: 'ops', password: 'x' },
    });
  });

  test('a password without TLS stays on this machine', () => {
    const sasl = { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'ops', KAFKA_SASL_PASSWORD: 'x' };
    expect(kafkaConfigFromEnv({ KAFKA_BROKERS: 'localhost:9092', ...sasl })?.sasl?.mechanism).toBe('plain');
    expect(() => kafkaConfigFromEnv({ KAFKA_BROKERS: 'localhost:9092,kafka:9092', ...sasl })).toThrow('KAFKA_TLS=true');
  });

  test.each([
    ['KAFKA_BROKERS', { KAFKA_BROKERS: 'kafka' }],
    ['KAFKA_BROKERS', { KAFKA_BROKERS: 'kafka:9092,' }],
    ['KAFKA_BROKERS', { KAFKA_BROKERS: 'kafka://kafka:9092' }],
    ['KAFKA_TOPIC_PREFIX', { KAFKA_TOPIC_PREFIX: 'a b' }],
    ['KAFKA_PARTITIONS', { KAFKA_PARTITIONS: '17' }],
    ['KAFKA_REPLICATION', { KAFKA_REPLICATION: '0' }],
    ['KAFKA_SESSION_MS', { KAFKA_SESSION_MS: '6s' }],
    ['KAFKA_SESSION_MS', { KAFKA_SESSION_MS: '45000' }],
    ['KAFKA_TLS', { KAFKA_TLS: 'yes' }],
    ['KAFKA_TLS_CA_FILE', { KAFKA_TLS_CA_FILE: KEY }],
    ['KAFKA_TLS_CA_FILE', { KAFKA_TLS: 'true', KAFKA_TLS_CA_FILE: `${KEY}/none` }],
    ['KAFKA_TLS_KEY_FILE', { KAFKA_TLS: 'true', KAFKA_TLS_CERT_FILE: KEY }],
    ['KAFKA_SASL_MECHANISM', { KAFKA_SASL_MECHANISM: 'gssapi' }],
    ['KAFKA_SASL_MECHANISM', { KAFKA_SASL_USERNAME: 'ops' }],
    ['KAFKA_SASL_PASSWORD', { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'ops' }],
  ])('refuses a wrong %s and names it: %j', (name, env) => {
    expect(() => kafkaConfigFromEnv({ KAFKA_BROKERS: 'kafka:9092', ...env })).toThrow(name);
  });
});
