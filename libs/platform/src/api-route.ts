import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiOperation, ApiParam, ApiQuery } from '@nestjs/swagger';
import type { JsonObject } from '@opsloop/contracts';
import { z } from 'zod';

/** What a route takes, as it parses it; the API pages say the same because they are made from the same schemas. */
export interface RouteSchemas {
  body?: z.ZodType;
  query?: z.ZodObject;
  /** Name and meaning of what stands for `*` in the address. */
  rest?: string;
  /** Callers need no token of ours: the route authenticates by itself. */
  open?: boolean;
}

/** A document of any kind: its own schema is in `dsl-schemas/`, so here it is only an object. */
export const AnyDocument = z.record(z.string(), z.unknown()).meta({ description: 'a document, see dsl-schemas/' });

/** Routes that nobody has asked to see yet. */
const undescribed: (() => void)[] = [];

/** Puts a route on the API pages: once they are made, since a start has no use for the JSON Schema of every route. */
export function ApiRoute(summary: string, schemas: RouteSchemas = {}): MethodDecorator {
  return (target, key, descriptor) =>
    void undescribed.push(() => void routeDecorator(summary, schemas)(target, key, descriptor));
}

/** Before the pages are made. */
export function describeRoutes(): void {
  for (const describe of undescribed.splice(0)) describe();
}

function routeDecorator(summary: string, { body, query, rest, open }: RouteSchemas): MethodDecorator {
  return applyDecorators(
    ApiOperation({ summary, ...(open === true ? { security: [] } : {}) }),
    ...(body === undefined ? [] : [ApiBody({ schema: jsonSchema(body), required: !body.safeParse({}).success })]),
    ...(query === undefined ? [] : Object.entries(query.shape).map(([name, member]) => queryParameter(name, member))),
    ...(rest === undefined ? [] : [ApiParam({ name: 'path', description: rest, schema: { type: 'string' } })]),
  );
}

function queryParameter(name: string, schema: z.core.$ZodType): MethodDecorator {
  const type = schema as z.ZodType;
  return ApiQuery({ name, required: !type.safeParse(undefined).success, schema: jsonSchema(type) });
}

/** JSON Schema 2020-12 of what callers send: defaults are not required, text that is coerced is text. */
function jsonSchema(schema: z.ZodType): JsonObject {
  const {
    $schema: _dialect,
    $defs: _definitions,
    ...rest
  } = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input', unrepresentable: 'any' });
  // Our only recursive schema is "any JSON", which JSON Schema says with an empty schema.
  return JSON.parse(JSON.stringify(rest, (_key, value: unknown) => (isReference(value) ? {} : value))) as JsonObject;
}

const isReference = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && typeof (value as { $ref?: unknown }).$ref === 'string';
