import type { JsonObject } from '@opsloop/contracts';
import { HOOK_TYPES } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { authenticate } from '../authenticate.js';
import { readDelivery } from '../map-delivery.js';
import { FORMATS } from './formats.js';
import { NOW, SAMPLES, sourceOf } from './sample-deliveries.spec-kit.js';
import type { Sample } from './sample-deliveries.spec-kit.js';

/** Authenticates and maps as the service does. */
function read(sample: Sample, change: { body?: unknown; headers?: Record<string, string>; source?: object } = {}) {
  const source = { ...sample.source, ...change.source };
  const body = typeof change.body === 'string' ? change.body : JSON.stringify(change.body ?? JSON.parse(sample.body));
  const rawBody = Buffer.from(body);
  const headers = { ...sample.headers, ...sample.sign(body), ...change.headers };
  const format = FORMATS[source.type as keyof typeof FORMATS];
  const proof = authenticate(source.auth!, { headers, rawBody }, { now: NOW, hmac: format.hmac });
  if (proof === undefined) throw new Error('not authenticated');
  return readDelivery(source, format, { headers, rawBody }, proof, NOW).items.map(({ message }) => message);
}
const bodyOf = (sample: Sample) => JSON.parse(sample.body) as JsonObject;

describe('every format', () => {
  it('has a sample', () => expect(Object.keys(SAMPLES).sort()).toEqual([...HOOK_TYPES].sort()));

  it.each<[string, string[], string | undefined, string]>([
    ['alertmanager', ['alertmanager.alert'], 'host/web-1', '2026-03-01T11:59:00.000Z'],
    ['grafana', ['grafana.alert'], 'host/web-1', '2026-03-01T11:59:00.000Z'],
    ['pagerduty', ['pagerduty.incident.triggered'], 'service/pay', '2026-03-01T11:59:30.500Z'],
    ['pagerduty-events', ['pagerduty.event.trigger'], 'host/web-1', '2026-03-01T11:59:00.000Z'],
    ['datadog', ['datadog.alert'], 'host/web-1', '2026-03-01T11:59:00.000Z'],
    ['github', ['github.workflow_run.completed'], 'repo/acme/shop', NOW.toISOString()],
    ['standard-webhooks', ['disk.failed'], undefined, '2026-03-01T11:59:59.000Z'],
    ['cloudevents', ['plant.machine.state'], 'machine/7', NOW.toISOString()],
    ['generic', ['shop.health', 'shop.health'], 'host/a', NOW.toISOString()],
  ])('%s', (name, types, subject, time) => {
    const messages = read(SAMPLES[name]!);
    expect(messages.map((one) => one.type)).toEqual(types);
    expect(messages[0]).toMatchObject({ time, via: `s-${name}`, ...(subject === undefined ? {} : { subject }) });
    expect(new Set(messages.map((one) => one.id)).size).toBe(messages.length);
    // The same again is a repeat; no credential has come along.
    expect(read(SAMPLES[name]!).map((one) => one.id)).toEqual(messages.map((one) => one.id));
    expect(JSON.stringify(messages)).not.toMatch(/tango|R0UT1NG|sha256=|v1=/);
  });

  it.each<[string, object | string, string]>([
    ['grafana', { alerts: {} }, '/alerts'],
    ['pagerduty', { event: { id: 'x' } }, '/event'],
    ['datadog', { id: '1' }, '/transition'],
    ['github', [], ''],
    ['cloudevents', { specversion: '1.0' }, '/id'],
    ['generic', { kind: 'health' }, ''],
    ['alertmanager', '"text"', '/alerts'],
  ])('%s that makes no sense is refused with the place', (name, body, pointer) => {
    expect(() => read(SAMPLES[name]!, { body })).toThrow(
      expect.objectContaining({
        code: 'validation',
        options: { errors: expect.arrayContaining([expect.objectContaining({ pointer })]) },
      }),
    );
  });

  it.each([
    ['not JSON', '{"alerts": [', 'malformed-json'],
    ['too deep', `{"alerts":${'['.repeat(40)}${']'.repeat(40)}}`, 'validation'],
    [
      'too many keys',
      JSON.stringify({ alerts: [], x: Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [i, 0])) }),
      'validation',
    ],
    ['a prototype key', '{"__proto__": {"alerts": []}}', 'validation'],
    ['too many alerts', JSON.stringify({ alerts: Array.from({ length: 1_001 }, () => ({})) }), 'payload-too-large'],
  ])('%s', (_what, body, code) => {
    expect(() => read(SAMPLES['alertmanager']!, { body })).toThrow(expect.objectContaining({ code }));
  });

  it('keeps the data of one event below the bound of events', () => {
    const body = { ...bodyOf(SAMPLES['github']!), blob: 'x'.repeat(300_000) };
    expect(() => read(SAMPLES['github']!, { body })).toThrow(expect.objectContaining({ code: 'payload-too-large' }));
    const source = { mapping: { data: { conclusion: '${body.workflow_run.conclusion}' } } };
    expect(read(SAMPLES['github']!, { body, source })[0]!.data).toEqual({ conclusion: 'failure' });
  });
});

describe('GitHub', () => {
  it('reads its form', () => {
    const form = new URLSearchParams({ payload: SAMPLES['github']!.body }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    expect(read(SAMPLES['github']!, { body: form, headers })[0]).toMatchObject({ subject: 'repo/acme/shop' });
  });

  it('takes a ping', () => {
    const headers = { 'x-github-event': 'ping' };
    expect(read(SAMPLES['github']!, { body: { zen: 'Keep it simple.' }, headers })[0]).toMatchObject({
      type: 'github.ping',
    });
  });
});

describe('the PagerDuty Events API', () => {
  const sample = SAMPLES['pagerduty-events']!;
  const { payload } = bodyOf(sample) as { payload: JsonObject };

  it.each<[string, object, string | undefined]>([
    ['a resource path as its source', { payload: { ...payload, source: 'host/dc1/web-1' } }, 'host/dc1/web-1'],
    [
      'a resolve by a key that is a path',
      { event_action: 'resolve', dedup_key: 'host/a', payload: undefined },
      'host/a',
    ],
    ['a resolve by another key', { event_action: 'resolve', dedup_key: 'k-1', payload: undefined }, undefined],
  ])('%s', (_what, change, subject) => {
    expect(read(sample, { body: { ...bodyOf(sample), ...change } })[0]!.subject).toBe(subject);
  });

  it('a trigger after a resolve is a new event, a repeat is none', () => {
    const at = (timestamp: string) =>
      read(sample, { body: { ...bodyOf(sample), payload: { ...payload, timestamp } } })[0]!.id;
    expect(at('2026-03-01T11:59:00Z')).toBe(at('2026-03-01T11:59:00+00:00'));
    expect(at('2026-03-01T11:59:00Z')).not.toBe(at('2026-03-01T12:59:00Z'));
  });

  it.each([
    ['/event_action', { event_action: 'open' }],
    ['/payload', { payload: undefined }],
    ['/payload/severity', { payload: { ...payload, severity: 'bad' } }],
    ['/payload/source', { payload: { ...payload, source: '' } }],
    ['/dedup_key', { event_action: 'resolve', dedup_key: undefined }],
    ['/dedup_key', { dedup_key: 'x'.repeat(256) }],
  ])('refuses %s', (pointer, change) => {
    expect(() => read(sample, { body: { ...bodyOf(sample), ...change } })).toThrow(
      expect.objectContaining({ options: { errors: [expect.objectContaining({ pointer })] } }),
    );
  });
});

describe('Datadog', () => {
  it.each<[string, object, string | undefined, string]>([
    ['a recovery', { transition: 'Recovered' }, 'host/web-1', 'resolved'],
    ['the host as a variable', { host: 'db-9', transition: 'No Data' }, 'host/db-9', 'firing'],
    ['a service', { scope: 'service:pay', tags: '' }, 'service/pay', 'firing'],
    ['nothing named', { scope: '*', tags: '' }, undefined, 'firing'],
  ])('%s', (_what, change, subject, status) => {
    const [message] = read(SAMPLES['datadog']!, { body: { ...bodyOf(SAMPLES['datadog']!), ...change } });
    expect(message).toMatchObject({ data: { status } });
    expect(message!.subject).toBe(subject);
  });
});

describe('generic', () => {
  const plain = { ...SAMPLES['generic']!, source: sourceOf('generic', { type: 'none' }) };
  it.each([
    ['a form', 'application/x-www-form-urlencoded', 'a=1&b=x%20y', { a: '1', b: 'x y' }],
    ['text', 'text/plain', 'hello', 'hello'],
    ['bytes', 'application/octet-stream', 'hi', 'aGk='],
    ['no type', '', '{"a":1}', { a: 1 }],
  ])('reads %s', (_what, type, body, data) => {
    expect(read(plain, { body, headers: { 'content-type': type } })[0]!.data).toEqual(data);
  });

  it('splits a list; an item that does not fit names its place', () => {
    const messages = read(SAMPLES['generic']!);
    expect(messages.map((one) => one.data)).toEqual([{ name: 'a' }, { name: 'b' }]);
    const source = { mapping: { split: '${body.hosts}', type: '${item.kind}' } };
    expect(() => read(SAMPLES['generic']!, { source })).toThrow(
      expect.objectContaining({ options: { errors: [expect.objectContaining({ pointer: '/0' })] } }),
    );
  });

  it('the same bytes an hour later are news, unless they are signed', () => {
    const later = (sample: Sample, at: Date) => {
      const rawBody = Buffer.from(sample.body);
      const proof = sample === plain ? {} : { signed: 'd' };
      return readDelivery(sample.source, FORMATS.generic, { headers: sample.headers, rawBody }, proof, at).items[0]!
        .message.id;
    };
    const hour = new Date(NOW.getTime() + 3_600_000);
    expect(later(plain, NOW)).toBe(later(plain, new Date(NOW.getTime() + 60_000)));
    expect(later(plain, NOW)).not.toBe(later(plain, hour));
    expect(later(SAMPLES['generic']!, NOW)).toBe(later(SAMPLES['generic']!, hour));
  });
});

it('CloudEvents in binary mode are refused where only the body is signed', () => {
  const headers = {
    'content-type': 'application/json',
    'ce-id': '1',
    'ce-source': '/x',
    'ce-type': 't',
    'ce-specversion': '1.0',
  };
  expect(() => read(SAMPLES['cloudevents']!, { body: {}, headers })).toThrow(/does not cover/);
});
