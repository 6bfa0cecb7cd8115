import { Inject, Injectable } from '@nestjs/common';
import type { Page } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { PLATFORM_CONFIG, type PageQuery, type PlatformConfig } from '@opsloop/platform';
import { pageOf } from '../page.pure.js';
import { Offerings } from '../resolve-references/offerings.service.js';
import { pick, type StoredOffering, versionsOf } from '../resolve-references/snapshot.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { parseOfferingRef, selectVersion } from '../resolve-references/version.pure.js';
import {
  catalogName,
  matchesFilter,
  type OfferingDetail,
  type OfferingFilter,
  type OfferingItem,
  toDetail,
  toItem,
} from './offering.pure.js';

@Injectable()
export class BrowseService {
  constructor(
    private readonly snapshots: SnapshotRepository,
    private readonly offerings: Offerings,
    @Inject(PLATFORM_CONFIG) private readonly platform: Pick<PlatformConfig, 'publicUrl'>,
  ) {}

  async list(
    tenant: string,
    query: PageQuery & { [K in keyof OfferingFilter]: OfferingFilter[K] | undefined },
  ): Promise<Page<OfferingItem>> {
    const { limit, cursor, ...given } = query;
    const filter = Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) as OfferingFilter;
    const snapshot = await this.snapshots.current(tenant);
    const page = { limit, ...(cursor === undefined ? {} : { cursor }) };
    const item = (stored: StoredOffering): OfferingItem => toItem(stored, this.offerings.summaryIn(snapshot, stored));
    const offered = [...snapshot.offerings.values()]
      .map((versions) => selectVersion(versions))
      .filter((stored) => stored !== undefined && matchesFilter(stored, filter)) as StoredOffering[];
    // Only a filter by effect needs every candidate compiled; else the page alone.
    if (filter.effect !== undefined)
      return pageOf(
        offered.map(item).filter((i) => i.effect === filter.effect),
        page,
        (i) => i.name,
      );
    const found = pageOf(offered, page, catalogName);
    return { ...found, items: found.items.map(item) };
  }

  async detail(tenant: string, name: string): Promise<OfferingDetail> {
    const snapshot = await this.snapshots.current(tenant);
    const ref = parseOfferingRef(name, '/name');
    const stored = pick(snapshot, ref.kind, ref.name);
    if (stored === undefined)
      throw new OpsError('not-found', `Nothing is offered as ${name}; flows are offered once they are published`);
    const { offering, findings } = this.offerings.compileIn(snapshot, stored);
    const problems = findings.filter((f) => f.severity === 'error').map((f) => `${f.pointer}: ${f.message}`);
    return toDetail(
      stored,
      versionsOf(snapshot, ref.kind, ref.name),
      { ...(offering === undefined ? {} : { offering }), problems },
      this.platform.publicUrl,
    );
  }
}
