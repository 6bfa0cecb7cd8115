import { Runtime, type LogLevel, type LogMetadata, type Logger as SdkLogger } from '@temporalio/worker';
import type { Log } from './log.js';

/** Messages of the SDK that say nothing an operator could act on; they would be the bulk of the log. */
const METHODS = { TRACE: 'debug', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;

/** Warned about by the SDK, and meant so here: a worker of atoms has no workflows. */
const EXPECTED = new Set(['No workflows registered, not polling for workflow tasks']);

class ForwardingLogger implements SdkLogger {
  constructor(private readonly target: Log) {}
  log(level: LogLevel, message: string, meta?: LogMetadata): void {
    this.target[EXPECTED.has(message) ? 'debug' : METHODS[level]](message, flat(meta));
  }
  trace(message: string, meta?: LogMetadata): void {
    this.log('TRACE', message, meta);
  }
  debug(message: string, meta?: LogMetadata): void {
    this.log('DEBUG', message, meta);
  }
  info(message: string, meta?: LogMetadata): void {
    this.log('INFO', message, meta);
  }
  warn(message: string, meta?: LogMetadata): void {
    this.log('WARN', message, meta);
  }
  error(message: string, meta?: LogMetadata): void {
    this.log('ERROR', message, meta);
  }
}

/** Metadata of the SDK holds bigints and symbols, which JSON cannot carry. */
function flat(meta: LogMetadata = {}): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(meta)) {
    if (typeof value === 'bigint') fields[key] = value.toString();
    else if (value instanceof Error) fields[key] = value.stack ?? value.message;
    else if (typeof value !== 'symbol' && typeof value !== 'function') fields[key] = value;
  }
  return fields;
}

let installed = false;

/**
 * Sets up the SDK's process-wide runtime, once. It must not take SIGTERM itself: the application decides in which
 * order its parts stop, and drains the workers last.
 */
export function installRuntime(log: Log): void {
  if (installed) return;
  installed = true;
  Runtime.install({
    logger: new ForwardingLogger(log),
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} } },
  });
}
