/** What `decision.load` and `decision.save` do, in memory: for rules that are played instead of run. */
import { durationMs } from '@opsloop/contracts';
import type { Loaded, World } from '../decide/world.pure.js';
import { isLive, nextLook } from '../episodes/machine.pure.js';
import { DueQueue } from './due-queue.pure.js';
import type { EpisodeRow, LoadRequest, Resource, WaitRow } from '../store/model.js';

const dueTime = (wait: WaitRow | undefined): number | undefined =>
  wait?.dueAt === undefined ? undefined : Date.parse(wait.dueAt);

const slot = (...parts: (string | number)[]): string => parts.join('\u0000');

export class MemoryStore {
  private readonly resources = new Map<string, Resource>();
  /** Live ones, and ended ones that still keep others from opening. */
  private readonly episodes = new Map<string, Map<string, EpisodeRow>>();
  private readonly waits = new Map<string, WaitRow>();
  private readonly charges = new Map<string, { decisionId: string; at: number }[]>();
  private readonly memberships = new Map<string, string[]>();

  /** A walk over all that waits, at each moment at which one of it is due, would take longer than judging. */
  private readonly dueWindows = new DueQueue<string>(({ at, item }) => dueTime(this.waits.get(item)) === at);
  private readonly dueLooks = new DueQueue<EpisodeRow>(({ item }) => this.isCurrent(item));

  constructor(resources: readonly Resource[]) {
    for (const resource of resources) this.putResource(resource);
  }

  putResource(resource: Resource): void {
    if (!this.resources.has(resource.path))
      for (const group of resource.memberOf)
        this.memberships.set(group, [...(this.memberships.get(group) ?? []), resource.path]);
    this.resources.set(resource.path, resource);
  }

  resource(path: string): Resource | undefined {
    return this.resources.get(path);
  }

  members(group: string): string[] {
    return [...(this.memberships.get(group) ?? [])].sort();
  }

  load({ paths, waits, budgets }: LoadRequest, now: number): Loaded {
    const rows = [...new Set(paths)].flatMap((path) => [...(this.episodes.get(path)?.values() ?? [])]);
    return {
      resources: [...new Set(paths)].flatMap((path) => this.resources.get(path) ?? []),
      episodes: rows.filter(({ episode }) => isLive(episode)),
      blocked: rows.filter(({ episode }) => !isLive(episode) && (episode.blockedUntil ?? 0) > now),
      waits: waits.flatMap(({ rule, kind, key }) => this.waits.get(slot(rule, kind, key)) ?? []),
      budgets: budgets.map(({ doc, ...key }) => {
        const since = now - durationMs(doc.budget![key.slot]!.within);
        const charges = this.charges.get(slot(key.rule, key.slot, key.key)) ?? [];
        return { ...key, used: charges.filter(({ at }) => at > since).length };
      }),
      holds: [],
      siblings: [],
      halts: [],
    };
  }

  save(world: World): void {
    const { resources, episodes, waits, ended } = world.dirty();
    for (const resource of resources) this.putResource(resource);
    for (const row of episodes) this.putEpisode(row, world.now);
    for (const { rule, kind, key } of ended) this.waits.delete(slot(rule, kind, key));
    for (const wait of waits) {
      const key = slot(wait.rule, wait.kind, wait.key);
      const before = dueTime(this.waits.get(key));
      this.waits.set(key, wait);
      if (dueTime(wait) !== before) this.dueWindows.note(dueTime(wait), key);
    }
    for (const { rule, slot: number, key, decisionId } of world.charges) {
      if (decisionId === undefined) continue;
      const id = slot(rule, number, key);
      const known = this.charges.get(id) ?? [];
      if (known.every((charge) => charge.decisionId !== decisionId))
        this.charges.set(id, [...known, { decisionId, at: world.now }]);
    }
  }

  /** Earliest moment up to `to` at which a window ends or an episode wants to be looked at. */
  nextDue(to: number): number | undefined {
    const window = this.dueWindows.next(to);
    const look = this.dueLooks.next(window ?? to);
    return look ?? window;
  }

  dueWaits(now: number): WaitRow[] {
    // Ended and opened anew for the same moment, it is noted twice.
    return [...new Set(this.dueWindows.upTo(now))].map((key) => this.waits.get(key)!);
  }

  dueEpisodes(now: number): EpisodeRow[] {
    return [...new Set(this.dueLooks.upTo(now))];
  }

  private isCurrent(row: EpisodeRow): boolean {
    return this.episodes.get(row.episode.resource)?.get(row.episode.id) === row && isLive(row.episode);
  }

  live(): EpisodeRow[] {
    return [...this.episodes.values()].flatMap((rows) => [...rows.values()].filter(({ episode }) => isLive(episode)));
  }

  /** Windows that only end (dedupe) and blocks that are over are dropped now and then: a long play must not grow. */
  sweep(now: number): void {
    for (const [key, wait] of this.waits)
      if (wait.dueAt === undefined && Date.parse(wait.expiresAt) <= now) this.waits.delete(key);
    for (const [path, rows] of this.episodes) {
      for (const [id, { episode }] of rows) if (!isLive(episode) && (episode.blockedUntil ?? 0) <= now) rows.delete(id);
      if (rows.size === 0) this.episodes.delete(path);
    }
  }

  private putEpisode(row: EpisodeRow, now: number): void {
    const { episode } = row;
    const rows = this.episodes.get(episode.resource) ?? new Map<string, EpisodeRow>();
    if (isLive(episode)) this.dueLooks.note(nextLook(episode), row);
    if (isLive(episode) || (episode.blockedUntil ?? 0) > now) rows.set(episode.id, row);
    else rows.delete(episode.id);
    this.episodes.set(episode.resource, rows);
  }
}
