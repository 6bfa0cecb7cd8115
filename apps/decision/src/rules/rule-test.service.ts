import { Injectable } from '@nestjs/common';
import type { EventMessage, Json, JsonObject } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Clock, parseBody } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { z } from 'zod';
import { aim } from '../decide/aim.pure.js';
import { decideEvents } from '../decide/batch.pure.js';
import type { Loaded } from '../decide/world.pure.js';
import { World } from '../decide/world.pure.js';
import { AroundService } from '../facts/around.service.js';
import { readsConfig } from '../decide/slots.pure.js';
import { ConfigCache } from '../documents/config-cache.service.js';
import { unknownResource } from '../resources/merge.pure.js';
import { ResourceBody } from '../resources/resources.service.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import type { LiveRule, Resource, RuleTrace } from '../store/model.js';
import { checkedRule } from './rules.service.js';

const EventBody = z.object({
  type: z.string().min(1).max(256),
  source: z.string().min(1).max(512).default('/test'),
  id: z.string().min(1).max(256).default('test'),
  subject: z.string().min(1).max(512).optional(),
  time: z.iso.datetime({ offset: true }).optional(),
  data: z.json().default({}),
});

export interface RuleTestAnswer extends RuleTrace {
  rule: string;
  decisions: {
    branch: string;
    rung: string;
    tier: string;
    targets: string[];
    batches: string[][];
    ref: string;
    input: Json;
    perTarget?: Json;
  }[];
}

/** Judges one event by one rule that need not be stored; nothing is kept and nothing starts. */
@Injectable()
export class RuleTestService {
  constructor(
    private readonly configs: ConfigCache,
    private readonly resources: ResourceRepository,
    private readonly db: Database,
    private readonly around: AroundService,
    private readonly clock: Clock,
  ) {}

  async test(body: { rule: Json; event: Json; resource?: Json | undefined }): Promise<RuleTestAnswer> {
    const now = this.clock.now();
    const doc = checkedRule(body.rule, undefined, '/rule');
    const rule: LiveRule = {
      name: doc.name,
      version: doc.version,
      digest: '',
      mode: doc.mode ?? 'active',
      ...(doc.rollout === undefined ? {} : { rollout: doc.rollout }),
      doc,
    };
    const event = eventOf(parseBody(z.object({ event: EventBody }), { event: body.event }).event, now);
    const given =
      body.resource === undefined
        ? undefined
        : parseBody(z.object({ resource: ResourceBody }), { resource: body.resource }).resource;
    const subject = given?.path ?? event.subject;
    const resources = new Map<string, Resource>();
    if (given !== undefined)
      resources.set(given.path, {
        ...unknownResource(given.path),
        ...withoutState(given),
        ...stateOf(given.state, now),
      });
    else if (subject !== undefined)
      for (const [path, one] of await this.resources.byPaths(this.db, [subject])) resources.set(path, one);
    const members =
      subject === undefined ? [] : ((await this.resources.membersOf(this.db, [subject])).get(subject) ?? []);
    for (const [path, one] of await this.resources.byPaths(this.db, members))
      resources.set(path, resources.get(path) ?? one);
    const configs = await this.configs.get(readsConfig(doc), now.getTime());
    const resource = (path: string): Resource => resources.get(path) ?? unknownResource(path);
    const around = await this.around.read(
      this.db,
      [{ doc, event, resource: event.subject === undefined ? undefined : resource(event.subject) }],
      configs,
      now.getTime(),
    );
    const world = new World(
      'default',
      now.getTime(),
      configs,
      { id: 'test', rules: [rule] },
      new Map(),
      onlyResources([...resources.values()]),
      around,
    );
    decideEvents(world, [event], new Map([[event, [aim({ event, rule, configs, resource, members: () => members })]]]));
    const { decisionIds: _ids, ...trace } = world.traces[0]!.verdicts[rule.name]!;
    return {
      rule: rule.name,
      ...trace,
      decisions: world.decisions.map(({ branch, rung, tier, targets, batches, start }) => ({
        branch,
        rung,
        tier,
        targets,
        batches,
        ref: start.ref,
        input: start.input,
        ...(start.perTarget === undefined ? {} : { perTarget: start.perTarget as unknown as Json }),
      })),
    };
  }
}

function onlyResources(resources: Resource[]): Loaded {
  return { resources, episodes: [], blocked: [], waits: [], budgets: [], holds: [], siblings: [], halts: [] };
}

function eventOf(body: z.output<typeof EventBody>, now: Date): EventMessage {
  const { subject, data, ...rest } = body;
  const eventId = newId();
  const reports =
    subject !== undefined &&
    body.type.endsWith('.state') &&
    data !== null &&
    typeof data === 'object' &&
    !Array.isArray(data);
  return {
    ...rest,
    eventId,
    data,
    ...(subject === undefined ? {} : { subject }),
    time: body.time === undefined ? now.toISOString() : new Date(body.time).toISOString(),
    receivedAt: now.toISOString(),
    correlationId: eventId,
    hops: 0,
    ...(reports ? { state: data as JsonObject } : {}),
  };
}

function withoutState({
  state: _state,
  dsl: _dsl,
  kind: _kind,
  ...rest
}: z.output<typeof ResourceBody>): Partial<Resource> {
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)) as Partial<Resource>;
}

/** A state given with the test was there before the event, so the event is never late against it. */
function stateOf(state: JsonObject | undefined, now: Date): Partial<Resource> {
  if (state === undefined) return {};
  return { state, observedAt: now.toISOString() };
}
