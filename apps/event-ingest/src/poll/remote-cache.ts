import { Injectable } from '@nestjs/common';
import { OpsError, durationMs } from '@opsloop/contracts';
import type { AtomDocument, JsonObject } from '@opsloop/contracts';
import { bundledAtoms, parseRef } from '@opsloop/dsl';
import { InternalClient } from '@opsloop/platform';

/** Only one process of the group hears of a change, so the others' copies end by time. */
const TTL_MS = 10_000;
/** Manifests kept; a source names one atom. */
const ATOMS_MAX = 200;

interface Cached<T> {
  value: T;
  until: number;
}

/** Configs and atom manifests from the service catalog, kept until a change is announced or for ten seconds. */
@Injectable()
export class RemoteCache {
  private configs: Cached<Record<string, JsonObject>> | undefined;
  private readonly atoms = new Map<string, Cached<AtomDocument>>();

  constructor(private readonly internal: InternalClient) {}

  async allConfigs(): Promise<Record<string, JsonObject>> {
    if (this.configs === undefined || this.configs.until < Date.now()) {
      const { configs } = await this.internal.call('POST /internal/catalog/configs', {});
      this.configs = { value: configs, until: Date.now() + TTL_MS };
    }
    return this.configs.value;
  }

  /** Manifest of a read atom; bundled ones need no catalog. */
  async readAtom(ref: string): Promise<AtomDocument> {
    const bundled = bundledAtoms.find((atom) => atom.name === parseRef(ref).name);
    const atom = bundled ?? (await this.fromCatalog(ref));
    if (atom.effect !== 'read')
      throw new OpsError('configuration', `${ref} is of effect ${atom.effect}; a poll may only read`);
    return atom;
  }

  forget(): void {
    this.configs = undefined;
    this.atoms.clear();
  }

  private async fromCatalog(ref: string): Promise<AtomDocument> {
    const cached = this.atoms.get(ref);
    if (cached !== undefined && cached.until >= Date.now()) return cached.value;
    const atom = await this.internal.call('POST /internal/catalog/atom', { ref });
    if (this.atoms.size >= ATOMS_MAX) this.atoms.clear();
    this.atoms.set(ref, { value: atom, until: Date.now() + TTL_MS });
    return atom;
  }
}

/** How long one look may take: the manifest's time, else the default of the bundled atoms. */
export function lookTimeoutMs(atom: AtomDocument): number {
  return durationMs(atom.timeout?.startToClose ?? '30s');
}
