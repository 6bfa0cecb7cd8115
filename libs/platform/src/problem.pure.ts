import { OpsError, type ErrorCode } from '@opsloop/contracts';
import { ZodError } from 'zod';
import { fieldErrorsOf, validationError } from './parse.pure.js';

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'validation',
  401: 'authentication',
  403: 'authorization',
  404: 'not-found',
  405: 'method-not-allowed',
  408: 'timeout',
  409: 'conflict',
  413: 'payload-too-large',
  415: 'unsupported-media-type',
  429: 'rate-limit',
  503: 'unavailable',
};

/** Codes of Fastify and Node whose status alone would tell the caller less than it could. */
const CODE_OF_ERROR: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload-too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'malformed-json',
  FST_ERR_BAD_URL: 'validation',
  ECONNRESET: 'unavailable',
};

interface ErrorLike {
  code?: unknown;
  statusCode?: unknown;
  status?: unknown;
  message?: unknown;
}

/**
 * Any thrown value → an error of our table. Messages of unknown errors stay inside: they may hold SQL, paths or
 * secrets. `known: false` tells the filter to log the original with its stack.
 */
export function toOpsError(error: unknown): { error: OpsError; known: boolean } {
  if (error instanceof OpsError) return { error, known: true };
  if (error instanceof ZodError)
    return { error: validationError('The input', fieldErrorsOf(error.issues)), known: true };
  const like: ErrorLike = typeof error === 'object' && error !== null ? (error as ErrorLike) : {};
  const byCode = typeof like.code === 'string' ? CODE_OF_ERROR[like.code] : undefined;
  if (byCode) return { error: new OpsError(byCode, detailOf(byCode, like)), known: true };
  const status = statusOf(error, like);
  const byStatus =
    status === undefined ? undefined : (CODE_OF_STATUS[status] ?? (status < 500 ? 'validation' : undefined));
  if (byStatus) return { error: new OpsError(byStatus, detailOf(byStatus, like)), known: true };
  return {
    error: new OpsError('internal', 'Something failed on our side; the log has it under this request id'),
    known: false,
  };
}

function statusOf(error: unknown, like: ErrorLike): number | undefined {
  const getStatus = (error as { getStatus?: () => unknown } | null)?.getStatus;
  const status = typeof getStatus === 'function' ? getStatus.call(error) : (like.statusCode ?? like.status);
  return typeof status === 'number' && status >= 400 && status <= 599 ? status : undefined;
}

function detailOf(code: ErrorCode, like: ErrorLike): string {
  if (code === 'payload-too-large') return 'The body is larger than this route accepts';
  if (code === 'unsupported-media-type') return 'Send application/json, another +json type, or text/*';
  return typeof like.message === 'string' ? like.message : code;
}
