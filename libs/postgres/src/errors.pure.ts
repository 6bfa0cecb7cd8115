import { OpsError } from '@opsloop/contracts';

/** serialization_failure and deadlock_detected: nothing was written, the same transaction may simply run again. */
const REPEATABLE = new Set(['40001', '40P01']);

/** What Node says when the other side is not there. */
const CONNECTION_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
]);

/** What pg says without a code of any kind. */
const CONNECTION_TEXTS = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'Client has encountered a connection error',
  'Client was closed',
  'Cannot use a pool after calling end',
];

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

export function isRepeatable(error: unknown): boolean {
  return REPEATABLE.has(codeOf(error) ?? '');
}

/**
 * True when the connection, not the statement, failed: class 08, shutdown of the server (57P01–57P03), too many
 * connections (53300), a session cut off for idling in a transaction (25P03), or no network.
 */
export function isConnectionFailure(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined && (CONNECTION_CODES.has(code) || /^(08...|57P0[1-3]|53300|25P03)$/.test(code))) return true;
  if (error instanceof AggregateError) return error.errors.some(isConnectionFailure);
  return error instanceof Error && CONNECTION_TEXTS.some((text) => error.message.includes(text));
}

/** A lost connection becomes `unavailable`; everything else stays what it was. */
export function asUnavailable(error: unknown): unknown {
  if (error instanceof OpsError || !isConnectionFailure(error)) return error;
  return new OpsError('unavailable', 'The database is not available', { cause: error });
}

/** SQLSTATE of a violated unique index; with `constraint`, of that one only. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (codeOf(error) !== '23505') return false;
  return constraint === undefined || (error as { constraint?: string }).constraint === constraint;
}
