import { AtomError, OpsError, type AtomContext, type Json, type JsonObject } from '@opsloop/contracts';
import type { HttpGuard } from './http-guard.js';
import { OUTPUT_BYTES_MAX } from './output.js';

/** Statuses that a later attempt may turn into a success. */
const RETRYABLE = new Set([408, 429]);
/** A target may ask for patience, but a step must not sleep for an hour on its word. */
const RETRY_AFTER_SEC_MAX = 60;

export interface TargetCall {
  /** Name of the atom, for the codes of its failures. */
  atom: string;
  context: AtomContext;
  method: string;
  url: string;
  headers?: Record<string, string>;
  body?: Json;
  /** Statuses that are a success; default 2xx and 3xx. */
  expect?: readonly number[];
  signal?: AbortSignal;
  timeoutMs?: number;
}

export interface TargetAnswer {
  status: number;
  headers: Record<string, string>;
  body: Json;
}

/** Headers that every call of a step carries: the key that makes a repeat harmless, and the fence of its lock. */
export function stepHeaders(context: AtomContext): Record<string, string> {
  return {
    ...(context.key === '' ? {} : { 'idempotency-key': context.key }),
    ...(context.fence === undefined ? {} : { 'opsloop-fence': context.fence }),
  };
}

/** Sends one call and reads the answer; a status that is no success becomes the failure that says so. */
export async function callTarget(guard: HttpGuard, call: TargetCall): Promise<TargetAnswer> {
  const method = call.method.toUpperCase();
  if (!/^[A-Z]{1,20}$/.test(method) || method === 'CONNECT' || method === 'TRACE') {
    throw new OpsError('validation', `"${call.method.slice(0, 40)}" is not a method that can be sent`, {
      errors: [{ pointer: '/method', message: 'use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS' }],
    });
  }
  const sent = encodeBody(call.body);
  const answer = await guard.request({
    method,
    url: call.url,
    headers: {
      ...(sent.contentType === undefined ? {} : { 'content-type': sent.contentType }),
      'user-agent': 'opsloop',
      ...lowerCase(call.headers),
      ...stepHeaders(call.context),
    },
    ...(sent.text === undefined ? {} : { body: sent.text }),
    ...(call.signal === undefined ? {} : { signal: call.signal }),
    ...(call.timeoutMs === undefined ? {} : { timeoutMs: call.timeoutMs }),
  });
  const read = {
    status: answer.status,
    headers: answer.headers,
    body: decodeBody(answer.headers['content-type'], answer.body),
  };
  const expected = call.expect ?? [];
  const good = expected.length > 0 ? expected.includes(answer.status) : answer.status >= 200 && answer.status < 400;
  if (!good) throw statusError(call, read);
  return read;
}

function lowerCase(headers: Record<string, string> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function encodeBody(body: Json | undefined): { text?: string; contentType?: string } {
  if (body === undefined || body === null) return {};
  if (typeof body === 'string') return { text: body, contentType: 'text/plain; charset=utf-8' };
  return { text: JSON.stringify(body), contentType: 'application/json' };
}

/** JSON and text are read by their content type; of anything else only the status and headers are of use to a flow. */
function decodeBody(contentType: string | undefined, bytes: Buffer): Json {
  if (bytes.length === 0) return null;
  const type = (contentType ?? 'text/plain').split(';', 1)[0]!.trim().toLowerCase();
  if (type === 'application/json' || type.endsWith('+json')) {
    const text = bytes.toString('utf8');
    try {
      return JSON.parse(text) as Json;
    } catch {
      return text;
    }
  }
  if (type.startsWith('text/') || type.endsWith('xml') || type === 'application/x-www-form-urlencoded')
    return bytes.toString('utf8');
  return null;
}

function statusError(call: TargetCall, answer: TargetAnswer): OpsError | AtomError {
  const { status } = answer;
  const said = typeof answer.body === 'string' ? answer.body : answer.body === null ? '' : JSON.stringify(answer.body);
  const detail = `${call.method.toUpperCase()} ${originAndPath(call.url)} answered ${status}${said === '' ? '' : `: ${said.slice(0, 300)}`}`;
  const extensions = { targetStatus: status };
  if (RETRYABLE.has(status) || status >= 500) {
    const after = Number(answer.headers['retry-after']);
    const retryAfterSec = Number.isFinite(after) && after > 0 ? Math.min(after, RETRY_AFTER_SEC_MAX) : undefined;
    return new OpsError('communication', detail, {
      extensions,
      ...(retryAfterSec === undefined ? {} : { retryAfterSec }),
    });
  }
  return new AtomError(`atom/${call.atom}/status`, detail, {
    status: status >= 400 ? status : 500,
    title: 'The target refused the call',
    extensions,
  });
}

/** Query strings may hold keys, so they stay out of messages. */
function originAndPath(text: string): string {
  const url = new URL(text);
  return `${url.origin}${url.pathname}`;
}

/**
 * The answer as output of a step: at most 64 KB. A larger body becomes its first part as text, marked `truncated`, so
 * that a step whose effect has happened does not fail for the length of the reply.
 */
export function answerOutput(answer: TargetAnswer): JsonObject {
  const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
  const headers: JsonObject = { ...answer.headers };
  if (Buffer.byteLength(text) <= OUTPUT_BYTES_MAX) return { status: answer.status, headers, body: answer.body };
  return {
    status: answer.status,
    headers,
    body: Buffer.from(text).subarray(0, OUTPUT_BYTES_MAX).toString('utf8'),
    truncated: true,
  };
}
