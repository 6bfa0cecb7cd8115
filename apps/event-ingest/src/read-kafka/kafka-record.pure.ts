/** A record of a topic → what a hook would have received: CloudEvents by the Kafka binding, or any JSON. */
import type { HttpMessage } from '../accept/cloud-event.pure.js';

export interface KafkaRecord {
  topic: string;
  partition: number;
  offset: string;
  key?: Buffer | null;
  value: Buffer | null;
  headers?: Record<string, Buffer | string | (Buffer | string)[] | undefined>;
}

/**
 * The binding writes attributes as `ce_<name>` in plain UTF-8, HTTP as `ce-<name>` percent-encoded. A record without a
 * value is one without data.
 */
export function messageOf(record: KafkaRecord): Pick<HttpMessage, 'headers' | 'rawBody'> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(record.headers ?? {})) {
    const first = Array.isArray(value) ? value[0] : value;
    if (first === undefined) continue;
    const text = first.toString('utf8');
    const lower = name.toLowerCase();
    if (lower.startsWith('ce_')) headers[`ce-${lower.slice(3)}`] = encodeURIComponent(text);
    else headers[lower] = text;
  }
  headers['kafka-topic'] = record.topic;
  if (record.key !== undefined && record.key !== null) headers['kafka-key'] = record.key.toString('utf8');
  return { headers, rawBody: record.value ?? Buffer.alloc(0) };
}

/** Where it stands in its topic: read again after a crash, it is the same event. */
export function placeOf(source: string, record: Pick<KafkaRecord, 'topic' | 'partition' | 'offset'>): string {
  return `kafka/${source}/${record.topic}/${record.partition}/${record.offset}`;
}
