import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startIngest } from '../ingest-app.spec-kit.js';
import type { IngestApp } from '../ingest-app.spec-kit.js';

let ingest: IngestApp;
beforeAll(async () => void (ingest = await startIngest()));
afterAll(() => ingest.close());
beforeEach(() => ingest.database.query('TRUNCATE ingest.event, ingest.identity, ingest.delivery, bus.message'));

const put = (name: string, more: object) =>
  ingest.call('PUT', `/v1/sources/${name}`, { dsl: 'opsloop/v1', kind: 'source', name, owner: 'team-spec', ...more });
/** Without our token: a hook has its own authentication. */
const deliver = (name: string, body: unknown, headers: Record<string, string> = {}) =>
  ingest.call('POST', `/v1/hooks/${name}`, body, { authorization: '', ...headers });

const alert = (more: object = {}) => ({
  status: 'firing',
  labels: { alertname: 'InstanceDown', dc: 'dc1', rack: 'r1', host: 'web-1', instance: 'web-1:9100' },
  annotations: { summary: 'down' },
  startsAt: '2026-01-02T03:04:05.678Z',
  endsAt: '0001-01-01T00:00:00Z',
  generatorURL: 'http://prom/graph',
  fingerprint: 'aabbccdd00112233',
  ...more,
});
const delivery = (...alerts: object[]) => ({
  version: '4',
  groupKey: '{}:{}',
  truncatedAlerts: 0,
  status: 'firing',
  receiver: 'opsloop',
  groupLabels: {},
  commonLabels: {},
  commonAnnotations: {},
  externalURL: 'http://am',
  alerts,
});

describe('Alertmanager', () => {
  const TOKEN = { authorization: 'Bearer am-token' };
  beforeEach(
    async () => void (await put('am-prod', { type: 'alertmanager', auth: { type: 'bearer', token: 'am-token' } })),
  );

  it('shows what a delivery would be, and stores nothing', async () => {
    const text = JSON.stringify(delivery(alert(), alert({ labels: { alertname: 'Nobody' }, fingerprint: 'ee' })));
    const tried = await ingest.call('POST', '/v1/sources/am-prod/test', { body: text });
    expect(tried).toMatchObject({
      status: 200,
      body: {
        auth: 'bearer',
        items: [
          { type: 'alertmanager.alert', subject: 'host/web-1', data: { status: 'firing' } },
          { type: 'alertmanager.alert', unmapped: expect.any(String) as string },
        ],
      },
    });
    expect(await ingest.messages()).toEqual([]);
    expect((await ingest.call('GET', '/v1/dead-letters')).body.items).toEqual([]);
    const wrong = await ingest.call('POST', '/v1/sources/am-prod/test', { body: '{"version": "3"}' });
    expect(wrong).toMatchObject({ status: 400, body: { code: 'validation' } });
    expect((await ingest.call('POST', '/v1/sources/nobody/test', { body: '' })).status).toBe(404);
    await put('looks', {
      ...{ type: 'poll', every: '1h', for: { kind: 'box' }, call: 'probe.http@1', with: { url: 'http://x' } },
      event: { type: 'box.state', data: {} },
    });
    expect(await ingest.call('POST', '/v1/sources/looks/test', { body: '{}' })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/body' }] },
    });
  });

  it('makes one event per alert; the same delivery again, with other annotations, is all repeats', async () => {
    const alerts = [
      alert(),
      alert({ fingerprint: 'ff', labels: { alertname: 'PodCrash', pod: 'p-1' } }),
      alert({ fingerprint: 'ee', status: 'resolved', endsAt: '2026-01-02T04:00:00Z' }),
    ];
    const first = await deliver('am-prod', delivery(...alerts), TOKEN);
    expect(first.status).toBe(202);
    expect(first.body.items).toHaveLength(3);
    const messages = await ingest.messages();
    expect(messages.map((m) => [m.type, m.source, m.subject, m.time, m.via])).toEqual([
      ['alertmanager.alert', 'am-prod', 'host/web-1', '2026-01-02T03:04:05.678Z', 'am-prod'],
      ['alertmanager.alert', 'am-prod', 'pod/p-1', '2026-01-02T03:04:05.678Z', 'am-prod'],
      ['alertmanager.alert', 'am-prod', 'host/web-1', '2026-01-02T04:00:00.000Z', 'am-prod'],
    ]);
    expect(messages[0]!.data).toEqual(alert());
    const again = await deliver(
      'am-prod',
      delivery(...alerts.map((a) => ({ ...a, annotations: { summary: 'still' } }))),
      TOKEN,
    );
    expect(again.status).toBe(202);
    expect(again.body.items.map((i) => [i.eventId, i.duplicate])).toEqual(
      first.body.items.map((i) => [i.eventId, true]),
    );
    expect(await ingest.messages()).toHaveLength(3);
  });

  it('a new start or a new status is a new event', async () => {
    await deliver('am-prod', delivery(alert()), TOKEN);
    await deliver('am-prod', delivery(alert({ status: 'resolved' })), TOKEN);
    await deliver('am-prod', delivery(alert({ startsAt: '2026-01-02T05:00:00Z' })), TOKEN);
    expect(new Set((await ingest.messages()).map((m) => m.id)).size).toBe(3);
  });

  it('maps the subject from the fields of the alert', async () => {
    await put('am-map', {
      type: 'alertmanager',
      auth: { type: 'none' },
      mapping: { subject: 'host/${labels.dc}/${labels.rack}/${labels.host}' },
    });
    await deliver('am-map', delivery(alert(), alert({ fingerprint: 'x', labels: { host: 'no-rack' } })));
    const [mapped, unmapped] = await ingest.messages();
    expect(mapped!.subject).toBe('host/dc1/r1/web-1');
    expect(unmapped!.subject).toBeUndefined();
    const shown = await ingest.call('GET', '/v1/events?unmapped=true');
    expect(shown.body.items[0]!['unmapped']).toMatch(/mapping\.subject.*labels/);
  });

  it('stores an alert that names nothing as unmapped', async () => {
    await deliver('am-prod', delivery(alert({ labels: { alertname: 'Watchdog' } })), TOKEN);
    expect((await ingest.call('GET', '/v1/events?unmapped=true')).body.items).toHaveLength(1);
  });

  it.each<[string, unknown, string]>([
    ['no alerts', { version: '4' }, '/alerts'],
    ['an alert without labels', delivery(alert(), alert({ labels: undefined })), '/alerts/1/labels'],
    ['another status', delivery(alert({ status: 'on' })), '/alerts/0/status'],
    ['a start that is no time', delivery(alert({ startsAt: 'now' })), '/alerts/0/startsAt'],
    ['a list', [], '/alerts'],
  ])('refuses %s and stores nothing', async (_what, body, pointer) => {
    expect(await deliver('am-prod', body, TOKEN)).toMatchObject({
      status: 400,
      body: { code: 'validation', errors: [{ pointer }] },
    });
    expect(await ingest.messages()).toEqual([]);
  });

  it('refuses deliveries without its own token, also with ours', async () => {
    for (const headers of [
      { authorization: '' },
      { authorization: 'Bearer wrong' },
      { authorization: 'Bearer ops_spec_admin-key-of-this-spec' },
    ]) {
      expect(await deliver('am-prod', delivery(alert()), headers)).toMatchObject({
        status: 401,
        body: { code: 'authentication' },
      });
    }
    expect(await ingest.messages()).toEqual([]);
  });
});

describe('generic', () => {
  const sign = (body: string) => ({ 'x-sig': `v1=${createHmac('sha256', 's').update(body).digest('hex')}` });
  beforeEach(
    async () =>
      void (await put('shop', {
        type: 'generic',
        auth: { type: 'hmac', secret: 's', header: 'X-Sig', prefix: 'v1=' },
        mapping: {
          id: '${body.delivery}',
          type: 'shop.${body.kind}',
          subject: 'service/${body.service}',
          time: '${body.at}',
          data: { state: '${body.state}', agent: '${headers["user-agent"]}' },
        },
      })),
  );

  it('maps a signed delivery', async () => {
    const body = JSON.stringify({
      delivery: 'd-1',
      kind: 'health.state',
      service: 'pay',
      at: 1_767_323_045,
      state: 'down',
    });
    const answer = await deliver('shop', body, { ...sign(body), 'user-agent': 'spec/1' });
    expect(answer).toMatchObject({ status: 202, body: { items: [{ id: 'd-1', source: 'shop', duplicate: false }] } });
    expect((await ingest.messages())[0]).toMatchObject({
      type: 'shop.health.state',
      subject: 'service/pay',
      time: '2026-01-02T03:04:05.000Z',
      state: { state: 'down', agent: 'spec/1' },
    });
  });

  it('refuses a signature over other bytes', async () => {
    expect(await deliver('shop', '{"delivery": "d-1"}', sign('{"delivery":"d-1"}'))).toMatchObject({ status: 401 });
    expect(await ingest.messages()).toEqual([]);
  });

  it('says which mapping a delivery does not fit', async () => {
    const answer = await deliver('shop', '{"delivery":"d-1"}', sign('{"delivery":"d-1"}'));
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation' } });
    expect(answer.body.errors[0]!.message).toMatch(/mapping\.(type|time)/);
    expect(await ingest.messages()).toEqual([]);
  });

  it('without a mapping keeps the body, and takes the same bytes for a repeat', async () => {
    await put('any', { type: 'generic', auth: { type: 'none' } });
    expect((await deliver('any', { a: 1 })).body.items[0]!.duplicate).toBe(false);
    expect((await deliver('any', { a: 1 })).body.items[0]!.duplicate).toBe(true);
    expect(await ingest.messages()).toMatchObject([{ type: 'any.event', data: { a: 1 } }]);
  });
});

describe('cloudevents and others', () => {
  it('takes CloudEvents; another content under an id is a repeat, never 409', async () => {
    await put('ce', { type: 'cloudevents', auth: { type: 'basic', user: 'u', password: 'p' } });
    const headers = {
      'content-type': 'application/cloudevents+json',
      authorization: `Basic ${Buffer.from('u:p').toString('base64')}`,
    };
    const event = { specversion: '1.0', id: '1', source: '/x', type: 't', subject: 'host/a' };
    expect((await deliver('ce', event, headers)).body.items[0]).toMatchObject({ duplicate: false });
    expect(await deliver('ce', { ...event, data: 1 }, headers)).toMatchObject({
      status: 202,
      body: { items: [{ duplicate: true }] },
    });
  });

  it('knows no other sources', async () => {
    expect(await deliver('nobody', {})).toMatchObject({ status: 404, body: { code: 'not-found' } });
  });
});

describe('sources', () => {
  it('keeps secrets to itself and keeps the old one for ***', async () => {
    const bearer = (token: string) => ({ type: 'generic', auth: { type: 'bearer', token } });
    expect(await put('quiet', bearer('first-secret'))).toMatchObject({ status: 201, body: { change: 'created' } });
    const shown = await ingest.call('GET', '/v1/sources/quiet');
    expect(shown.body['body']).toMatchObject({ auth: { type: 'bearer', token: '***' } });
    expect(await put('quiet', bearer('***'))).toMatchObject({ status: 200, body: { change: 'unchanged' } });
    expect((await deliver('quiet', { a: 1 }, { authorization: 'Bearer first-secret' })).status).toBe(202);
    expect(await put('quiet', bearer('second-secret'))).toMatchObject({ status: 200, body: { change: 'changed' } });
    expect((await deliver('quiet', { a: 1 }, { authorization: 'Bearer first-secret' })).status).toBe(401);
    expect((await deliver('quiet', { a: 1 }, { authorization: 'Bearer second-secret' })).status).toBe(202);
    const everything = await ingest.database.query(
      `SELECT to_jsonb(d) AS d FROM ingest.document d UNION ALL SELECT to_jsonb(m) FROM bus.message m
       UNION ALL SELECT to_jsonb(s) FROM ingest.source_secret s`,
    );
    expect(ingest.secrets.get('source/quiet')).toEqual({ value: 'second-secret', version: 2 });
    expect(JSON.stringify([shown.body, everything, (await ingest.call('GET', '/v1/sources')).body])).not.toMatch(
      /first-secret|second-secret/,
    );
  });

  it('moves a secret from before the store into it, and forgets it with the source', async () => {
    await put('old', { type: 'generic', auth: { type: 'bearer', token: 'first' } });
    ingest.secrets.delete('source/old');
    await ingest.database.query(
      `UPDATE ingest.source_secret SET value = 'plain-secret', version = NULL WHERE source = 'old'`,
    );
    expect((await deliver('old', { a: 1 }, { authorization: 'Bearer plain-secret' })).status).toBe(202);
    expect(ingest.secrets.get('source/old')).toMatchObject({ value: 'plain-secret' });
    expect(await ingest.database.query(`SELECT value, version FROM ingest.source_secret WHERE source = 'old'`)).toEqual(
      [{ value: null, version: 1 }],
    );
    expect((await deliver('old', { a: 1 }, { authorization: 'Bearer plain-secret' })).status).toBe(202);
    expect((await ingest.call('DELETE', '/v1/sources/old')).status).toBe(204);
    expect(ingest.secrets.has('source/old')).toBe(false);
  });

  it('refuses *** when nothing is stored, sources without auth, names that differ, and what is no source', async () => {
    expect(await put('fresh', { type: 'generic', auth: { type: 'bearer', token: '***' } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/auth/token' }] },
    });
    expect(await put('fresh', { type: 'generic' })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/auth' }] },
    });
    expect(await put('fresh', { type: 'generic', name: 'other', auth: { type: 'none' } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/name' }] },
    });
    expect(await put('fresh', { type: 'generic', auth: { type: 'none' }, colour: 'red' })).toMatchObject({
      status: 400,
      body: { code: 'validation' },
    });
    expect(
      await put('fresh', {
        type: 'poll',
        every: '1s',
        for: { kind: 'host' },
        call: 'script.run@1',
        event: { type: 'x.state' },
      }),
    ).toMatchObject({ status: 400, body: { errors: [{ pointer: '/call' }] } });
    expect(await ingest.call('GET', '/v1/sources/fresh')).toMatchObject({ status: 404 });
  });

  it('a deleted source takes no deliveries; created again it needs its secret again', async () => {
    const document = { type: 'generic', auth: { type: 'bearer', token: 't' } };
    await put('gone', document);
    expect((await ingest.call('DELETE', '/v1/sources/gone')).status).toBe(204);
    expect(await deliver('gone', {}, { authorization: 'Bearer t' })).toMatchObject({ status: 404 });
    expect((await ingest.call('DELETE', '/v1/sources/gone')).status).toBe(404);
    expect(await put('gone', { ...document, auth: { type: 'bearer', token: '***' } })).toMatchObject({ status: 400 });
    expect(await put('gone', document)).toMatchObject({ status: 201, body: { change: 'created' } });
  });

  it('needs our token', async () => {
    expect(await ingest.call('GET', '/v1/sources', undefined, { authorization: '' })).toMatchObject({ status: 401 });
  });
});
