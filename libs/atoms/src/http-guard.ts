import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { OpsError } from '@opsloop/contracts';
import { Agent, buildConnector, request, type Dispatcher } from 'undici';
import { parseAllow, refusal, type AddressPolicy } from './address-policy.pure.js';

/** An answer above this is cut off: one answer must not take the memory of a worker that runs a hundred calls. */
const ANSWER_BYTES_MAX = 5 * 1024 * 1024;
/** Where nobody says how long a call may take. */
const CALL_MS_DEFAULT = 30_000;
/** A step may wait for a slow target, but a socket that is held for longer is better asked again. */
const CALL_MS_MAX = 900_000;
const CONNECT_MS_MAX = 10_000;
/** Names of metadata services; their addresses are refused too, this only gives the better message. */
const METADATA_NAMES = new Set(['metadata.google.internal', 'metadata.goog', 'instance-data.ec2.internal']);
/** Framing of the connection is ours; a caller that sets it could smuggle a second request. */
const FRAMING_HEADERS = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

export interface HttpGuardOptions {
  /** Entries `CIDR[:port]` of `OPSLOOP_HTTP_ALLOW`. */
  allow: readonly string[];
  embedded: boolean;
  /** Ports of opsloop on this machine. */
  ownPorts?: readonly number[];
  /** Resolves a name to all its addresses; only tests replace it. */
  resolve?: (hostname: string) => Promise<string[]>;
}

export interface GuardedRequest {
  method: string;
  url: string;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
  /** Default 30 s, at most 15 minutes. */
  timeoutMs?: number;
}

export interface GuardedAnswer {
  status: number;
  /** Lower-case names; repeated ones joined by `, `. */
  headers: Record<string, string>;
  /** At most 5 MB. */
  body: Buffer;
}

/** IPv4 first: only one address is tried, and many hosts have an IPv6 address but no way to it. */
const resolveAll = async (hostname: string): Promise<string[]> =>
  (await lookup(hostname, { all: true, order: 'ipv4first' })).map((entry) => entry.address);

/** `localhost` is this machine without asking anybody; its second address, ::1, would be refused even where 127.0.0.1 is allowed. */
const isLocalhost = (name: string): boolean => /^(.+\.)?localhost$/i.test(name);

/**
 * Makes outgoing HTTP calls to where they are allowed to go. A name is resolved once, every address it gives is
 * judged, and the connection goes to the judged address, so a name that changes its mind between check and use gains
 * nothing. No redirect is followed, no proxy variable is read.
 */
export class HttpGuard {
  private readonly policy: AddressPolicy;
  private readonly agent: Agent;
  private readonly resolve: (hostname: string) => Promise<string[]>;

  constructor(options: HttpGuardOptions) {
    this.policy = {
      allow: parseAllow(options.allow),
      embedded: options.embedded,
      ownPorts: new Set(options.ownPorts ?? []),
    };
    this.resolve = options.resolve ?? resolveAll;
    const connectTo = buildConnector({ timeout: CONNECT_MS_MAX, allowH2: false });
    this.agent = new Agent({
      connect: (target, callback) => {
        this.allowedAddress(target.hostname, Number(target.port || (target.protocol === 'https:' ? 443 : 80))).then(
          (address) => {
            const servername = isIP(target.hostname) === 0 ? target.hostname : undefined;
            connectTo({ ...target, hostname: address, ...(servername === undefined ? {} : { servername }) }, callback);
          },
          (error: Error) => callback(error, null),
        );
      },
      // Sockets to many targets: idle ones are given back soon, a poll every 5 s still reuses its own.
      keepAliveTimeout: 10_000,
      // The time of a call is its own; undici's 5 minutes to the first byte would cut a longer one short.
      headersTimeout: 0,
      bodyTimeout: 0,
      connections: 64,
    });
  }

  /** The address to connect to. Throws `authorization` when any address of the name is not allowed. */
  async allowedAddress(hostname: string, port: number): Promise<string> {
    const name = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
    if (METADATA_NAMES.has(name.toLowerCase())) throw refused(hostname, 'it names a metadata service');
    const addresses = isIP(name) !== 0 ? [name] : isLocalhost(name) ? ['127.0.0.1'] : await this.resolve(name);
    if (addresses.length === 0) throw new OpsError('communication', `${hostname} has no address`);
    for (const address of addresses) {
      const why = refusal(address, port, this.policy);
      if (why !== undefined) throw refused(`${hostname}:${port}`, why);
    }
    return addresses[0]!;
  }

  /**
   * One call. Throws `validation` for a URL or header that cannot be sent, `authorization` for a target that is not
   * allowed, `communication` when no whole answer came, `payload-too-large` above 5 MB. Any status is an answer.
   */
  async request(call: GuardedRequest): Promise<GuardedAnswer> {
    const url = parseUrl(call.url);
    const timeoutMs = callMs(call.timeoutMs);
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = call.signal === undefined ? timeout : AbortSignal.any([timeout, call.signal]);
    const where = `${call.method} ${url.origin}${url.pathname}`;
    try {
      const answer = await request(url, {
        dispatcher: this.agent,
        method: call.method as Dispatcher.HttpMethod,
        headers: checkedHeaders(call.headers ?? {}),
        signal,
        ...(call.body === undefined ? {} : { body: call.body }),
      });
      return {
        status: answer.statusCode,
        headers: plainHeaders(answer.headers),
        body: await readCapped(answer.body, where),
      };
    } catch (error) {
      if (error instanceof OpsError) throw error;
      if (call.signal?.aborted === true) throw call.signal.reason;
      if (timeout.aborted)
        throw new OpsError('communication', `${where}: no whole answer within ${timeoutMs} ms`, { cause: error });
      throw callError(where, error);
    }
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }
}

/** How long a call may take. */
export function callMs(wanted: number | undefined): number {
  return Math.min(wanted ?? CALL_MS_DEFAULT, CALL_MS_MAX);
}

function refused(target: string, why: string): OpsError {
  return new OpsError(
    'authorization',
    `calls to ${target} are refused: ${why}. An operator can allow private targets with OPSLOOP_HTTP_ALLOW (a list of CIDR or CIDR:port)`,
  );
}

function parseUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new OpsError('validation', `"${text.slice(0, 200)}" is not an absolute URL`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new OpsError('validation', `only http and https can be called, not ${url.protocol}`);
  if (url.username !== '' || url.password !== '')
    throw new OpsError(
      'validation',
      'credentials do not belong in a URL, where logs show them; send an Authorization header',
    );
  return url;
}

function checkedHeaders(headers: Record<string, string>): Record<string, string> {
  const sent: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
      throw new OpsError('validation', `"${name.slice(0, 80)}" is not a header name`);
    if (FRAMING_HEADERS.has(name.toLowerCase())) throw new OpsError('validation', `the header ${name} cannot be set`);
    if (/[\u0000-\u0008\u000a-\u001f\u007f]|[^\u0000-\u00ff]/.test(value))
      throw new OpsError('validation', `the header ${name} holds characters that no header can carry`);
    sent[name.toLowerCase()] = value;
  }
  return sent;
}

function plainHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const plain: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined) plain[name] = Array.isArray(value) ? value.join(', ') : value;
  return plain;
}

async function readCapped(body: AsyncIterable<Buffer> & { destroy(): unknown }, where: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > ANSWER_BYTES_MAX) {
      body.destroy();
      throw new OpsError(
        'payload-too-large',
        `${where}: the answer is larger than ${ANSWER_BYTES_MAX / 1024 / 1024} MB`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function callError(where: string, error: unknown): OpsError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'UND_ERR_INVALID_ARG' || code === 'ERR_INVALID_CHAR')
    return new OpsError('validation', `${where}: ${message}`, { cause: error });
  return new OpsError('communication', `${where}: ${code ?? ''} ${message}`.replace(':  ', ': '), { cause: error });
}
