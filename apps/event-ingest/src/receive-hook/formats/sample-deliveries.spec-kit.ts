/** One real-looking delivery of each kind of sender, with its source document and how it is signed. */
import { createHmac } from 'node:crypto';
import type { SourceAuth, SourceDocument } from '@opsloop/contracts';

export const NOW = new Date('2026-03-01T12:00:00Z');
const SECONDS = String(NOW.getTime() / 1_000);
export const SECRET = 'it takes two to tango';
const STANDARD_KEY = Buffer.alloc(32, 5);
export const ROUTING_KEY = 'R0UT1NGK3Y0000000000000000000001';

export interface Sample {
  source: SourceDocument;
  body: string;
  headers: Record<string, string>;
  /** Headers of the proof over this body at this time with this secret. */
  sign: (body: string | Buffer, seconds?: string, secret?: string) => Record<string, string>;
  /** What is wrong when the signature is over the body alone: senders' headers that nobody vouches for. */
  unsigned: string[];
}

export const sourceOf = (type: SourceDocument['type'], auth: SourceAuth, more: object = {}): SourceDocument =>
  ({ dsl: 'opsloop/v1', kind: 'source', name: `s-${type}`, type, auth, ...more }) as SourceDocument;

const hmac = (secret: string, ...parts: (string | Buffer)[]) => {
  const mac = createHmac('sha256', secret);
  for (const part of parts) mac.update(part);
  return mac;
};

const ALERT = {
  status: 'firing',
  labels: { alertname: 'InstanceDown', host: 'web-1' },
  annotations: { summary: 'web-1 is down' },
  startsAt: '2026-03-01T11:59:00Z',
  endsAt: '0001-01-01T00:00:00Z',
  fingerprint: 'aabbccdd00112233',
};
const json = { 'content-type': 'application/json' };

export const SAMPLES: Record<string, Sample> = {
  grafana: {
    source: sourceOf('grafana', { type: 'hmac', secret: SECRET, timestamp: { header: 'X-Grafana-Time' } }),
    body: JSON.stringify({
      version: '1',
      orgId: 1,
      title: '[FIRING:1]',
      state: 'alerting',
      status: 'firing',
      alerts: [{ ...ALERT, silenceURL: 'https://g/s', values: { A: 1 }, valueString: '[A=1]', ruleUID: 'r1' }],
    }),
    headers: json,
    sign: (body, at = SECONDS, secret = SECRET) => ({
      'x-grafana-time': at,
      'x-grafana-alerting-signature': hmac(secret, `${at}:`, body).digest('hex'),
    }),
    unsigned: [],
  },
  pagerduty: {
    source: sourceOf('pagerduty', { type: 'hmac', secret: [SECRET, 'the next one'] }),
    body: JSON.stringify({
      event: {
        id: '01DEMO',
        event_type: 'incident.triggered',
        resource_type: 'incident',
        occurred_at: '2026-03-01T11:59:30.500Z',
        agent: null,
        client: null,
        data: {
          id: 'PGR0VU2',
          type: 'incident',
          number: 2,
          status: 'triggered',
          service: { id: 'P1', summary: 'pay' },
        },
      },
    }),
    headers: { ...json, 'x-webhook-id': '7b6b8d8e' },
    sign: (body, _at, secret = SECRET) => ({
      'x-pagerduty-signature': `v1=${'0'.repeat(64)},v1=${hmac(secret, body).digest('hex')}`,
    }),
    unsigned: ['x-webhook-id'],
  },
  github: {
    source: sourceOf('github', { type: 'hmac', secret: SECRET }),
    body: JSON.stringify({
      action: 'completed',
      workflow_run: { id: 1, conclusion: 'failure' },
      repository: { full_name: 'acme/shop' },
      sender: { login: 'octocat' },
    }),
    headers: { ...json, 'x-github-event': 'workflow_run', 'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958' },
    sign: (body, _at, secret = SECRET) => ({ 'x-hub-signature-256': `sha256=${hmac(secret, body).digest('hex')}` }),
    unsigned: ['x-github-delivery', 'x-github-event'],
  },
  'standard-webhooks': {
    source: sourceOf('standard-webhooks', {
      type: 'standard-webhooks',
      secret: `whsec_${STANDARD_KEY.toString('base64')}`,
    }),
    body: JSON.stringify({ type: 'disk.failed', timestamp: '2026-03-01T11:59:59Z', data: { disk: 'sda' } }),
    headers: { ...json, 'webhook-id': 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W' },
    sign: (body, at = SECONDS, secret) => ({
      'webhook-timestamp': at,
      'webhook-signature': `v1,${createHmac('sha256', secret ?? STANDARD_KEY)
        .update(`msg_2KWPBgLlAfxdpx2AI54pPJ85f4W.${at}.`)
        .update(body)
        .digest('base64')}`,
    }),
    unsigned: [],
  },
  cloudevents: {
    source: sourceOf('cloudevents', { type: 'hmac', secret: SECRET, header: 'x-sign', encoding: 'base64' }),
    body: JSON.stringify({
      specversion: '1.0',
      id: 'ce-1',
      source: '/plant/7',
      type: 'plant.machine.state',
      subject: 'machine/7',
      data: { state: 'stopped' },
    }),
    headers: { 'content-type': 'application/cloudevents+json' },
    sign: (body, _at, secret = SECRET) => ({ 'x-sign': hmac(secret, body).digest('base64') }),
    unsigned: [],
  },
  generic: {
    source: sourceOf(
      'generic',
      {
        type: 'hmac',
        secret: SECRET,
        header: 'stripe-signature',
        prefix: 'v1=',
        timestamp: { header: 'stripe-signature', prefix: 't=' },
        message: '{timestamp}.{body}',
      },
      { mapping: { split: '${body.hosts}', subject: 'host/${item.name}', type: 'shop.${body.kind}' } },
    ),
    body: JSON.stringify({ kind: 'health', hosts: [{ name: 'a' }, { name: 'b' }] }),
    headers: json,
    sign: (body, at = SECONDS, secret = SECRET) => ({
      'stripe-signature': `t=${at},v1=${hmac(secret, `${at}.`, body).digest('hex')}`,
    }),
    unsigned: [],
  },
  alertmanager: {
    source: sourceOf('alertmanager', { type: 'bearer', token: SECRET.replaceAll(' ', '-') }),
    body: JSON.stringify({ version: '4', groupKey: '{}', status: 'firing', alerts: [ALERT] }),
    headers: json,
    sign: (_body, _at, secret = SECRET) => ({ authorization: `Bearer ${secret.replaceAll(' ', '-')}` }),
    unsigned: [],
  },
  datadog: {
    source: sourceOf('datadog', { type: 'token', header: 'x-opsloop-token', token: SECRET }),
    body: JSON.stringify({
      source: 'datadog',
      id: '5512345678901234567',
      transition: 'Triggered',
      type: 'error',
      priority: 'P2',
      title: 'disk is full',
      scope: 'host:web-1,device:sda',
      tags: 'env:prod,service:pay',
      date: '1772366340000',
    }),
    headers: json,
    sign: (_body, _at, secret = SECRET) => ({ 'x-opsloop-token': secret }),
    unsigned: [],
  },
  'pagerduty-events': {
    source: sourceOf('pagerduty-events', { type: 'routing-key', key: ROUTING_KEY }),
    body: JSON.stringify({
      routing_key: ROUTING_KEY,
      event_action: 'trigger',
      dedup_key: 'disk/web-1',
      payload: {
        summary: 'disk is full',
        source: 'web-1',
        severity: 'critical',
        timestamp: '2026-03-01T11:59:00Z',
        custom_details: { free: '0' },
      },
    }),
    headers: json,
    sign: () => ({}),
    unsigned: [],
  },
};
