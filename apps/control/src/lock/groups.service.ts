import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { type Claim, type InternalCalls, OpsError, pathKind } from '@opsloop/contracts';
import { InternalClient, Logger } from '@opsloop/platform';
import { withGroups } from './groups.pure.js';

/** What joins or leaves a group is seen this much later; asked for on the side, so that a start never waits for it. */
const EVERY_MS = 2_000;
/** The handler of `starts` waits for it; fail closed instead of late. */
const TIMEOUT_MS = 2_000;
/** Paths that are remembered: some 5 MB. */
const KEPT_MAX = 20_000;
const PATHS_MAX = 1_000;
/** A run claims at most 1,000 paths; each in four groups is one INSERT of 5,000 rows, some 50 ms. */
export const GROUP_CLAIMS_MAX = 5_000;

const NO_GROUPS: InternalCalls['POST /internal/decision/groups']['answer'] = { groups: {}, kinds: [] };

interface Kept {
  at: number;
  groups: readonly string[];
}

/**
 * Which groups a claim overlaps. Where nothing is a member of anything, the usual case, that is known without asking. Only
 * decision changes memberships: while it does not answer, what it said last still stands.
 */
@Injectable()
export class GroupsService implements OnApplicationBootstrap, OnApplicationShutdown {
  private kinds: ReadonlySet<string> | undefined;
  private readonly known = new Map<string, Kept>();
  private asking: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly internal: InternalClient,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    // Decision may start after us; then the first who needs it asks.
    void this.refresh().catch(() => undefined);
    this.timer = setInterval(() => void this.refresh().catch(() => undefined), EVERY_MS).unref();
  }

  async onApplicationShutdown(): Promise<void> {
    clearInterval(this.timer);
    await this.asking?.catch(() => undefined);
  }

  /** The claims with those on groups; undefined when nobody can tell now. */
  async expand(claims: readonly Claim[]): Promise<Claim[] | undefined> {
    try {
      if (this.kinds === undefined) await this.refresh();
      const grouped = claims.filter((c) => this.kinds!.has(pathKind(c.path)));
      if (grouped.length === 0) return [...claims];
      await this.learn(grouped.map((c) => c.path));
    } catch (error) {
      this.logger.warn('the inventory does not answer; what may belong to a group waits', { error });
      return undefined;
    }
    const all = withGroups(claims, (path) => this.known.get(path)?.groups ?? []);
    if (all.length <= GROUP_CLAIMS_MAX) return all;
    throw new OpsError(
      'validation',
      `The targets cannot be locked: with the groups that they are members of these are ${all.length} locks, at most ${GROUP_CLAIMS_MAX}; lock fewer, or the groups`,
      { errors: [{ pointer: '/claims', message: `${all.length} locks, at most ${GROUP_CLAIMS_MAX}` }] },
    );
  }

  /** The paths under which whoever works on a group of this path has its lock. */
  async aliases(path: string): Promise<string[]> {
    const all = await this.expand([{ path, mode: 'shared' }]).catch(() => undefined);
    return all?.map((c) => c.path).filter((p) => p !== path) ?? [];
  }

  /** What of these paths is not known, or not known newly enough. */
  private async learn(paths: readonly string[]): Promise<void> {
    const now = Date.now();
    const missing = paths.filter((p) => now - (this.known.get(p)?.at ?? 0) > EVERY_MS);
    for (let i = 0; i < missing.length; i += PATHS_MAX) {
      const some = missing.slice(i, i + PATHS_MAX);
      try {
        await this.ask(some);
      } catch (error) {
        if (some.some((p) => !this.known.has(p))) throw error;
      }
    }
  }

  private refresh(): Promise<void> {
    this.asking ??= this.ask([]).finally(() => (this.asking = undefined));
    return this.asking;
  }

  private async ask(paths: string[]): Promise<void> {
    const answer = await this.internal
      .call('POST /internal/decision/groups', { paths }, {}, { timeoutMs: TIMEOUT_MS })
      .catch((error: unknown) => {
        // While a cluster is renewed, a decision of before is asked: it knows of no groups.
        if (error instanceof OpsError && error.code === 'not-found') return NO_GROUPS;
        throw error;
      });
    this.kinds = new Set(answer.kinds);
    if (this.known.size + paths.length > KEPT_MAX) this.known.clear();
    const at = Date.now();
    for (const path of paths) this.known.set(path, { at, groups: answer.groups[path] ?? [] });
  }
}
