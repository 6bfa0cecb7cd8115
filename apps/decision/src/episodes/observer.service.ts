import { Injectable } from '@nestjs/common';
import type { AtomDocument, Json, JsonObject, RuleDocument } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import { AtomExecutor } from '@opsloop/atoms';
import { bundledAtoms, parseRef } from '@opsloop/dsl';
import { Clock, InternalClient, Logger } from '@opsloop/platform';
import { renderTemplate } from '@opsloop/rules';
import { errorText } from '../decide/aim.pure.js';
import { configScope, resourceScope } from '../decide/scope.pure.js';
import { ConfigCache } from '../documents/config-cache.service.js';
import type { Resource } from '../store/model.js';
import { storable } from './storable.pure.js';

/** Looks at a time: they wait for the network, not for a core. */
const PARALLEL = 16;
/** A look that takes longer says enough; `staleAfter` is a minute by default. */
const TIMEOUT_MS = 10_000;
/** Manifests are read again after a minute, so that a new version of an atom is used without a restart. */
const MANIFEST_MS = 60_000;

export interface Look {
  doc: RuleDocument;
  resource: Resource;
}

export interface Observation {
  path: string;
  state: JsonObject;
  /** When the look began: a run that ended while we looked makes it worthless. */
  at: string;
}

/** Looks at resources by the read atom of a rule's goal. What could not be seen is simply not in the answer. */
@Injectable()
export class Observer {
  private readonly manifests = new Map<string, { atom: AtomDocument; at: number }>();

  constructor(
    private readonly executor: AtomExecutor,
    private readonly client: InternalClient,
    private readonly configs: ConfigCache,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async observe(looks: readonly Look[]): Promise<Observation[]> {
    const queue = [...looks];
    const seen: Observation[] = [];
    const worker = async (): Promise<void> => {
      for (let look = queue.shift(); look !== undefined; look = queue.shift()) {
        const one = await this.lookAt(look);
        if (one !== undefined) seen.push(one);
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, looks.length) }, worker));
    return seen;
  }

  private async lookAt({ doc, resource }: Look): Promise<Observation | undefined> {
    const spec = doc.goal?.observe;
    if (spec === undefined) return undefined;
    const now = this.clock.now();
    const at = now.toISOString();
    try {
      const configs = await this.configs.get(JSON.stringify(spec).includes('config.'), now.getTime());
      const atom = await this.manifest(spec.call, now.getTime());
      const input = renderTemplate(spec.with ?? {}, {
        resource: resourceScope(resource),
        config: configScope(configs),
      });
      const key = messageId('observe', doc.name, resource.path, at);
      const output = await this.executor.execute(
        {
          input,
          context: { run: key, step: 'observe', key, tenant: 'default', dryRun: false },
          atom: executable(atom),
          config: configs,
        },
        atom.name,
        AbortSignal.timeout(TIMEOUT_MS),
      );
      return { path: resource.path, state: stateOf(atom, output), at };
    } catch (error) {
      this.logger.debug('a look failed', { rule: doc.name, resource: resource.path, error: errorText(error) });
      return undefined;
    }
  }

  private async manifest(ref: string, now: number): Promise<AtomDocument> {
    const { name } = parseRef(ref);
    const bundled = bundledAtoms.find((atom) => atom.name === name);
    const known = this.manifests.get(ref);
    const atom =
      bundled ??
      (known !== undefined && now - known.at < MANIFEST_MS
        ? known.atom
        : await this.client.call('POST /internal/catalog/atom', { ref }));
    if (bundled === undefined && atom !== known?.atom) this.manifests.set(ref, { atom, at: now });
    if (atom.effect !== 'read')
      throw new OpsError('configuration', `${ref} does not only read, so a goal cannot observe by it`);
    if (atom.worker !== undefined)
      throw new OpsError('configuration', `${ref} runs on a worker; observe by an http, script or bundled atom`);
    return atom;
  }
}

function executable({
  name,
  version,
  http,
  script,
  output,
}: AtomDocument): Pick<AtomDocument, 'name' | 'version' | 'http' | 'script' | 'output'> {
  return {
    name,
    version,
    ...(http === undefined ? {} : { http }),
    ...(script === undefined ? {} : { script }),
    ...(output === undefined ? {} : { output }),
  };
}

/**
 * An object is the state; anything else is kept under one key, so that a goal can still read it. A look sees everything
 * that its atom can tell: what it does not tell today (the reason of a failure, say) is gone, so it is cleared.
 */
function stateOf(atom: AtomDocument, output: Json): JsonObject {
  if (output === null || typeof output !== 'object' || Array.isArray(output)) return { observed: storable(output) };
  const told = atom.output?.schema['properties'];
  const silent = told !== null && typeof told === 'object' && !Array.isArray(told) ? Object.keys(told) : [];
  return { ...Object.fromEntries(silent.map((key) => [key, null])), ...(storable(output) as JsonObject) };
}
