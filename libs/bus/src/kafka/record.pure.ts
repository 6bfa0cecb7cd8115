import type { IHeaders, Message } from 'kafkajs';
import type { BusMessage } from '../consumer.js';

/**
 * A message of the log as it travels. `seq` is its number in the log, `after` that of the one before it in its
 * partition: by the first a repeat is recognised, by the second a loss.
 */
export interface LogRecord {
  seq: bigint;
  after: bigint;
  part: number;
  /** Without a body when that is too large to travel; it is read from the log then. */
  message: BusMessage;
  inLog: boolean;
}

/** Where on Kafka something was found, in case it has to be put aside. */
export interface Found {
  partition: number;
  offset: string;
  value: Buffer | null;
}

/**
 * Brokers accept batches of 1 MB by default (`message.max.bytes`), headers included. A larger body stays in the log,
 * and its message says so.
 */
export const BODY_BYTES_MAX = 512 * 1024;
export const BATCH_BYTES_MAX = 768 * 1024;

const LOG_PARTS = 16;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** A bigint of PostgreSQL has at most 19 digits. */
const NUMBER = /^\d{1,19}$/;

/** Key order holds by partition: a part of the log always goes to the same one, however many there are. */
export function toKafka(record: Omit<LogRecord, 'inLog'>, partitions: number): Message & { bytes: number } {
  const { seq, after, part, message } = record;
  const text = Buffer.from(JSON.stringify(message.body));
  const inLog = text.length > BODY_BYTES_MAX;
  return {
    key: message.key,
    value: inLog ? null : text,
    partition: part % partitions,
    headers: {
      'opsloop-id': message.id,
      'opsloop-seq': String(seq),
      'opsloop-after': String(after),
      'opsloop-part': String(part),
      'opsloop-tenant': message.tenant,
      'opsloop-at': message.at,
      'content-type': 'application/json',
      ...(inLog ? { 'opsloop-body': 'log' } : {}),
    },
    // Names and values of the headers above come to about 250 bytes.
    bytes: (inLog ? 0 : text.length) + Buffer.byteLength(message.key) + 300,
  };
}

/** What a Kafka message is, or why it is none of ours. Anybody who may write to the topic may write anything. */
export function fromKafka(message: {
  key: Buffer | null;
  value: Buffer | null;
  headers?: IHeaders;
}): LogRecord | { cause: string } {
  const header = (name: string): string => {
    const value = message.headers?.[`opsloop-${name}`];
    return value === undefined || Array.isArray(value) ? '' : value.toString();
  };
  const [id, seq, after, part, at] = ['id', 'seq', 'after', 'part', 'at'].map(header) as [
    string,
    string,
    string,
    string,
    string,
  ];
  if (!UUID.test(id)) return { cause: 'the header opsloop-id is missing or no UUID' };
  if (!NUMBER.test(seq) || !NUMBER.test(after) || BigInt(after) >= BigInt(seq))
    return { cause: 'the headers opsloop-seq and opsloop-after are missing or not two rising numbers' };
  if (!/^\d{1,2}$/.test(part) || Number(part) >= LOG_PARTS)
    return { cause: 'the header opsloop-part is missing or above 15' };
  if (Number.isNaN(Date.parse(at))) return { cause: 'the header opsloop-at is missing or no time' };
  const inLog = header('body') === 'log';
  const body = inLog ? {} : parsed(message.value);
  if (body === undefined) return { cause: 'the value is not a JSON object' };
  return {
    seq: BigInt(seq),
    after: BigInt(after),
    part: Number(part),
    inLog,
    // What a body has to be says its topic; the publishers of the log are typed, and handlers fail on anything else.
    message: { id, key: message.key?.toString() ?? '', tenant: header('tenant'), at, body: body as BusMessage['body'] },
  };
}

function parsed(value: Buffer | null): object | undefined {
  try {
    const body: unknown = JSON.parse(value?.toString() ?? '');
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? body : undefined;
  } catch {
    return undefined;
  }
}

/** What of a stretch of one part is still to be done, given where the group stands; a gap is a loss on the way. */
export function stillToDo<T extends LogRecord>(records: readonly T[], position: bigint): { todo: T[]; gap: boolean } {
  const todo: T[] = [];
  let at = position;
  for (const record of records) {
    // Repeats are normal: a relay that died after sending sends again.
    if (record.seq <= at) continue;
    if (record.after > at) return { todo, gap: true };
    todo.push(record);
    at = record.seq;
  }
  return { todo, gap: false };
}

/** Cuts a list into requests that a broker accepts. */
export function requestsOf<T extends { bytes: number }>(messages: readonly T[]): T[][] {
  const requests: T[][] = [];
  let left = 0;
  for (const message of messages) {
    if (requests.length === 0 || message.bytes > left) {
      requests.push([]);
      left = BATCH_BYTES_MAX;
    }
    requests.at(-1)!.push(message);
    left -= message.bytes;
  }
  return requests;
}
