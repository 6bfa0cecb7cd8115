import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { InternalCalls } from '@opsloop/contracts';
import { parseBody, ServiceOnly } from '@opsloop/platform';
import { z } from 'zod';
import { reachOf } from '../rules/reach.pure.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import { GroupsService } from './groups.service.js';
import { RecheckService } from './recheck.service.js';

const Paths = z.array(z.string().max(512)).max(1_000);
const RecheckBody = z.object({
  id: z.string(),
  cause: z.object({
    rule: z.string(),
    ruleVersion: z.string(),
    branch: z.string(),
    rung: z.string(),
    eventId: z.string().optional(),
    episodes: z.array(z.object({ id: z.string(), resource: z.string() })).max(1_000),
  }),
  targets: Paths,
});
const StoryBody = z.object({
  decisionId: z.string().optional(),
  targets: Paths,
  since: z.string(),
  until: z.string().optional(),
});
const ResourcesBody = z.object({
  paths: Paths.optional(),
  kind: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  under: z.string().optional(),
  limit: z.number().int().positive().optional(),
});

const InventoryBody = z.object({ kind: z.string().max(200), after: z.string().max(512).optional() });

const GroupsBody = z.object({ paths: Paths });

type Recheck = InternalCalls['POST /internal/decision/recheck'];
type Story = InternalCalls['POST /internal/decision/story'];
type Resources = InternalCalls['POST /internal/decision/resources'];
type Inventory = InternalCalls['POST /internal/decision/inventory'];
type Kinds = InternalCalls['POST /internal/decision/kinds'];
type Groups = InternalCalls['POST /internal/decision/groups'];
type Rules = InternalCalls['POST /internal/decision/rules'];

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/decision')
export class RecheckController {
  constructor(
    private readonly service: RecheckService,
    private readonly rules: RuleCache,
    private readonly members: GroupsService,
  ) {}

  @Post('recheck')
  @HttpCode(200)
  recheck(@Body() body: unknown): Promise<Recheck['answer']> {
    return this.service.recheck(parseBody(RecheckBody, body) as Recheck['body']);
  }

  @Post('story')
  @HttpCode(200)
  story(@Body() body: unknown): Promise<Story['answer']> {
    return this.service.story(parseBody(StoryBody, body) as Story['body']);
  }

  @Post('resources')
  @HttpCode(200)
  resources(@Body() body: unknown): Promise<Resources['answer']> {
    return this.service.list(parseBody(ResourcesBody, body) as Resources['body']);
  }

  @Post('inventory')
  @HttpCode(200)
  inventory(@Body() body: unknown): Promise<Inventory['answer']> {
    return this.service.inventory(parseBody(InventoryBody, body) as Inventory['body']);
  }

  @Post('kinds')
  @HttpCode(200)
  kinds(): Promise<Kinds['answer']> {
    return this.service.kinds();
  }

  @Post('groups')
  @HttpCode(200)
  groups(@Body() body: unknown): Promise<Groups['answer']> {
    return this.members.of(parseBody(GroupsBody, body).paths);
  }

  @Post('rules')
  @HttpCode(200)
  async reach(): Promise<Rules['answer']> {
    return { rules: (await this.rules.live()).rules.map(reachOf) };
  }
}
