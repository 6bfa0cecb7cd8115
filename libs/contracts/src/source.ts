/** Sources: who sends events, how a sender proves who it is, and how a delivery becomes events. */
import type { AcceptedEvent } from './api.js';
import type { DocumentBase, Template } from './documents.js';
import type { FieldError } from './errors.js';

/** What sends to `/v1/hooks/<name>` (or, `pagerduty-events`, to `/v2/enqueue`). */
export const HOOK_TYPES = [
  'alertmanager',
  'grafana',
  'pagerduty',
  'pagerduty-events',
  'datadog',
  'github',
  'standard-webhooks',
  'cloudevents',
  'generic',
] as const;
export type HookType = (typeof HOOK_TYPES)[number];
export type SourceType = HookType | 'poll' | 'kafka';

/** One secret, or several that are all valid: while a sender changes over, the new one and the old one. */
export type SecretText = string | string[];

export interface HmacAuth {
  type: 'hmac';
  secret: SecretText;
  header?: string;
  algorithm?: 'sha1' | 'sha256' | 'sha384' | 'sha512';
  encoding?: 'hex' | 'base64' | 'base64url';
  prefix?: string;
  /** Where the sender says when it signed; what is older or newer than `tolerance` (5m) is refused. */
  timestamp?: { header: string; prefix?: string; tolerance?: string };
  /** What is signed: `{body}`, and with a timestamp `{timestamp}:{body}`, unless this says otherwise. */
  message?: string;
}

export type SourceAuth =
  | { type: 'none' }
  | { type: 'bearer'; token: SecretText }
  | { type: 'token'; header: string; token: SecretText }
  | { type: 'basic'; user: string; password: SecretText }
  | HmacAuth
  | { type: 'standard-webhooks'; secret: SecretText; tolerance?: string }
  | { type: 'mtls'; header?: string; allow: string[]; verified?: { header: string; value: string } }
  | { type: 'routing-key'; key: SecretText }
  | { type: 'sasl'; mechanism?: 'plain' | 'scram-sha-256' | 'scram-sha-512'; user: string; password: SecretText };

/** Ways in which each kind of sender can prove who it is; `none` is always possible and always said. */
export const SOURCE_AUTHS: Readonly<Record<SourceType, readonly SourceAuth['type'][]>> = {
  alertmanager: ['bearer', 'basic', 'token', 'hmac', 'mtls', 'none'],
  grafana: ['hmac', 'basic', 'bearer', 'token', 'mtls', 'none'],
  pagerduty: ['hmac', 'basic', 'mtls', 'none'],
  'pagerduty-events': ['routing-key'],
  datadog: ['token', 'bearer', 'basic', 'mtls', 'none'],
  github: ['hmac', 'none'],
  'standard-webhooks': ['standard-webhooks', 'mtls', 'none'],
  cloudevents: ['bearer', 'basic', 'token', 'hmac', 'standard-webhooks', 'mtls', 'none'],
  generic: ['hmac', 'bearer', 'token', 'basic', 'standard-webhooks', 'mtls', 'none'],
  kafka: ['sasl', 'none'],
  poll: [],
};

/** Templates over the sender's fields; which ones a type shows stands in its guide. */
export interface SourceMapping {
  /** A list in the delivery: one event per item, which the other slots see as `item` and `index`. */
  split?: Template;
  id?: Template;
  type?: Template;
  source?: Template;
  subject?: Template;
  time?: Template;
  data?: Template;
}

export interface SourceDocument extends DocumentBase {
  kind: 'source';
  type: SourceType;
  auth?: SourceAuth;
  mapping?: SourceMapping;
  /** Silence for longer than this is an event `source.stale`. */
  expectEvery?: string;
  /** Events that it may send; what comes above that is told to come back later. */
  limit?: { perSecond: number; burst?: number };
  /** cloudevents: who may ask to deliver (`WebHook-Request-Origin`); absent = everybody whom `auth` lets in. */
  origins?: string[];
  // kafka
  kafka?: {
    brokers: string[];
    topic: string;
    tls?: boolean;
    format?: 'cloudevents' | 'json';
    from?: 'latest' | 'earliest';
  };
  // poll
  every?: string;
  for?: { kind?: string; labels?: Record<string, string>; under?: string };
  call?: string;
  with?: Template;
  event?: { type: string; data?: Template };
}

/** What could not be worked on, with its cause. */
export interface DeadLetterView {
  id: string;
  /** `delivery`: no event could be made of it; `handler`: an app could not handle the event. */
  kind: 'delivery' | 'handler';
  source: string;
  code: string;
  cause: string;
  errors: FieldError[];
  receivedAt: string;
  lastAt: string;
  /** The same bytes again count here. */
  times: number;
  bytes?: number;
  headers?: Record<string, string>;
  /** Only of a single one; at most the first 64 KB. */
  body?: string;
  /** Of kind `handler`: the consumer group, and the event. */
  handler?: string;
  eventId?: string;
}

export interface RequeueResult {
  requeued: number;
  failed: { id: string; code: string; cause: string }[];
  /** There are more than one call takes. */
  more: boolean;
}

/** A page of a replay of many; `matched` only on the first. */
export interface ReplayResult {
  matched?: number;
  replayed: number;
  items: AcceptedEvent[];
  nextCursor?: string;
}
