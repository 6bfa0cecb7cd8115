import { Injectable } from '@nestjs/common';
import type { World } from '@opsloop/dsl';
import { InternalClient } from '@opsloop/platform';
import { Offerings } from '../resolve-references/offerings.service.js';
import { pick, type Snapshot } from '../resolve-references/snapshot.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { catalogWorld } from './validate.pure.js';

/** Only a warning hangs on the answer: a person who publishes does not wait longer for it. */
const OPEN_RUNS_MS = 1_000;

/** What is known around documents beside themselves: the catalog, its configs, and the runs that are under way. */
@Injectable()
export class Surroundings {
  constructor(
    private readonly snapshots: SnapshotRepository,
    private readonly offerings: Offerings,
    private readonly client: InternalClient,
  ) {}

  /** @param flows Names of the flows that are looked at. */
  async around(tenant: string, flows: readonly string[]): Promise<{ snapshot: Snapshot; world: World }> {
    const snapshot = await this.snapshots.current(tenant);
    const { configs } = await this.offerings.configs(tenant);
    const runsInFlightOf = await this.runsInFlight(flows.filter((name) => pick(snapshot, 'flow', name) !== undefined));
    return { snapshot, world: { ...catalogWorld(snapshot, configs), runsInFlightOf } };
  }

  /** Where control is away nothing is said of runs. */
  private async runsInFlight(flows: string[]): Promise<(name: string) => number | undefined> {
    if (flows.length === 0) return () => undefined;
    const { open } = await this.client
      .call('POST /internal/control/open-runs', { flows }, undefined, { timeoutMs: OPEN_RUNS_MS })
      .catch(() => ({ open: {} as Record<string, number> }));
    return (name) => open[name];
  }
}
