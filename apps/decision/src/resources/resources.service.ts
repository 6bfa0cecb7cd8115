import { Injectable } from '@nestjs/common';
import type { JsonObject, Page, PutAnswer, ResourceView, Retired } from '@opsloop/contracts';
import { digestOf, OpsError, pathKind, pathProblem } from '@opsloop/contracts';
import type { Principal } from '@opsloop/platform';
import { Clock, parseBody } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { z } from 'zod';
import { viewOf } from '../decide/scope.pure.js';
import type { World } from '../decide/world.pure.js';
import { WorldService } from '../store/world.service.js';
import type { Resource } from '../store/model.js';
import type { ResourceFilter } from './resource.repository.js';
import { ResourceRepository } from './resource.repository.js';

/** Sizes of the parts of one resource: a list of 1,000 of them must fit into the body limit of 1 MB. */
const LABELS_MAX = 64;
const LINKS_MAX = 64;
const STATE_KEYS_MAX = 128;
export const RESOURCES_MAX = 1_000;

export const PathText = z.string().superRefine((path, context) => {
  const wrong = pathProblem(path);
  if (wrong !== undefined) context.addIssue({ code: 'custom', message: `the path ${wrong}` });
});

const bounded = <T extends z.ZodType>(value: T, max: number) =>
  z
    .record(z.string().min(1).max(128), value)
    .refine((record) => Object.keys(record).length <= max, `at most ${max} members`);

export const ResourceBody = z.strictObject({
  dsl: z.literal('opsloop/v1').optional(),
  kind: z.string().optional(),
  path: PathText,
  owner: z.string().max(200).optional(),
  labels: bounded(z.string().max(1_024), LABELS_MAX).optional(),
  state: bounded(z.json(), STATE_KEYS_MAX).optional(),
  memberOf: z.array(PathText).max(LINKS_MAX).optional(),
  dependsOn: z.array(PathText).max(LINKS_MAX).optional(),
  retired: z.strictObject({ replacedBy: PathText.optional(), reason: z.string().max(500).optional() }).optional(),
});
export type ResourceBody = z.output<typeof ResourceBody>;

const Many = z.array(ResourceBody).min(1).max(RESOURCES_MAX);
const ManyBody = z.strictObject({ items: Many });

/** What is operated: declared by people and tools, observed through events. */
@Injectable()
export class ResourcesService {
  constructor(
    private readonly db: Database,
    private readonly worlds: WorldService,
    private readonly resources: ResourceRepository,
    private readonly clock: Clock,
  ) {}

  async put(principal: Principal, path: string, body: unknown): Promise<PutAnswer> {
    const resource = parseBody(
      ResourceBody,
      typeof body === 'object' && body !== null && !Array.isArray(body) ? { path, ...body } : body,
    );
    if (resource.path !== path) throw namedOtherwise(resource.path, path);
    return (await this.putAll(principal, [resource]))[0]!;
  }

  async putMany(principal: Principal, body: unknown): Promise<{ items: PutAnswer[] }> {
    // Not a union of both: its errors would not say which member is wrong.
    const bare = Array.isArray(body);
    const items = bare ? parseBody(Many, body) : parseBody(ManyBody, body).items;
    const paths = new Set<string>();
    items.forEach(({ path }, index) => {
      if (paths.has(path))
        throw new OpsError('validation', `${path} is named twice`, {
          errors: [{ pointer: `${bare ? '' : '/items'}/${index}/path`, message: 'is named twice' }],
        });
      paths.add(path);
    });
    return { items: await this.putAll(principal, items) };
  }

  async get(path: string): Promise<ResourceView> {
    const resource = await this.resources.one(path);
    if (resource === undefined) throw new OpsError('not-found', `There is no resource ${path}`);
    return viewOf(resource) as unknown as ResourceView;
  }

  async list(
    filter: ResourceFilter,
    page: { limit: number; cursor?: string | undefined },
  ): Promise<Page<ResourceView>> {
    const { items, nextCursor } = await this.resources.list(filter, page);
    return {
      items: items.map((one) => viewOf(one) as unknown as ResourceView),
      ...(nextCursor === undefined ? {} : { nextCursor }),
    };
  }

  async remove(principal: Principal, path: string): Promise<void> {
    await this.db.inTransaction(principal.tenant, async (tx) => {
      const world = await this.worlds.load(tx, { paths: [path] });
      for (const row of world.episodesOf(path))
        world.apply(row, { kind: 'stop', reason: `resource deleted by ${principal.name}` });
      await this.worlds.save(tx, world);
      await this.resources.remove(tx, path);
    });
  }

  private async putAll(principal: Principal, bodies: ResourceBody[]): Promise<PutAnswer[]> {
    for (const body of bodies) checkKind(body);
    return this.db.inTransaction(principal.tenant, async (tx) => {
      const replacements = bodies.flatMap((body) => body.retired?.replacedBy ?? []);
      const world = await this.worlds.load(tx, { paths: [...bodies.map((body) => body.path), ...replacements] });
      const known = await this.resources.byPaths(
        tx,
        bodies.map((body) => body.path),
      );
      const answers = bodies.map((body) => declare(world, body, known.get(body.path), this.clock.now()));
      await this.worlds.save(tx, world);
      return answers;
    });
  }
}

/** Declared parts are replaced whole; `state` is an observation of now and triggers no rule. */
function declare(world: World, body: ResourceBody, known: Resource | undefined, now: Date): PutAnswer {
  const before = world.resource(body.path);
  const declared = {
    labels: body.labels ?? {},
    memberOf: body.memberOf ?? [],
    dependsOn: body.dependsOn ?? [],
    ...(body.owner === undefined ? {} : { owner: body.owner }),
    ...(body.retired === undefined ? {} : { retired: body.retired as Retired }),
  };
  const { owner: _owner, retired: _retired, ...rest } = before;
  const digest = digestOf({ path: body.path, ...declared });
  const old = digestOf({
    path: before.path,
    labels: before.labels,
    memberOf: before.memberOf,
    dependsOn: before.dependsOn,
    ...(before.owner === undefined ? {} : { owner: before.owner }),
    ...(before.retired === undefined ? {} : { retired: before.retired }),
  });
  world.setResource({ ...rest, ...declared, declared: true });
  if (body.state !== undefined) world.observe(body.path, body.state as JsonObject, now.toISOString(), 'put');
  retire(world, world.resource(body.path));
  const change =
    known?.declared !== true ? 'created' : digest === old && body.state === undefined ? 'unchanged' : 'changed';
  return { kind: 'resource', name: body.path, change, digest };
}

/** What is gone for good needs no attempts any more; what stands in its place is looked at from now on. */
function retire(world: World, resource: Resource): void {
  const { retired, path } = resource;
  if (retired === undefined) return;
  for (const row of world.episodesOf(path)) {
    if (retired.replacedBy === undefined) {
      const why = retired.reason === undefined ? '' : `: ${retired.reason}`;
      world.apply(row, { kind: 'stop', reason: `${path} is retired${why}` });
    }
  }
  if (retired.replacedBy !== undefined) world.checkGoals(path);
}

function checkKind(body: ResourceBody): void {
  // A document says what it is; a resource may also repeat its first segment there.
  if (body.kind === undefined || body.kind === 'resource' || body.kind === pathKind(body.path)) return;
  throw new OpsError('validation', `kind must be "resource" or "${pathKind(body.path)}"`, {
    errors: [{ pointer: '/kind', message: `must be "resource" or "${pathKind(body.path)}"` }],
  });
}

function namedOtherwise(path: string, address: string): OpsError {
  return new OpsError('validation', `The document is about ${path}, the address about ${address}`, {
    errors: [{ pointer: '/path', message: `must be ${address}, as in the address` }],
  });
}
