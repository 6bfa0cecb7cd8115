import { OpsError } from '@opsloop/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseJsonBody } from './parse.pure.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes as sent: signatures of webhooks are made over these. */
    rawBody?: Buffer;
  }
}

/** JSON in all its media types and text, nothing else; everything parsed by us, so that all bodies have the same bounds. */
export function registerBodyParsers(fastify: FastifyInstance): void {
  fastify.removeAllContentTypeParsers();
  const keep = (request: FastifyRequest, body: Buffer): string => {
    request.rawBody = body;
    return body.toString('utf8');
  };
  const json = (request: FastifyRequest, body: Buffer, done: (error: Error | null, value?: unknown) => void): void => {
    try {
      const text = keep(request, body);
      // An empty body is an absent one: DELETE and operator acts without arguments send the header all the same.
      done(null, text.trim() === '' ? undefined : parseJsonBody(text));
    } catch (error) {
      const secret = (request.routeOptions.config as { secretBody?: boolean }).secretBody === true;
      done(secret ? new OpsError('malformed-json', 'The body is not valid JSON') : (error as Error));
    }
  };
  const text = (request: FastifyRequest, body: Buffer, done: (error: Error | null, value?: unknown) => void): void =>
    done(null, keep(request, body));
  fastify.addContentTypeParser(/^application\/(?:[\w.!#$&^-]+\+)?json(?:\s*;|$)/i, { parseAs: 'buffer' }, json);
  fastify.addContentTypeParser(/^text\/[\w.+-]+(?:\s*;|$)/i, { parseAs: 'buffer' }, text);
}
