import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { z } from 'zod';
import { describeRoutes } from './api-route.js';
import type { PlatformConfig } from './platform.config.js';

const Problem = z
  .looseObject({
    type: z.url(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string().optional(),
    instance: z.string().optional(),
    errors: z.array(z.looseObject({ pointer: z.string(), message: z.string() })).optional(),
  })
  .meta({ description: 'RFC 9457 problem details; `code` is one of a closed list' });

interface StandardSchemaLike {
  '~standard'?: { vendor?: string };
}
type SchemaObject = Record<string, unknown>;

/** zod → JSON Schema 2020-12, which is what OpenAPI 3.1 speaks; Nest's own converter targets 3.0. */
function standardSchemaConverter(
  schema: unknown,
  context: { schemaType: 'input' | 'output' },
): { schema: SchemaObject; components: Record<string, SchemaObject> } | undefined {
  if ((schema as StandardSchemaLike | undefined)?.['~standard']?.vendor !== 'zod') return undefined;
  const converted = z.toJSONSchema(schema as z.ZodType, {
    target: 'draft-2020-12',
    io: context.schemaType,
    unrepresentable: 'any',
  }) as SchemaObject & { $defs?: Record<string, SchemaObject> };
  const { $schema: _dialect, $defs, ...rest } = converted;
  return { schema: rest, components: $defs ?? {} };
}

/** `/openapi.json` and `/docs`. Internal routes are not part of the contract and stay out. */
export function mountOpenApi(app: NestFastifyApplication, title: string, config: PlatformConfig): void {
  const base = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle(title)
    .setVersion(config.version)
    .addBearerAuth()
    .addSecurityRequirements('bearer')
    .build();
  let document: OpenAPIObject | undefined;
  const factory = (): OpenAPIObject => {
    if (document === undefined) {
      describeRoutes();
      document = finish(SwaggerModule.createDocument(app, base, { standardSchemaConverter } as never));
    }
    return document;
  };
  // A factory: the document is made at the first request for it and costs a start nothing.
  SwaggerModule.setup('docs', app, factory, { jsonDocumentUrl: 'openapi.json', yamlDocumentUrl: 'openapi.yaml' });
}

function finish(document: OpenAPIObject): OpenAPIObject {
  const { $schema: _dialect, ...problemSchema } = z.toJSONSchema(Problem) as SchemaObject;
  document.components = {
    ...document.components,
    schemas: { ...document.components?.schemas, Problem: problemSchema },
  };
  const failure = {
    description: 'Problem',
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
  };
  for (const [path, item] of Object.entries(document.paths)) {
    if (path.startsWith('/internal')) {
      delete document.paths[path];
      continue;
    }
    for (const operation of Object.values(item as Record<string, { responses?: Record<string, unknown> }>)) {
      if (operation.responses) operation.responses['default'] ??= failure;
    }
  }
  return document;
}
