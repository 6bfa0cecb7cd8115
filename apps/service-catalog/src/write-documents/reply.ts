import type { ApiBodyOptions } from '@nestjs/swagger';

/** The part of Fastify's reply that a PUT needs. */
export interface Reply {
  status(code: number): unknown;
}

/** 201 for something new, 200 for everything else (equal, or an overwritten draft). */
export function replyPut<T extends { change: string }>(reply: Reply, answer: T): T {
  reply.status(answer.change === 'created' ? 201 : 200);
  return answer;
}

export const VersionedBody: ApiBodyOptions = {
  required: true,
  description: 'The whole document, as its JSON Schema says',
  schema: { type: 'object', required: ['dsl', 'kind', 'name'], additionalProperties: true },
};
