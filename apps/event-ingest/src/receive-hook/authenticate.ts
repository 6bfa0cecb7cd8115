/** Authentication of a webhook by its source's `auth`: over the raw bytes, in constant time, within a window of time. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { durationMs } from '@opsloop/contracts';
import type { HmacAuth, SecretText, SourceAuth } from '@opsloop/contracts';
import { headerText } from '../accept/cloud-event.pure.js';
import type { HttpMessage } from '../accept/cloud-event.pure.js';
import { verifyStandardWebhook } from './standard-webhooks.js';
import { isWithin } from './window.pure.js';

/** Signatures looked at in one header: two or three stand there while a secret rotates. */
const SIGNATURES_MAX = 10;
/** Older or newer than this, a signature may have been kept and sent again; senders' clocks agree to seconds. */
const TOLERANCE_DEFAULT = '5m';
const HEX = /^(?:[0-9a-f]{2})+$/i;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const BASE64URL = /^[A-Za-z0-9_-]+={0,2}$/;

/** Header of an HMAC source that names none: GitHub's, which most senders copied. */
export const DEFAULT_HMAC_HEADER = 'x-hub-signature-256';
/** Where Envoy and most meshes say who the client was; other proxies' headers are named in the document. */
const DEFAULT_MTLS_HEADER = 'x-forwarded-client-cert';

export interface AuthContext {
  now: Date;
  /** What the source's format signs with where the document does not say otherwise. */
  hmac?: Partial<Omit<HmacAuth, 'type' | 'secret'>> | undefined;
  /** The connection comes from a proxy that is trusted to say who the client is. */
  fromTrustedProxy?: boolean;
  /** Of the query, as the webhook binding of CloudEvents allows. */
  accessToken?: string | undefined;
}

export interface Proof {
  /** sha256 of what was signed: the same again is a repeat, whatever unsigned headers say. */
  signed?: string;
}

type Request = Pick<HttpMessage, 'headers' | 'rawBody'>;

/** What the request proves of its sender; `undefined`: nothing, and it is refused. */
export function authenticate(auth: SourceAuth, request: Request, context: AuthContext): Proof | undefined {
  switch (auth.type) {
    case 'none':
      return {};
    case 'bearer':
      return passes(
        credentialIs(request, 'bearer', auth.token) ||
          (context.accessToken !== undefined && isOneOf(context.accessToken, auth.token)),
      );
    case 'token': {
      const given = headerText(request.headers, auth.header.toLowerCase());
      return passes(given !== undefined && isOneOf(given, auth.token));
    }
    case 'basic': {
      const pairs = secretsOf(auth.password).map((one) => Buffer.from(`${auth.user}:${one}`).toString('base64'));
      return passes(credentialIs(request, 'basic', pairs));
    }
    case 'hmac':
      return verifyHmac({ ...context.hmac, ...auth }, request, context.now);
    case 'standard-webhooks': {
      const tolerance = durationMs(auth.tolerance ?? TOLERANCE_DEFAULT);
      const text = verifyStandardWebhook(secretsOf(auth.secret), request, context.now, tolerance);
      return text === undefined ? undefined : { signed: sha256(text).toString('hex') };
    }
    case 'mtls':
      return passes(context.fromTrustedProxy === true && clientIs(auth, request));
    case 'routing-key':
      return passes(isOneOf(routingKeyOf(request.rawBody) ?? '', auth.key));
    case 'sasl':
      return undefined;
  }
}

const passes = (yes: boolean): Proof | undefined => (yes ? {} : undefined);

export const secretsOf = (secret: SecretText): readonly string[] => (Array.isArray(secret) ? secret : [secret]);

/** Every secret is looked at: how long it takes does not tell which one was nearly right. */
function isOneOf(given: string, secret: SecretText): boolean {
  const digest = sha256(given);
  return secretsOf(secret).reduce((found, one) => timingSafeEqual(digest, sha256(one)) || found, false);
}

function credentialIs(request: Request, scheme: string, expected: SecretText): boolean {
  const [, given, credential] = /^(\S+) +(\S+) *$/.exec(headerText(request.headers, 'authorization') ?? '') ?? [];
  return given?.toLowerCase() === scheme && credential !== undefined && isOneOf(credential, expected);
}

function verifyHmac(auth: HmacAuth, request: Request, now: Date): Proof | undefined {
  const algorithm = auth.algorithm ?? 'sha256';
  const parts = headerParts(request, auth.header ?? DEFAULT_HMAC_HEADER);
  const timestamp = auth.timestamp === undefined ? '' : timestampOf(auth.timestamp, request, now);
  if (parts === undefined || timestamp === undefined) return undefined;
  const text = signedText(auth, timestamp, request.rawBody);
  const expected = secretsOf(auth.secret).map((one) => createHmac(algorithm, one).update(text).digest());
  // Without a configured prefix the usual `sha256=` may stand there or not.
  const prefixes = auth.prefix === undefined ? [`${algorithm}=`, ''] : [auth.prefix];
  let found = false;
  for (const part of parts) {
    const prefix = prefixes.find((one) => part.startsWith(one));
    const bytes = prefix === undefined ? undefined : decode(part.slice(prefix.length), auth.encoding ?? 'hex');
    for (const one of expected) found = (bytes !== undefined && equal(bytes, one)) || found;
  }
  return found ? { signed: sha256(text).toString('hex') } : undefined;
}

/** Signatures are separated by commas or spaces, whatever else stands in the header. */
function headerParts(request: Request, header: string): string[] | undefined {
  return headerText(request.headers, header.toLowerCase())?.split(/[\s,]+/, SIGNATURES_MAX);
}

function signedText(auth: HmacAuth, timestamp: string, body: Buffer): Buffer {
  const message = auth.message ?? (auth.timestamp === undefined ? '{body}' : '{timestamp}:{body}');
  return Buffer.concat(
    message
      .split(/(\{body\}|\{timestamp\})/)
      .map((part) => (part === '{body}' ? body : Buffer.from(part === '{timestamp}' ? timestamp : part))),
  );
}

/** As it stands in the request, when it is a time within the tolerance. */
function timestampOf(where: NonNullable<HmacAuth['timestamp']>, request: Request, now: Date): string | undefined {
  const prefix = where.prefix ?? '';
  const text = headerParts(request, where.header)
    ?.find((part) => part.startsWith(prefix))
    ?.slice(prefix.length);
  return text !== undefined && isWithin(text, now, durationMs(where.tolerance ?? TOLERANCE_DEFAULT)) ? text : undefined;
}

/** Strict: Buffer.from would read `zz` as nothing and stop at the first bad character. */
function decode(text: string, encoding: 'hex' | 'base64' | 'base64url'): Buffer | undefined {
  const pattern = encoding === 'hex' ? HEX : encoding === 'base64' ? BASE64 : BASE64URL;
  return pattern.test(text) ? Buffer.from(text, encoding) : undefined;
}

/**
 * Who the client was, by its certificate, as the proxy says. Of Envoy's list the last element counts: it is the nearest
 * proxy's own, and those before it came along with the request.
 */
function clientIs(auth: Extract<SourceAuth, { type: 'mtls' }>, request: Request): boolean {
  const header = (auth.header ?? DEFAULT_MTLS_HEADER).toLowerCase();
  const value = headerText(request.headers, header);
  if (value === undefined || value === '' || Array.isArray(request.headers[header])) return false;
  if (auth.verified !== undefined) {
    const verified = headerText(request.headers, auth.verified.header.toLowerCase());
    if (verified !== auth.verified.value) return false;
  }
  const names = header === DEFAULT_MTLS_HEADER ? namesOf(value) : [value];
  return names.some((name) => auth.allow.includes(name));
}

/** `Hash=…;Subject="CN=a,O=b";URI=spiffe://x`, elements separated by commas outside quotes. */
function namesOf(value: string): string[] {
  const last = value.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/).at(-1)!;
  return last.split(/;(?=(?:[^"]*"[^"]*")*[^"]*$)/).flatMap((pair) => {
    const [, text] = /^\s*(?:Hash|Subject|URI|DNS)=(.*?)\s*$/i.exec(pair) ?? [];
    return text === undefined ? [] : [text.replace(/^"(.*)"$/, '$1')];
  });
}

/** The routing key of a body of the Events API v2, wherever it was posted. */
export function routingKeyOf(rawBody: Buffer): string | undefined {
  try {
    const body = JSON.parse(rawBody.toString('utf8')) as { routing_key?: unknown } | null;
    return typeof body?.routing_key === 'string' ? body.routing_key : undefined;
  } catch {
    return undefined;
  }
}

export function equal(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Equal lengths for the comparison, whatever was sent. */
function sha256(text: string | Buffer): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Repeats of unsigned deliveries come within minutes; the same bytes an hour later are news. */
const REPEAT_WINDOW_MS = 5 * 60_000;

/** What tells a repeat from a new delivery, where its content does not. */
export function deliveryKey(proof: Proof, rawBody: Buffer, now: Date): string {
  if (proof.signed !== undefined) return proof.signed;
  return createHash('sha256')
    .update(rawBody)
    .update(`\n${Math.floor(now.getTime() / REPEAT_WINDOW_MS)}`)
    .digest('hex');
}
