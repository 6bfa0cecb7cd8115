import { createHmac } from 'node:crypto';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startIngest } from '../ingest-app.spec-kit.js';
import type { IngestApp } from '../ingest-app.spec-kit.js';
import { SilenceService } from '../watch-silence/silence.service.js';

let ingest: IngestApp;
beforeAll(async () => void (ingest = await startIngest()));
afterAll(() => ingest.close());

const put = (name: string, more: object) =>
  ingest.call('PUT', `/v1/sources/${name}`, { dsl: 'opsloop/v1', kind: 'source', name, owner: 'team-spec', ...more });
const deliver = (name: string, body: unknown, headers: Record<string, string> = {}) =>
  ingest.call('POST', `/v1/hooks/${name}`, body, { authorization: '', ...headers });
const letters = async (query = '') => (await ingest.call('GET', `/v1/dead-letters${query}`)).body.items;
const messagesOf = async (via: string) => (await ingest.messages()).filter((one) => one.via === via);

describe('dead letters', () => {
  const token = { 'x-token': 't' };
  const mapping = (subject: string) => ({
    type: 'generic',
    auth: { type: 'token', header: 'X-Token', token: 't' },
    mapping: { type: 'disk.state', subject: 'host/${body.host}', data: { state: subject } },
  });

  it('keep what a known sender sent and nobody could read, until its mapping is repaired', async () => {
    await put('disks', mapping('${body.condition}'));
    const body = { host: 'a', state: 'full' };
    for (let times = 0; times < 2; times++) {
      const answer = await deliver('disks', body, { ...token, 'user-agent': 'disk-watch' });
      expect(answer).toMatchObject({ status: 400, body: { code: 'validation', deadLetter: expect.any(String) } });
    }
    await deliver('disks', '{"host": ', token);
    const [broken, unmappable] = await letters('?source=disks');
    expect(broken).toMatchObject({ code: 'malformed-json', kind: 'delivery', times: 1 });
    expect(unmappable).toMatchObject({ code: 'validation', times: 2, cause: expect.stringContaining('mapping.data') });
    expect((await ingest.call('GET', `/v1/dead-letters/${unmappable!.id}`)).body).toMatchObject({
      body: JSON.stringify(body),
      headers: { 'user-agent': 'disk-watch' },
    });
    expect(JSON.stringify(await letters())).not.toContain('"x-token"');

    expect(await ingest.call('POST', `/v1/dead-letters/${unmappable!.id}/requeue`)).toMatchObject({ status: 400 });
    await put('disks', mapping('${body.state}'));
    expect(await ingest.call('POST', '/v1/dead-letters/requeue', { source: 'disks' })).toMatchObject({
      status: 200,
      body: { requeued: 1, failed: [{ id: broken!.id, code: 'malformed-json' }], more: false },
    });
    expect(await messagesOf('disks')).toMatchObject([{ subject: 'host/a', state: { state: 'full' } }]);
    expect(await letters('?source=disks')).toMatchObject([{ id: broken!.id }]);
    expect(await ingest.call('DELETE', `/v1/dead-letters/${broken!.id}`)).toMatchObject({ status: 204 });
    expect(await ingest.call('DELETE', `/v1/dead-letters/${broken!.id}`)).toMatchObject({ status: 404 });
  });

  it('hold nothing of strangers', async () => {
    expect(await deliver('disks', '{"host": ', { 'x-token': 'wrong' })).toMatchObject({ status: 401 });
    expect(await letters('?source=disks')).toEqual([]);
  });

  it('can be listed in pages and by what they say', async () => {
    for (let i = 0; i < 3; i++) await deliver('disks', { no: i }, token);
    const first = await ingest.call('GET', '/v1/dead-letters?source=disks&limit=2');
    expect(first.body.items).toHaveLength(2);
    expect(await letters(`?source=disks&limit=2&cursor=${first.body.nextCursor}`)).toHaveLength(1);
    expect(await letters('?cause=*mapping.data*&since=1h&code=validation')).toHaveLength(3);
    expect(await letters('?cause=nothing*')).toEqual([]);
    expect(await ingest.call('GET', '/v1/dead-letters?colour=red')).toMatchObject({ status: 400 });
  });

  it('hold events that an app could not handle, and give them to it again', async () => {
    await ingest.call(
      'POST',
      '/v1/events',
      { specversion: '1.0', id: 'poison', source: '/spec', type: 'x', subject: 'host/a' },
      { 'content-type': 'application/cloudevents+json' },
    );
    const bus = async () =>
      ingest.database.query<{ id: string }>(
        `SELECT id FROM bus.message WHERE topic = 'events' AND body->>'id' = 'poison'`,
      );
    await ingest.database.query(
      `INSERT INTO bus.dead (grp, message_id, msg_id, tenant, topic, part, key, body, cause)
       SELECT 'decision-events', id, msg_id, tenant, topic, part, key, body, 'it threw' FROM bus.message WHERE body->>'id' = 'poison'`,
    );
    const [letter] = await letters('?kind=handler');
    expect(letter).toMatchObject({ kind: 'handler', handler: 'decision-events', cause: 'it threw', source: '/spec' });
    expect(await ingest.call('POST', `/v1/dead-letters/${letter!.id}/requeue`)).toMatchObject({ status: 202 });
    expect([(await bus()).length, await letters('?kind=handler')]).toEqual([2, []]);
    expect(await ingest.call('POST', `/v1/dead-letters/${letter!.id}/requeue`)).toMatchObject({ status: 404 });
  });

  it('PagerDuty gets no 4xx for what makes no sense, since three of them end the subscription', async () => {
    await put('pd', { type: 'pagerduty', auth: { type: 'hmac', secret: 's' } });
    const body = '{"event": {}}';
    const signature = `v1=${createHmac('sha256', 's').update(body).digest('hex')}`;
    const answer = await deliver('pd', body, { 'x-pagerduty-signature': signature });
    expect(answer).toMatchObject({ status: 202, body: { items: [], deadLetter: expect.any(String) } });
    expect(await letters('?source=pd')).toHaveLength(1);
  });
});

describe('senders', () => {
  it('the Events API finds its source by the routing key, also while it changes', async () => {
    const key = { type: 'pagerduty-events', auth: { type: 'routing-key', key: ['k-new', 'k-old'] } };
    expect(await put('events-api', key)).toMatchObject({ status: 201 });
    const trigger = (routing_key: string, dedup_key?: string) =>
      ingest.call(
        'POST',
        '/v2/enqueue',
        {
          routing_key,
          event_action: 'trigger',
          dedup_key,
          payload: { summary: 's', source: 'web-9', severity: 'error', timestamp: '2026-01-01T00:00:00Z' },
        },
        { authorization: '' },
      );
    expect(await trigger('k-new', 'one')).toMatchObject({ status: 202, body: { status: 'success', dedup_key: 'one' } });
    expect(await trigger('k-old')).toMatchObject({
      status: 202,
      body: { dedup_key: expect.stringMatching(/^[0-9a-f]{32}$/) },
    });
    expect(await trigger('k-none')).toMatchObject({ status: 401 });
    expect(await messagesOf('events-api')).toHaveLength(2);
    expect(await put('events-api-2', key)).toMatchObject({ status: 409, body: { code: 'conflict' } });
    await put('events-api', { ...key, auth: { type: 'routing-key', key: ['***'] } });
    expect([(await trigger('k-new')).status, (await trigger('k-old')).status]).toEqual([202, 401]);
    const shown = await ingest.call('GET', '/v1/sources/events-api');
    expect(shown.body['body']).toMatchObject({ auth: { key: ['***'] } });
  });

  it('may change their secret in two steps', async () => {
    const generic = (token: string | string[]) => ({ type: 'generic', auth: { type: 'bearer', token } });
    const statuses = async () =>
      Promise.all(
        ['old', 'new'].map(async (t) => (await deliver('turn', { t }, { authorization: `Bearer ${t}` })).status),
      );
    await put('turn', generic('old'));
    expect(await put('turn', generic(['new', '***']))).toMatchObject({ status: 200, body: { change: 'changed' } });
    expect(await statuses()).toEqual([202, 202]);
    expect(await put('turn', generic(['***', '***']))).toMatchObject({ body: { change: 'unchanged' } });
    expect(await put('turn', generic('***'))).toMatchObject({ body: { change: 'changed' } });
    expect(await statuses()).toEqual([401, 202]);
    expect(await put('turn', generic(['***', '***']))).toMatchObject({ status: 400 });
  });

  it('that send too much are told when to come back, in the status they understand', async () => {
    const limit = { perSecond: 0.01, burst: 1 };
    await put('slow', { type: 'generic', auth: { type: 'none' }, limit });
    await put('slow-ce', { type: 'cloudevents', auth: { type: 'none' }, limit });
    const ce = (id: string) => ({ specversion: '1.0', id, source: '/x', type: 't', subject: 'host/a' });
    const type = { 'content-type': 'application/cloudevents+json' };
    expect([(await deliver('slow', { n: 1 })).status, (await deliver('slow-ce', ce('1'), type)).status]).toEqual([
      202, 202,
    ]);
    const [generic, event] = [await deliver('slow', { n: 2 }), await deliver('slow-ce', ce('2'), type)];
    expect([generic.status, event.status, event.headers.get('retry-after')]).toEqual([503, 429, '100']);
    expect(Number(generic.headers.get('retry-after'))).toBeGreaterThan(50);
    expect([(await messagesOf('slow')).length, await letters('?source=slow')]).toEqual([1, []]);
  });

  it('of CloudEvents ask before they deliver', async () => {
    await put('ce-hook', {
      type: 'cloudevents',
      auth: { type: 'bearer', token: 'q' },
      origins: ['eventgrid.example'],
      limit: { perSecond: 2 },
    });
    const ask = (name: string, headers: Record<string, string>) =>
      ingest.call('OPTIONS', `/v1/hooks/${name}`, undefined, { authorization: '', ...headers });
    const yes = await ask('ce-hook', { 'webhook-request-origin': 'eventgrid.example', 'webhook-request-rate': '1000' });
    expect([yes.status, yes.headers.get('webhook-allowed-origin'), yes.headers.get('webhook-allowed-rate')]).toEqual([
      200,
      'eventgrid.example',
      '120',
    ]);
    expect(yes.headers.get('allow')).toContain('POST');
    expect(await ask('ce-hook', { 'webhook-request-origin': 'evil.example' })).toMatchObject({ status: 403 });
    expect(await ask('ce-hook', {})).toMatchObject({ status: 400 });
    expect(await ask('slow', { 'webhook-request-origin': 'x' })).toMatchObject({ status: 405 });
    const event = { specversion: '1.0', id: 'q', source: '/x', type: 't' };
    const type = { 'content-type': 'application/cloudevents+json', authorization: '' };
    expect((await ingest.call('POST', '/v1/hooks/ce-hook?access_token=q', event, type)).status).toBe(202);
    expect((await ingest.call('POST', '/v1/hooks/ce-hook?access_token=r', event, type)).status).toBe(401);
    // Grafana may use PUT.
    expect((await ingest.call('PUT', '/v1/hooks/slow', { n: 9 }, { authorization: '' })).status).toBe(503);
  });

  it('that are expected and fall silent are an event, once per silence, and once when they are heard again', async () => {
    await put('watchdog', { type: 'generic', auth: { type: 'none' }, expectEvery: '1m' });
    await deliver('watchdog', { beat: 1 });
    const silence = ingest.app.get(SilenceService);
    const said = async () =>
      (await ingest.messages())
        .filter((one) => one.type.startsWith('source.'))
        .map((one) => [one.type, one.subject, one.state]);
    const age = () =>
      ingest.database.query(
        `UPDATE ingest.sender SET heard_at = heard_at - interval '1 hour', watched_since = watched_since - interval '1 hour' WHERE source = 'watchdog'`,
      );
    await silence.look(10);
    expect(await said()).toEqual([]);
    await age();
    // Both the loop and we look; together they say it once.
    await Promise.all([silence.look(10), silence.look(10)]);
    await eventually(async () =>
      expect(await said()).toEqual([['source.stale', 'source/watchdog', { state: 'stale' }]]),
    );
    await silence.look(10);
    const shown = async () => (await ingest.call('GET', '/v1/sources/watchdog')).body['meta'];
    expect(await shown()).toMatchObject({ lastHeard: expect.any(String), staleSince: expect.any(String) });
    await deliver('watchdog', { beat: 2 });
    await silence.look(10);
    await eventually(async () =>
      expect((await said()).at(-1)).toEqual(['source.heard', 'source/watchdog', { state: 'heard' }]),
    );
    await eventually(async () => expect(await shown()).not.toHaveProperty('staleSince'));
    await age();
    await eventually(async () =>
      expect((await said()).map(([type]) => type)).toEqual(['source.stale', 'source.heard', 'source.stale']),
    );
    await put('watchdog', { type: 'generic', auth: { type: 'none' } });
    await age();
    expect(await silence.look(10)).toBe(0);
  });
});

describe('POST /v1/events/replay', () => {
  const replay = (body: object) => ingest.call('POST', '/v1/events/replay', body);
  it('sends what fits again, oldest first, a page at a time, as shadow unless asked otherwise', async () => {
    const events = Array.from({ length: 5 }, (_, n) => ({
      specversion: '1.0',
      id: `r-${n}`,
      source: '/replay',
      type: 'r.state',
      subject: `host/r${n}`,
      data: { state: 'down' },
    }));
    await ingest.call('POST', '/v1/events', events, { 'content-type': 'application/cloudevents-batch+json' });
    const filter = { source: '/replay', type: 'r.*', since: '1h' };
    expect((await replay({ filter, dryRun: true })).body).toEqual({ matched: 5, replayed: 0, items: [] });
    const first = await replay({ filter, limit: 3, expectedCount: 5 });
    expect(first).toMatchObject({ status: 202, body: { matched: 5, replayed: 3, nextCursor: expect.any(String) } });
    const second = await replay({ filter, limit: 3, cursor: first.body.nextCursor });
    expect(second.body).toMatchObject({ replayed: 2 });
    expect(second.body).not.toHaveProperty('nextCursor');
    const replays = (await ingest.messages()).filter((one) => one.replayOf !== undefined);
    expect(replays.map((one) => [one.subject, one.replayMode, one.state])).toEqual(
      [0, 1, 2, 3, 4].map((n) => [`host/r${n}`, 'shadow', undefined]),
    );
    // A replay is not replayed.
    expect((await replay({ filter, dryRun: true })).body['matched']).toBe(5);
    const one = { filter: { subject: 'host/r0', source: '/replay' } };
    expect((await replay({ ...one, mode: 'active' })).body['replayed']).toBe(1);
    expect((await ingest.messages()).at(-1)).toMatchObject({ replayMode: 'active', state: { state: 'down' } });
  });

  it.each<[string, object, number]>([
    ['no filter', { filter: {} }, 400],
    ['another count than expected', { filter: { source: '/replay' }, expectedCount: 4 }, 409],
    ['a foreign cursor', { filter: { source: '/replay' }, cursor: 'eyJ4IjoxfQ' }, 400],
    ['an unknown member', { filter: { colour: 'red' } }, 400],
  ])('refuses %s', async (_what, body, status) => {
    expect((await replay(body)).status).toBe(status);
  });
});
