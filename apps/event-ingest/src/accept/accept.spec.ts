import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startIngest } from '../ingest-app.spec-kit.js';
import type { Answer, IngestApp } from '../ingest-app.spec-kit.js';

let ingest: IngestApp;
beforeAll(async () => void (ingest = await startIngest()));
afterAll(() => ingest.close());
beforeEach(() => ingest.database.query('TRUNCATE ingest.event, ingest.identity, ingest.delivery, bus.message'));

const STRUCTURED = { 'content-type': 'application/cloudevents+json' };
const BATCH = { 'content-type': 'application/cloudevents-batch+json' };
const event = (more: object = {}) => ({
  specversion: '1.0',
  id: 'e-1',
  source: '/spec',
  type: 'host.state',
  subject: 'host/dc1/a',
  data: { state: 'down' },
  ...more,
});
const send = (body: unknown, headers: Record<string, string> = STRUCTURED) =>
  ingest.call('POST', '/v1/events', body, headers);
const stored = async () =>
  Number((await ingest.database.query<{ n: string }>('SELECT count(*) n FROM ingest.event'))[0]!.n);

describe('POST /v1/events: content modes', () => {
  it('takes a structured event, stores it with its body and publishes it', async () => {
    const time = '2026-01-02T03:04:05.678Z';
    const answer = await send(event({ time }));
    expect(answer.status).toBe(202);
    const item = answer.body.items[0]!;
    expect(item).toEqual({
      id: 'e-1',
      source: '/spec',
      eventId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      duplicate: false,
    });
    const [message, ...more] = await ingest.messages();
    expect(more).toEqual([]);
    expect(message).toEqual({
      eventId: item.eventId,
      source: '/spec',
      id: 'e-1',
      type: 'host.state',
      subject: 'host/dc1/a',
      time,
      receivedAt: expect.any(String),
      data: { state: 'down' },
      state: { state: 'down' },
      correlationId: item.eventId,
      hops: 0,
    });
    const [delivery] = await ingest.database.query<{ body: Buffer; content_type: string }>(
      'SELECT * FROM ingest.delivery',
    );
    expect(JSON.parse(delivery!.body.toString())).toEqual(event({ time }));
    expect(delivery!.content_type).toBe('application/cloudevents+json');
  });

  it('takes a binary event and decodes its headers once', async () => {
    const answer = await send(
      { state: 'up' },
      {
        'content-type': 'application/json',
        'ce-specversion': '1.0',
        'ce-id': 'b%201',
        'ce-source': '/b',
        'ce-type': 'host.state',
        'ce-subject': '"host/dc1/%E4%B8%AD%2541"',
        'ce-hops': '3',
        'ce-correlationid': 'c-1',
        'ce-causationid': 'd-1',
        'ce-team': 'blue',
      },
    );
    expect(answer.status).toBe(202);
    expect((await ingest.messages())[0]).toMatchObject({
      id: 'b 1',
      subject: 'host/dc1/中%41',
      hops: 3,
      correlationId: 'c-1',
      causationId: 'd-1',
      state: { state: 'up' },
      extensions: { team: 'blue' },
      datacontenttype: 'application/json',
    });
  });

  it('takes text data and an event without data in binary mode', async () => {
    const headers = { 'ce-specversion': '1.0', 'ce-source': '/b', 'ce-type': 'log.line' };
    expect((await send('hello', { ...headers, 'ce-id': 't', 'content-type': 'text/plain' })).status).toBe(202);
    expect((await send(undefined, { ...headers, 'ce-id': 'n' })).status).toBe(202);
    expect((await ingest.messages()).map((m) => [m.id, m.data]).sort()).toEqual([
      ['n', null],
      ['t', 'hello'],
    ]);
  });

  it('takes a batch in request order, also an empty one', async () => {
    const answer = await send([event({ id: 'z' }), event({ id: 'a' }), event({ id: 'z' })], BATCH);
    expect(answer.status).toBe(202);
    expect(answer.body.items.map((i) => [i.id, i.duplicate])).toEqual([
      ['z', false],
      ['a', false],
      ['z', true],
    ]);
    expect(answer.body.items[2]!.eventId).toBe(answer.body.items[0]!.eventId);
    expect(await send([], BATCH)).toMatchObject({ status: 202, body: { items: [] } });
    expect(await stored()).toBe(2);
  });

  it.each([
    ['JSON', 'application/json', '{"a":1}', { a: 1 }],
    ['text', 'text/plain', 'héllo', 'héllo'],
    ['bytes', 'image/png', 'x', Buffer.from('x').toString('base64')],
  ])('decodes data_base64 of %s', async (_what, datacontenttype, text, data) => {
    const { data: _data, ...rest } = event({ datacontenttype, data_base64: Buffer.from(text).toString('base64') });
    expect((await send(rest)).status).toBe(202);
    expect((await ingest.messages())[0]!.data).toEqual(data);
  });
});

describe('POST /v1/events: repeats', () => {
  it('recognises a repeat in any content mode and publishes it once', async () => {
    const first = await send(event({ time: '2026-01-02T03:04:05Z' }));
    const again = await send(event({ time: '2026-01-02T03:04:05Z' }));
    const binary = await send(
      { state: 'down' },
      {
        'content-type': 'application/json',
        'ce-specversion': '1.0',
        'ce-id': 'e-1',
        'ce-source': '/spec',
        'ce-type': 'host.state',
        'ce-subject': 'host/dc1/a',
        'ce-time': '2026-01-02T03:04:05Z',
      },
    );
    for (const answer of [again, binary]) {
      expect(answer).toMatchObject({
        status: 202,
        body: { items: [{ eventId: first.body.items[0]!.eventId, duplicate: true }] },
      });
    }
    expect(await ingest.messages()).toHaveLength(1);
  });

  it('refuses other content under the same source and id, naming the index, and stores nothing of the batch', async () => {
    await send(event());
    const answer = await send([event({ id: 'new' }), event({ data: { state: 'up' } })], BATCH);
    expect(answer).toMatchObject({
      status: 409,
      body: { code: 'event-conflict', index: 1, errors: [{ pointer: '/1' }] },
    });
    expect(await stored()).toBe(1);
    expect(await ingest.messages()).toHaveLength(1);
  });

  it('stores each event once when the same ones are sent at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => send(event({ id: `e-${n % 20}` }))));
    expect(answers.every((a) => a.status === 202)).toBe(true);
    const ids = new Map<string, Set<string>>();
    for (const { body } of answers) {
      const { id, eventId } = body.items[0]!;
      ids.set(id, (ids.get(id) ?? new Set()).add(eventId));
    }
    expect([...ids.values()].every((set) => set.size === 1)).toBe(true);
    expect(answers.filter((a) => !a.body.items[0]!.duplicate)).toHaveLength(20);
    expect(await ingest.messages()).toHaveLength(20);
    expect(await stored()).toBe(20);
  });

  it('does not let a request that conflicts take its neighbours of the same group with it', async () => {
    await send(event({ id: 'taken' }));
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        send(n % 4 === 0 ? event({ id: 'taken', data: { n } }) : event({ id: `ok-${n}` })),
      ),
    );
    expect(answers.map((a) => a.status)).toEqual(Array.from({ length: 40 }, (_, n) => (n % 4 === 0 ? 409 : 202)));
    expect(await stored()).toBe(31);
  });
});

describe('POST /v1/events: time, subject, hops', () => {
  it('uses the receive time without one or with one too far ahead', async () => {
    const ahead = new Date(Date.now() + 10 * 60_000).toISOString();
    const near = new Date(Date.now() + 60_000).toISOString();
    await send([event({ id: 'none' }), event({ id: 'ahead', time: ahead }), event({ id: 'near', time: near })], BATCH);
    const [none, far, close] = await ingest.messages();
    expect(none).toMatchObject({ clockSkew: true, time: none!.receivedAt });
    expect(far).toMatchObject({ clockSkew: true, time: far!.receivedAt });
    expect(close!.time).toBe(near);
    expect(close!.clockSkew).toBeUndefined();
  });

  it('stores events without a legal subject as unmapped, without state', async () => {
    const answer = await send(
      [event({ id: 'bad', subject: 'host//x' }), event({ id: 'none', subject: undefined })],
      BATCH,
    );
    expect(answer.status).toBe(202);
    const unmapped = await ingest.call('GET', '/v1/events?unmapped=true');
    expect(unmapped.body.items.map((e) => e['unmapped']).sort()).toEqual([
      'it has no subject',
      'its subject "host//x" has an empty part',
    ]);
    for (const message of await ingest.messages()) {
      expect(message.subject).toBeUndefined();
      expect(message.state).toBeUndefined();
    }
  });

  it('reports state only of .state events with object data', async () => {
    await send([event({ id: '1', type: 'host.restarted' }), event({ id: '2', data: [1] })], BATCH);
    expect((await ingest.messages()).map((m) => m.state)).toEqual([undefined, undefined]);
  });

  it('takes 16 hops and refuses 17', async () => {
    expect((await send(event({ hops: 16 }))).status).toBe(202);
    expect(await send(event({ id: 'x', opsloophops: 17 }))).toMatchObject({
      status: 400,
      body: { code: 'validation', errors: [{ pointer: '/opsloophops' }] },
    });
  });
});

describe('POST /v1/events: bad input', () => {
  const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) });
  it.each<[string, unknown, Record<string, string>, number, string, string?]>([
    ['malformed JSON', '{"id":', STRUCTURED, 400, 'malformed-json'],
    ['no CloudEvent', { a: 1 }, {}, 400, 'validation', '/headers/ce-specversion'],
    ['a missing attribute', { ...event(), type: undefined }, STRUCTURED, 400, 'validation', '/type'],
    ['an empty id', event({ id: '' }), STRUCTURED, 400, 'validation', '/id'],
    ['a number as id', event({ id: 5 }), STRUCTURED, 400, 'validation', '/id'],
    ['another specversion', event({ specversion: '0.3' }), STRUCTURED, 400, 'validation', '/specversion'],
    ['a source with spaces', event({ source: 'a b' }), STRUCTURED, 400, 'validation', '/source'],
    ['a time that is none', event({ time: 'yesterday' }), STRUCTURED, 400, 'validation', '/time'],
    ['a day that is none', event({ time: '2026-13-40T00:00:00Z' }), STRUCTURED, 400, 'validation', '/time'],
    ['an attribute name with capitals', event({ Foo: 'x' }), STRUCTURED, 400, 'validation', '/Foo'],
    ['an object as extension', event({ foo: {} }), STRUCTURED, 400, 'validation', '/foo'],
    ['data twice', event({ data_base64: 'eA==' }), STRUCTURED, 400, 'validation', '/data_base64'],
    ['bad base64', event({ data: null, data_base64: '$$' }), STRUCTURED, 400, 'validation', '/data_base64'],
    ['a NUL in data', event({ data: { a: ['x\u0000y'] } }), STRUCTURED, 400, 'validation', '/data/a/0'],
    [
      'half a surrogate',
      JSON.stringify(event()).replace('down', '\\ud800'),
      STRUCTURED,
      400,
      'validation',
      '/data/state',
    ],
    [
      'a number beyond doubles',
      JSON.stringify(event()).replace('"down"', '1e999'),
      STRUCTURED,
      400,
      'validation',
      '/data/state',
    ],
    [
      'prototype keys',
      '{"specversion":"1.0","id":"a","source":"s","type":"t","data":{"__proto__":{}}}',
      STRUCTURED,
      400,
      'validation',
      '/data/__proto__',
    ],
    ['deep nesting', event({ data: deep(40) }), STRUCTURED, 400, 'validation'],
    ['a list in structured mode', [event()], STRUCTURED, 400, 'validation', ''],
    ['an object in batched mode', event(), BATCH, 400, 'validation', ''],
    [
      'one bad event of three',
      [event({ id: '1' }), event({ id: '2', type: '' }), event({ id: '3' })],
      BATCH,
      400,
      'validation',
      '/1/type',
    ],
    [
      '101 events',
      Array.from({ length: 101 }, (_, n) => event({ id: String(n) })),
      BATCH,
      413,
      'payload-too-large',
      '',
    ],
    ['an event above 256 KB', event({ data: 'x'.repeat(257 * 1024) }), STRUCTURED, 413, 'payload-too-large', ''],
    ['a body of 2 MB', event({ data: 'x'.repeat(2 * 1024 * 1024) }), STRUCTURED, 413, 'payload-too-large'],
    ['XML', '<a/>', { 'content-type': 'application/xml' }, 415, 'unsupported-media-type'],
    [
      'a header that is not percent-encoded',
      {},
      { 'ce-specversion': '1.0', 'ce-id': '%zz', 'ce-source': '/s', 'ce-type': 't' },
      400,
      'validation',
      '/headers/ce-id',
    ],
    [
      'a header of bad UTF-8',
      {},
      { 'ce-specversion': '1.0', 'ce-id': '%ff', 'ce-source': '/s', 'ce-type': 't' },
      400,
      'validation',
      '/headers/ce-id',
    ],
    [
      'ce-datacontenttype',
      {},
      { 'ce-specversion': '1.0', 'ce-id': 'a', 'ce-source': '/s', 'ce-type': 't', 'ce-datacontenttype': 'x' },
      400,
      'validation',
      '/headers/ce-datacontenttype',
    ],
    ['no token', event(), { ...STRUCTURED, authorization: '' }, 401, 'authentication'],
  ])('%s → problem, nothing stored', async (_what, body, headers, status, code, pointer) => {
    const answer = await send(body, headers);
    expect(answer).toMatchObject({ status, body: { code, status } });
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    if (pointer !== undefined) expect(answer.body.errors[0]!.pointer).toBe(pointer);
    expect(await stored()).toBe(0);
    expect(await ingest.messages()).toEqual([]);
  });
});

describe('POST /v1/events: overload', () => {
  it('refuses with 503 and Retry-After when too many wait, and stores all that it took', async () => {
    const blocker = await ingest.database.pool.connect();
    try {
      await blocker.query('BEGIN; LOCK TABLE ingest.event IN ACCESS EXCLUSIVE MODE');
      // One group is on its way; behind it 2,048 events may wait.
      const batch = (n: number) =>
        send(
          Array.from({ length: 100 }, (_, i) => event({ id: `${n}-${i}` })),
          BATCH,
        );
      const answers = Array.from({ length: 24 }, (_, n) => batch(n));
      const refused = await Promise.race(answers);
      expect(refused).toMatchObject({ status: 503, body: { code: 'overload' } });
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      await blocker.query('ROLLBACK');
      const ended = await Promise.all(answers);
      const taken = ended.filter((answer) => answer.status === 202).length;
      expect(ended.filter((answer) => answer.status === 503)).toHaveLength(24 - taken);
      expect(taken).toBeGreaterThanOrEqual(20);
      expect(await stored()).toBe(taken * 100);
    } finally {
      blocker.release();
    }
  });
});

describe('reading events', () => {
  it('lists newest first in pages, with filters', async () => {
    for (const n of [1, 2, 3, 4, 5])
      await send(event({ id: `e-${n}`, type: n % 2 ? 'a.state' : 'b_x.state', subject: `host/dc1/h${n}` }));
    const pages: string[][] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined;) {
      const { body }: Answer = await ingest.call(
        'GET',
        `/v1/events?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`,
      );
      pages.push(body.items.map((e) => e.id));
      cursor = body.nextCursor;
    }
    expect(pages).toEqual([['e-5', 'e-4'], ['e-3', 'e-2'], ['e-1']]);
    const ids = async (query: string) => (await ingest.call('GET', `/v1/events?${query}`)).body.items.map((e) => e.id);
    expect(await ids('type=a.state')).toEqual(['e-5', 'e-3', 'e-1']);
    expect(await ids('type=b_*')).toEqual(['e-4', 'e-2']);
    expect(await ids('type=b.*')).toEqual([]);
    expect(await ids('subject=host/dc1/h3')).toEqual(['e-3']);
    expect(await ids('source=/other')).toEqual([]);
    expect(await ids('since=1h&type=a.*')).toEqual(['e-5', 'e-3', 'e-1']);
    expect(await ids('until=1h')).toEqual([]);
    expect(await ids(`since=${new Date(Date.now() + 60_000).toISOString()}`)).toEqual([]);
  });

  it.each([
    ['limit=0', '/limit'],
    ['limit=501', '/limit'],
    ['cursor=%21', '/cursor'],
    ['since=soon', '/since'],
    ['foo=1', '/foo'],
  ])('refuses ?%s', async (query, pointer) => {
    expect(await ingest.call('GET', `/v1/events?${query}`)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer }] },
    });
  });

  it('shows one event whole, leaves large data out of lists, and knows no other', async () => {
    const { body } = await send(event({ data: { text: 'x'.repeat(10_000) } }));
    const { eventId } = body.items[0]!;
    expect(((await ingest.call('GET', `/v1/events/${eventId}`)).body['data'] as { text: string }).text).toHaveLength(
      10_000,
    );
    const [item] = (await ingest.call('GET', '/v1/events')).body.items;
    expect(item).toMatchObject({ eventId, dataOmitted: true });
    expect(item!['data']).toBeUndefined();
    for (const other of ['e-1', '018f0000-0000-7000-8000-000000000000']) {
      expect(await ingest.call('GET', `/v1/events/${other}`)).toMatchObject({
        status: 404,
        body: { code: 'not-found' },
      });
    }
  });

  it('replays an event under a new id: shadow without state and with its time, active now', async () => {
    const time = '2026-01-02T03:04:05.000Z';
    const original = (await send(event({ time }))).body.items[0]!.eventId;
    const shadow = await ingest.call('POST', `/v1/events/${original}/replay`);
    expect(shadow.status).toBe(202);
    const active = await ingest.call('POST', `/v1/events/${original}/replay?mode=active`);
    const [, first, second] = await ingest.messages();
    expect(first).toMatchObject({
      eventId: shadow.body.items[0]!.eventId,
      replayOf: original,
      replayMode: 'shadow',
      time,
      correlationId: original,
      causationId: original,
    });
    expect(first!.state).toBeUndefined();
    expect(second).toMatchObject({
      eventId: active.body.items[0]!.eventId,
      replayMode: 'active',
      state: { state: 'down' },
      time: second!.receivedAt,
    });
    expect(await ingest.call('POST', `/v1/events/${original}/replay?mode=loud`)).toMatchObject({ status: 400 });
    expect(await ingest.call('POST', '/v1/events/nothing/replay')).toMatchObject({ status: 404 });
  });

  it('answers the other apps, and only them, as the event travels', async () => {
    const { eventId } = (await send(event())).body.items[0]!;
    const service = { authorization: 'Bearer ops_spec_service-key-of-this-spec' };
    const [message] = await ingest.messages();
    expect(await ingest.call('POST', '/internal/events/get', { eventId }, service)).toMatchObject({
      status: 200,
      body: message!,
    });
    expect(await ingest.call('POST', '/internal/events/get', { eventId })).toMatchObject({ status: 403 });
    expect(await ingest.call('POST', '/internal/events/get', { eventId: 'x' }, service)).toMatchObject({ status: 404 });
  });
});
