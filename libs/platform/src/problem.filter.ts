import { type ArgumentsHost, Catch, type ExceptionFilter, Injectable } from '@nestjs/common';
import type { OpsError } from '@opsloop/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Observable, throwError } from 'rxjs';
import { Logger } from './logger.service.js';
import { toOpsError } from './problem.pure.js';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';
/** Seconds a caller should stay away when the error itself does not know better: one poll interval of most clients. */
const RETRY_AFTER_SEC = 1;

/** Everything that goes wrong in a request leaves as a problem document; on the bus the error passes unchanged. */
@Injectable()
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  catch(thrown: unknown, host: ArgumentsHost): Observable<never> | void {
    // A bus handler's error must reach the consumer as it was thrown: its code decides between retry and dead letter.
    if (host.getType() !== 'http') return throwError(() => thrown);
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    answerProblem(this.logger, thrown, request, reply);
  }
}

export function answerProblem(logger: Logger, thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { error, known } = toOpsError(thrown);
  if (!known) logger.error('request failed', { error: thrown, requestId: request.id, url: pathOf(request.url) });
  sendProblem(reply, error, pathOf(request.url));
}

export function sendProblem(reply: FastifyReply, error: OpsError, instance: string): void {
  const problem = error.toProblem(instance);
  if (problem.status === 503 || problem.status === 429) {
    void reply.header('retry-after', String(error.options.retryAfterSec ?? RETRY_AFTER_SEC));
  }
  if (problem.status === 401) void reply.header('www-authenticate', 'Bearer');
  // Serialised here: Fastify would look for a serializer of the content type and skip Nest's.
  void reply.status(problem.status).header('content-type', PROBLEM_TYPE).send(JSON.stringify(problem));
}

/** Without the query, which may hold what nobody wants in logs and answers. */
export function pathOf(url: string): string {
  return url.split('?', 1)[0]!;
}
