import { Inject, Injectable, type LoggerService } from '@nestjs/common';
import { pino, type Logger as PinoLogger } from 'pino';
import { PLATFORM_CONFIG, type PlatformConfig } from './platform.config.js';

export type LogFields = Record<string, unknown>;

/** Causes are followed this far; a chain that is longer is a loop. */
const CAUSES_MAX = 5;

/** Name, message, code, stack and causes, and nothing else: errors of drivers carry whole clients and parameters. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    stack: error.stack,
    ...(error.cause === undefined || depth >= CAUSES_MAX ? {} : { cause: describeError(error.cause, depth + 1) }),
  };
}

/** JSON lines on stderr; stdout stays free for what a command prints. */
@Injectable()
export class Logger {
  private readonly pino: PinoLogger;

  constructor(@Inject(PLATFORM_CONFIG) config: Pick<PlatformConfig, 'logLevel'>) {
    // Synchronous writes: the last lines before a crash are the ones that matter, and volume is low by design.
    this.pino = pino(
      {
        level: config.logLevel,
        base: undefined,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (level) => ({ level }) },
        serializers: { error: (error: unknown) => describeError(error) },
        redact: ['headers.authorization', '*.headers.authorization', 'authorization', '*.token', 'token'],
      },
      pino.destination({ fd: 2, sync: true }),
    );
  }

  debug(message: string, fields: LogFields = {}): void {
    this.pino.debug(fields, message);
  }

  info(message: string, fields: LogFields = {}): void {
    this.pino.info(fields, message);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.pino.warn(fields, message);
  }

  /** Put the caught value into `fields.error`; its stack is written, never sent to callers. */
  error(message: string, fields: LogFields = {}): void {
    this.pino.error(fields, message);
  }
}

/** Nest's own messages through the same logger; its start-up chatter counts as debug. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.logger.debug(String(message), { nest: rest });
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.logger.warn(String(message), { nest: rest });
  }

  error(message: unknown, ...rest: unknown[]): void {
    if (message instanceof Error) this.logger.error(message.message, { error: message, nest: rest });
    else this.logger.error(String(message), { nest: rest });
  }
}
