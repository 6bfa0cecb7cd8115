import { type AtomDocument, type CompiledFlow, digestOf, type FlowDocument, TEMPORAL_NAMES } from '@opsloop/contracts';

/** A run of an atom is a run of this flow of one step; name `atom/<atom name>`. */
export function flowOfAtom(atom: AtomDocument): FlowDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'flow',
    name: `atom/${atom.name}`,
    version: atom.version,
    ...(atom.title === undefined ? {} : { title: atom.title }),
    ...(atom.owner === undefined ? {} : { owner: atom.owner }),
    ...(atom.input === undefined ? {} : { input: atom.input }),
    ...(atom.targets === undefined ? {} : { targets: atom.targets }),
    do: [
      {
        id: 'call',
        ...(atom.title === undefined ? {} : { title: atom.title }),
        call: `${atom.name}@${atom.version}`,
        with: '${input}',
      },
    ],
    output: '${steps.call.output}',
  };
}

export interface PerTargetOptions {
  pause?: string;
  tolerate?: { failures?: number; percent?: number };
  /** Targets in flight inside a batch; default the whole batch, since the batch is what was decided. */
  concurrency?: number;
}

/** More targets at once than this overwhelm what they depend on, whatever the batch says. */
const CONCURRENCY_MAX = 50;

/**
 * `opsloop/per-target`: the chosen flow once per target, in the batches of the decision, as children of one run.
 * Input: `{ items: [{ path, input }], batches: [[path]] }`; output: `{ done: [path] }`.
 */
export function flowPerTarget(inner: CompiledFlow, options: PerTargetOptions): CompiledFlow {
  const ref = `${inner.flow.name}@${inner.flow.version}`;
  const flow: FlowDocument = {
    dsl: 'opsloop/v1',
    kind: 'flow',
    name: TEMPORAL_NAMES.perTargetFlow,
    version: '1.0.0',
    title: `${inner.flow.title ?? inner.flow.name} on each target`,
    owner: inner.flow.owner ?? 'opsloop',
    do: [
      {
        id: 'targets',
        title: ref,
        forEach: {
          in: '${input.items}',
          as: 'target',
          key: '${target.path}',
          batch: { plan: '${input.batches}', ...(options.pause === undefined ? {} : { pause: options.pause }) },
          concurrency: options.concurrency ?? CONCURRENCY_MAX,
          ...(options.tolerate === undefined ? {} : { tolerate: options.tolerate }),
          collect: '${target.path}',
        },
        do: [{ id: 'run', title: '${target.path}', run: ref, with: '${target.input}' }],
      },
    ],
    output: { done: '${steps.targets.output}' },
  };
  return { ir: 1, flow, digest: digestOf(flow), atoms: {}, flows: { [ref]: inner } };
}
