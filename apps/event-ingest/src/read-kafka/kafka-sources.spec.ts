import { kafkaClient } from '@opsloop/bus';
import { eventually, testKafka, whereKafka } from '@opsloop/testing';
import type { Producer } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startIngest } from '../ingest-app.spec-kit.js';
import type { IngestApp } from '../ingest-app.spec-kit.js';

const SILENT = { debug: () => undefined };
const TOPIC = `spec-source-${process.pid}`;

describe.each(await whereKafka())('topics of $name as sources', () => {
  let ingest: IngestApp;
  let producer: Producer;
  let brokers: string[];

  beforeAll(async () => {
    brokers = (await testKafka()).brokers.split(',');
    const kafka = kafkaClient({ brokers, clientId: 'spec', prefix: '', partitions: 1, replication: 1 }, SILENT);
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({
      topics: ['ce', 'json'].map((name) => ({ topic: `${TOPIC}-${name}`, numPartitions: 2 })),
    });
    await admin.disconnect();
    producer = kafka.producer();
    await producer.connect();
    ingest = await startIngest();
  });
  afterAll(async () => {
    await producer?.disconnect();
    await ingest?.close();
  });

  const put = (name: string, topic: string, more: object = {}, kafka: object = {}) =>
    ingest.call('PUT', `/v1/sources/${name}`, {
      dsl: 'opsloop/v1',
      kind: 'source',
      name,
      type: 'kafka',
      auth: { type: 'none' },
      kafka: { brokers, topic: `${TOPIC}-${topic}`, from: 'earliest', ...kafka },
      ...more,
    });
  const idsOf = async (via: string) =>
    (await ingest.messages())
      .filter((one) => one.via === via)
      .map((one) => `${one.type} ${one.subject} ${JSON.stringify(one.data)}`);

  it('brings CloudEvents in both modes, and holds up nothing for what is none', async () => {
    const structured = { specversion: '1.0', id: 's', source: '/k', type: 'k.b', subject: 'host/b', data: { n: 2 } };
    const binary = { ce_specversion: '1.0', ce_id: 'b', ce_source: '/k', ce_type: 'k.a', ce_subject: 'host/a' };
    await producer.send({
      topic: `${TOPIC}-ce`,
      messages: [
        { key: 'one', value: '{"n":1}', headers: { ...binary, 'content-type': 'application/json' } },
        { key: 'one', value: 'poison' },
        { key: 'one', value: JSON.stringify(structured), headers: { 'content-type': 'application/cloudevents+json' } },
      ],
    });
    expect(await put('ce-topic', 'ce')).toMatchObject({ status: 201 });
    await eventually(
      async () => expect(await idsOf('ce-topic')).toEqual(['k.a host/a {"n":1}', 'k.b host/b {"n":2}']),
      { timeoutMs: 30_000 },
    );
    const { items } = (await ingest.call('GET', '/v1/dead-letters?source=ce-topic')).body;
    expect(items).toMatchObject([{ times: 1, code: expect.stringMatching(/validation|malformed-json/) }]);
  });

  it('brings any JSON through a mapping; read again from the start, it is known', async () => {
    const rows = [0, 1, 2].map((n) => ({ value: JSON.stringify({ host: `h${n}`, disk: n }), partition: n % 2 }));
    await producer.send({ topic: `${TOPIC}-json`, messages: rows });
    const mapping = { type: 'disk.${headers["kafka-topic"]}', subject: 'host/${body.host}', data: '${body.disk}' };
    await put('json-topic', 'json', { mapping }, { format: 'json' });
    const all = [0, 1, 2].map((n) => `disk.${TOPIC}-json host/h${n} ${n}`);
    await eventually(async () => expect((await idsOf('json-topic')).sort()).toEqual(all), { timeoutMs: 30_000 });
    // Another name is another group, which begins anew; the same name again goes on where it was.
    await put('json-topic', 'json', { mapping, title: 'changed' }, { format: 'json' });
    await producer.send({ topic: `${TOPIC}-json`, messages: [{ value: '{"host":"h3","disk":3}' }] });
    await eventually(
      async () => expect((await idsOf('json-topic')).sort()).toEqual([...all, `disk.${TOPIC}-json host/h3 3`]),
      { timeoutMs: 30_000 },
    );
  });
});
