import { describe, expect, test } from 'vitest';
import type { BusMessage } from '../consumer.js';
import {
  BATCH_BYTES_MAX,
  BODY_BYTES_MAX,
  fromKafka,
  requestsOf,
  stillToDo,
  toKafka,
  type LogRecord,
} from './record.pure.js';

const ID = '0190a6c0-0000-7000-8000-000000000001';
const message = (body: unknown = { a: 'ä' }): BusMessage => ({
  id: ID,
  key: 'host/ä',
  tenant: 'default',
  at: '2026-01-01T00:00:00.000Z',
  body: body as BusMessage['body'],
});
const record = (seq: number, after: number): LogRecord => ({
  seq: BigInt(seq),
  after: BigInt(after),
  part: 3,
  message: message(),
  inLog: false,
});
type Sent = ReturnType<typeof toKafka>;
const received = ({ key, value, headers }: Sent) => ({
  key: Buffer.from(key as string),
  value: value === null ? null : Buffer.from(value as Buffer),
  headers: Object.fromEntries(Object.entries(headers ?? {}).map(([name, v]) => [name, Buffer.from(v as string)])),
});

describe('a message on Kafka', () => {
  test('arrives as it was sent, in the partition of its part', () => {
    const sent = toKafka(record(9, 7), 2);
    expect(sent.partition).toBe(1);
    expect(fromKafka(received(sent))).toEqual(record(9, 7));
  });

  test('with a body that no broker takes stays in the log', () => {
    const large = { ...record(9, 7), message: message({ text: 'x'.repeat(BODY_BYTES_MAX) }) };
    const sent = toKafka(large, 16);
    expect(sent.value).toBeNull();
    expect(sent.bytes).toBeLessThan(1_000);
    expect(fromKafka(received(sent))).toMatchObject({ seq: 9n, inLog: true, message: { id: ID } });
  });

  test.each([
    ['opsloop-id', { 'opsloop-id': undefined }],
    ['opsloop-id', { 'opsloop-id': Buffer.from('1') }],
    ['opsloop-seq', { 'opsloop-seq': Buffer.from('-1') }],
    ['opsloop-seq', { 'opsloop-seq': Buffer.from('7') }],
    ['opsloop-seq', { 'opsloop-seq': Buffer.from('9'.repeat(40)) }],
    ['opsloop-after', { 'opsloop-after': Buffer.from('') }],
    ['opsloop-part', { 'opsloop-part': Buffer.from('16') }],
    ['opsloop-part', { 'opsloop-part': [Buffer.from('1'), Buffer.from('2')] }],
    ['opsloop-at', { 'opsloop-at': Buffer.from('yesterday') }],
  ])('without a proper %s is none of ours', (name, headers) => {
    const sent = received(toKafka(record(9, 7), 16));
    expect(fromKafka({ ...sent, headers: { ...sent.headers, ...headers } })).toEqual({
      cause: expect.stringContaining(name) as string,
    });
  });

  test.each(['', 'not json', '[]', 'null', '"text"', '{"a":1', '\u{feff}{}'])(
    'with the value %j is none of ours',
    (text) => {
      const sent = received(toKafka(record(9, 7), 16));
      expect(fromKafka({ ...sent, value: Buffer.from(text) })).toEqual({ cause: 'the value is not a JSON object' });
      expect(fromKafka({ ...sent, value: null })).toEqual({ cause: 'the value is not a JSON object' });
    },
  );
});

describe('what is still to do', () => {
  const stretch = [record(3, 1), record(5, 3), record(6, 5)];
  test.each([
    ['all of it', 1, stretch, [3, 5, 6], false],
    ['also when the position is between', 2, stretch, [3, 5, 6], false],
    ['the rest of it', 3, stretch, [5, 6], false],
    ['nothing', 6, stretch, [], false],
    ['nothing, long done', 99, stretch, [], false],
    ['nothing before what is missing', 0, stretch, [], true],
    ['what comes before a hole', 1, [record(3, 1), record(6, 5)], [3], true],
    ['each once, when a relay sent twice', 1, [record(3, 1), record(5, 3), ...stretch], [3, 5, 6], false],
  ])('%s', (_name, position, records, numbers, gap) => {
    const result = stillToDo(records, BigInt(position));
    expect(result.todo.map((r) => Number(r.seq))).toEqual(numbers);
    expect(result.gap).toBe(gap);
  });
});

test('requests stay below what a broker takes, and keep the order', () => {
  const sizes = [1, BATCH_BYTES_MAX - 1, 1, BATCH_BYTES_MAX, 5, 5];
  const requests = requestsOf(sizes.map((bytes) => ({ bytes })));
  expect(requests.map((r) => r.map((m) => m.bytes))).toEqual([
    [1, BATCH_BYTES_MAX - 1],
    [1],
    [BATCH_BYTES_MAX],
    [5, 5],
  ]);
  expect(requestsOf([])).toEqual([]);
});
