import { describe, expect, it } from 'vitest';
import { parseCloudEvents } from '../accept/cloud-event.pure.js';
import { readBody } from '../receive-hook/read-body.pure.js';
import { messageOf, placeOf } from './kafka-record.pure.js';
import type { KafkaRecord } from './kafka-record.pure.js';

const record = (headers: KafkaRecord['headers'], value: string | null): KafkaRecord => ({
  topic: 't',
  partition: 1,
  offset: '7',
  key: Buffer.from('k'),
  value: value === null ? null : Buffer.from(value),
  ...(headers === undefined ? {} : { headers }),
});
const read = (one: KafkaRecord) => {
  const message = messageOf(one);
  return parseCloudEvents({ ...message, body: readBody(message, 'typed') });
};
const CE = { ce_specversion: '1.0', ce_id: 'a', ce_source: '/s', ce_type: 't', ce_subject: Buffer.from('host/中 50%') };

describe('records', () => {
  it('in binary mode', () => {
    expect(read(record({ ...CE, 'content-type': 'application/json' }, '{"n":1}'))).toMatchObject([
      { id: 'a', source: '/s', type: 't', subject: 'host/中 50%', data: { n: 1 } },
    ]);
    expect(read(record(CE, null))).toMatchObject([{ id: 'a', data: null }]);
  });

  it('in structured mode', () => {
    const event = { specversion: '1.0', id: 'b', source: '/s', type: 't', data: 'x' };
    const headers = { 'content-type': 'application/cloudevents+json; charset=utf-8' };
    expect(read(record(headers, JSON.stringify(event)))).toMatchObject([{ id: 'b', data: 'x' }]);
  });

  it('show their key and topic to mappings, and have a place', () => {
    expect(messageOf(record(undefined, '{}')).headers).toEqual({ 'kafka-topic': 't', 'kafka-key': 'k' });
    expect(placeOf('s', record(undefined, '{}'))).toBe('kafka/s/t/1/7');
  });
});
