import { Inject, Injectable } from '@nestjs/common';
import type { DocumentKind, DocumentView, JsonObject, Page } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import type { PageQuery } from '@opsloop/platform';
import { DocumentStore, type StoredDocument } from '@opsloop/postgres';
import { type Snapshot, type StoredOffering, versionsOf } from '../resolve-references/snapshot.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { byVersionDescending, type OfferingKind, selectVersion } from '../resolve-references/version.pure.js';
import { pageAfter, pageOf } from '../page.pure.js';
import { CATALOG_STORE } from './document-writer.service.js';
import type { CatalogKind } from './checks.pure.js';

/** A stored document; atoms that come with opsloop say so. */
export type StoredView = DocumentView & { builtIn?: true };

const isOffering = (kind: CatalogKind): kind is OfferingKind => kind === 'flow' || kind === 'atom';

/** Documents as people read them. Of flows and atoms the newest published version is the live one. */
@Injectable()
export class DocumentReader {
  constructor(
    @Inject(CATALOG_STORE) private readonly store: DocumentStore,
    private readonly snapshots: SnapshotRepository,
  ) {}

  async list(tenant: string, kind: CatalogKind, page: PageQuery): Promise<Page<StoredView>> {
    if (!isOffering(kind)) {
      const found = await this.store.list(kind, page);
      return { ...found, items: found.items.map(storedView) };
    }
    const snapshot = await this.snapshots.current(tenant);
    const newest = [...snapshot.offerings.values()].flatMap((versions) => {
      const first = versions[0];
      return first?.kind === kind ? [newestOf(snapshot, kind, first.name)!] : [];
    });
    return pageOf(newest, page, (v) => v.name);
  }

  async get(tenant: string, kind: CatalogKind, name: string, version?: string): Promise<StoredView> {
    const found = isOffering(kind)
      ? newestOf(await this.snapshots.current(tenant), kind, name, version)
      : await this.store
          .versions(kind, name)
          .then(
            (all) =>
              all.filter(
                (d) => d.deletedAt === undefined && (version === undefined ? d.live : d.version === version),
              )[0],
          )
          .then((d) => d && storedView(d));
    if (found === undefined)
      throw new OpsError(
        'not-found',
        `There is no ${kind} ${name}${version === undefined ? '' : ` in version ${version}`}`,
      );
    return found;
  }

  /** All versions, newest first. */
  async versions(tenant: string, kind: CatalogKind, name: string, page: PageQuery): Promise<Page<StoredView>> {
    const items = isOffering(kind)
      ? offeringVersions(await this.snapshots.current(tenant), kind, name)
      : (await this.store.versions(kind, name)).filter((d) => d.deletedAt === undefined).map(storedView);
    if (items.length === 0) throw new OpsError('not-found', `There is no ${kind} ${name}`);
    return pageAfter(items, page, (v) => v.version ?? '');
  }
}

function offeringVersions(snapshot: Snapshot, kind: OfferingKind, name: string): StoredView[] {
  const versions = versionsOf(snapshot, kind, name);
  const live = selectVersion(versions)?.version;
  return [...versions].sort(byVersionDescending).map((v) => offeringView(v, v.version === live));
}

/** A version, or without one the newest published, or while none is published the newest of all. */
function newestOf(snapshot: Snapshot, kind: OfferingKind, name: string, version?: string): StoredView | undefined {
  const views = offeringVersions(snapshot, kind, name);
  if (version !== undefined) return views.find((v) => v.version === version);
  return views.find((v) => v.live) ?? views[0];
}

function offeringView(v: StoredOffering, live: boolean): StoredView {
  return {
    kind: v.kind,
    name: v.name,
    version: v.version,
    digest: v.digest,
    status: v.status,
    live,
    ...(v.builtIn ? { builtIn: true } : {}),
    createdAt: v.createdAt,
    createdBy: v.createdBy,
    body: v.body as unknown as JsonObject,
  };
}

function storedView(d: StoredDocument): StoredView {
  return {
    kind: d.kind as DocumentKind,
    name: d.name,
    ...(d.version === undefined ? {} : { version: d.version }),
    digest: d.digest,
    status: d.status,
    live: d.live,
    createdAt: d.createdAt,
    createdBy: d.createdBy,
    body: d.body,
  };
}
