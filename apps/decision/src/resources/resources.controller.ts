import { Body, Controller, Delete, Get, HttpCode, Param, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { Page, PutAnswer, ResourceView } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { AnyDocument, ApiRoute, CurrentPrincipal, PageQuery, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import type { Reply } from '../reply.js';
import { z } from 'zod';
import { PathText, ResourcesService } from './resources.service.js';

const Label = z.string().regex(/^[^=]+=.*$/, 'must be key=value');
export const ListQuery = z.strictObject({
  ...PageQuery.shape,
  kind: z.string().max(128).optional(),
  label: z.union([Label, z.array(Label).max(16)]).optional(),
  under: PathText.optional(),
});

@ApiTags('resources')
@Controller('v1/resources')
export class ResourcesController {
  constructor(private readonly resources: ResourcesService) {}

  @Get()
  @ApiRoute('Resources, by kind, label or path', { query: ListQuery })
  list(@Query() query: unknown): Promise<Page<ResourceView>> {
    const { kind, label, under, ...page } = parseQuery(ListQuery, query);
    return this.resources.list(
      {
        ...(kind === undefined ? {} : { kind }),
        ...(under === undefined ? {} : { under }),
        ...(label === undefined ? {} : { labels: labelsOf([label].flat()) }),
      },
      page,
    );
  }

  @Put()
  @ApiRoute('Create or change several resources', { body: AnyDocument })
  putMany(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<{ items: PutAnswer[] }> {
    return this.resources.putMany(principal, body);
  }

  @Put('*')
  @ApiRoute('Create or change a resource', {
    body: AnyDocument,
    rest: 'path of the resource, such as host/dc1/rack1/web-01',
  })
  async put(
    @CurrentPrincipal() principal: Principal,
    @Param() params: Record<string, unknown>,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<PutAnswer> {
    const answer = await this.resources.put(principal, pathOf(params), body);
    void reply.status(answer.change === 'created' ? 201 : 200);
    return answer;
  }

  @Get('*')
  @ApiRoute('A resource with its observed state', { rest: 'path of the resource, such as host/dc1/rack1/web-01' })
  get(@Param() params: Record<string, unknown>): Promise<ResourceView> {
    return this.resources.get(pathOf(params));
  }

  @Delete('*')
  @ApiRoute('Forget a resource', { rest: 'path of the resource, such as host/dc1/rack1/web-01' })
  @HttpCode(204)
  remove(@CurrentPrincipal() principal: Principal, @Param() params: Record<string, unknown>): Promise<void> {
    return this.resources.remove(principal, pathOf(params));
  }
}

function labelsOf(labels: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    labels.map((label) => [label.slice(0, label.indexOf('=')), label.slice(label.indexOf('=') + 1)]),
  );
}

/** The rest of the address is the path. */
function pathOf(params: Record<string, unknown>): string {
  const raw = params['*'];
  const path = Array.isArray(raw) ? raw.join('/') : String(raw ?? '');
  const parsed = PathText.safeParse(path);
  if (!parsed.success)
    throw new OpsError('validation', `${path}: ${parsed.error.issues[0]!.message}`, {
      errors: [{ pointer: '/path', message: parsed.error.issues[0]!.message }],
    });
  return parsed.data;
}
