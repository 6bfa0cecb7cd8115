import {
  type BatchRamp,
  digestOf,
  type AtomDocument,
  type CallStep,
  type CompiledFlow,
  type FlowDocument,
  type PinnedAtom,
  type Step,
} from '@opsloop/contracts';
import { finding, type Finding } from '@opsloop/rules';
import { normaliseDocument } from './normalise.js';
import { stepsOf } from './walk.js';

export type Resolve = (ref: string, kind: 'flow' | 'atom') => FlowDocument | AtomDocument | undefined;

/** Flows inside flows: deeper is a mistake, and each level is a workflow of its own. */
const NESTING_MAX = 16;

interface Compilation {
  resolve: Resolve;
  findings: Finding[];
  /** Compiled sub-flows by `name@version`: a flow that is used twice is compiled once. */
  done: Map<string, CompiledFlow>;
}

/** Resolves and pins everything that a flow refers to. Every reference that leads nowhere is reported with its place. */
export function compileFlow(doc: FlowDocument, resolve: Resolve): { compiled?: CompiledFlow; findings: Finding[] } {
  const work: Compilation = { resolve, findings: [], done: new Map() };
  const compiled = compile(doc, [], '', work);
  return work.findings.some((f) => f.severity === 'error')
    ? { findings: work.findings }
    : { compiled, findings: work.findings };
}

function compile(doc: FlowDocument, above: readonly string[], outer: string, work: Compilation): CompiledFlow {
  const flow = normaliseDocument(doc);
  const result: CompiledFlow = { ir: 1, flow, digest: digestOf(flow), atoms: {}, flows: {} };
  const chain = [...above, flow.name];
  for (const { step, pointer } of stepsOf(flow)) {
    noteWaits(result, step);
    const at = outer === '' ? pointer : outer;
    if ('call' in step) {
      pinAtom(result, step.call, `${at}${outer === '' ? '/call' : ''}`, step.id, work);
      refuseLocal(step, result.atoms[step.call], `${at}${outer === '' ? '/execution' : ''}`, work);
    }
    if (step.compensate)
      pinAtom(result, step.compensate.call, `${at}${outer === '' ? '/compensate/call' : ''}`, step.id, work);
    if ('run' in step) pinFlow(result, step.run, chain, outer === '' ? `${pointer}/run` : outer, step.id, work);
  }
  return result;
}

/** What a step waits for from outside: control hands over events of these types alone. */
function noteWaits(into: CompiledFlow, step: Step): void {
  if ('approval' in step) into.asks = true;
  if ('waitForEvent' in step) {
    const { one, any = [], all = [] } = step.waitForEvent;
    addTypes(
      into,
      [...(one === undefined ? [] : [one]), ...any, ...all].map((entry) => entry.type),
    );
  }
  if ('reconcile' in step) addTypes(into, step.reconcile.wakeOn?.map((entry) => entry.type) ?? []);
}

function addTypes(into: CompiledFlow, types: readonly string[]): void {
  if (types.length > 0) into.waitsFor = [...new Set([...(into.waitsFor ?? []), ...types])].sort();
}

/** A step that wants to run in our own worker needs an atom that may. */
function refuseLocal(step: CallStep, atom: PinnedAtom | undefined, pointer: string, work: Compilation): void {
  if (step.execution !== 'local' || atom === undefined) return;
  const why = localRefusal(atom);
  if (why === undefined) return;
  work.findings.push({
    ...finding('OPS1021', pointer, `${step.call} cannot run as a local step: ${why}`, 'remove "execution"'),
    step: step.id,
  });
}

/** Why an atom may not run as a local activity of the flow's worker; a crash repeats local steps. */
export function localRefusal(atom: PinnedAtom): string | undefined {
  if (atom.queue !== undefined) return 'a worker of others executes it';
  if (atom.job !== undefined) return 'a job outlives its call';
  if (atom.effect !== 'read' && atom.idempotency !== 'native')
    return 'it changes something and is not natively idempotent';
  return undefined;
}

function pinAtom(into: CompiledFlow, ref: string, pointer: string, step: string, work: Compilation): void {
  if (Object.hasOwn(into.atoms, ref)) return;
  const atom = work.resolve(ref, 'atom');
  if (atom === undefined || atom.kind !== 'atom') {
    work.findings.push({
      ...finding(
        'OPS1010',
        pointer,
        `no published atom answers to "${ref}" (in ${into.flow.name})`,
        'apply the atom first, or correct its name or range',
      ),
      step,
    });
    return;
  }
  into.atoms[ref] = pinnedAtom(atom);
  // The undoing of an atom is an atom too; entered before it is followed, so that a pair that undoes each other ends.
  if (atom.compensate !== undefined) pinAtom(into, atom.compensate.call, pointer, step, work);
}

/** A job that is worth polling takes minutes, so a tenth of one is soon enough. */
const POLL_EVERY = '10s';

/** What the interpreter needs of a manifest. */
export function pinnedAtom(atom: AtomDocument): PinnedAtom {
  const { name, version, effect, idempotency, targets, timeout, retry, compensate } = atom;
  const { worker, http, script, job, cache, output } = atom;
  return {
    name,
    version,
    effect,
    idempotency,
    execution: atom.execution ?? 'activity',
    activity: worker?.activity ?? name,
    ...(worker === undefined ? {} : { queue: worker.queue }),
    ...(worker?.check === true ? { check: true as const } : {}),
    ...(targets === undefined ? {} : { targets }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(retry === undefined ? {} : { retry }),
    ...(compensate === undefined ? {} : { compensate }),
    ...(job === undefined ? {} : { job: { every: job.poll.every ?? POLL_EVERY, cancels: job.cancel !== undefined } }),
    ...(cache === undefined ? {} : { cache }),
    ...(worker === undefined || output === undefined ? {} : { output }),
    ...(http === undefined && script === undefined && (job === undefined || worker !== undefined)
      ? {}
      : {
          manifest: {
            name,
            version,
            ...(http === undefined ? {} : { http }),
            ...(script === undefined ? {} : { script }),
            ...(job === undefined ? {} : { job }),
            ...(output === undefined ? {} : { output }),
          },
        }),
  };
}

function pinFlow(
  into: CompiledFlow,
  ref: string,
  chain: readonly string[],
  pointer: string,
  step: string,
  work: Compilation,
): void {
  if (Object.hasOwn(into.flows, ref)) return;
  const found = work.resolve(ref, 'flow');
  if (found === undefined || found.kind !== 'flow') {
    work.findings.push({
      ...finding(
        'OPS1011',
        pointer,
        `no published flow answers to "${ref}" (in ${into.flow.name})`,
        'publish the flow first, or correct its name or range',
      ),
      step,
    });
    return;
  }
  if (chain.includes(found.name)) {
    work.findings.push({
      ...finding(
        'OPS1012',
        pointer,
        `a flow may not run itself: ${[...chain, found.name].join(' → ')}`,
        'use a loop or reconcile step',
      ),
      step,
    });
    return;
  }
  if (chain.length >= NESTING_MAX) {
    work.findings.push({ ...finding('OPS1013', pointer, `flows run flows more than ${NESTING_MAX} deep`), step });
    return;
  }
  const key = `${found.name}@${found.version}`;
  let compiled = work.done.get(key);
  if (compiled === undefined) {
    compiled = compile(found, chain, pointer, work);
    work.done.set(key, compiled);
  }
  into.flows[ref] = compiled;
  addTypes(into, compiled.waitsFor ?? []);
  if (compiled.asks === true) into.asks = true;
}

/** The flow that runs an atom on its own: how the catalog starts atoms. */
export function flowOfAtom(atom: AtomDocument): FlowDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'flow',
    name: `atom/${atom.name}`,
    version: atom.version,
    ...(atom.title === undefined ? {} : { title: atom.title }),
    ...(atom.owner === undefined ? {} : { owner: atom.owner }),
    ...(atom.labels === undefined ? {} : { labels: atom.labels }),
    ...(atom.input === undefined ? {} : { input: atom.input }),
    ...(atom.targets === undefined ? {} : { targets: atom.targets }),
    ...(atom.effect === 'read' ? { lockTargets: 'none' as const } : {}),
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
  concurrency?: number;
  ramp?: BatchRamp;
  /** Each target is claimed, and charged, when its turn comes. */
  turns?: boolean;
}

/** A batch is acted on together; above this many children at once they only queue for the same workers. */
const CONCURRENCY = 50;

/** `opsloop/per-target`: walks the batches of a decision and runs the chosen flow as a child for each target. */
export function flowPerTarget(inner: CompiledFlow, options: PerTargetOptions = {}): CompiledFlow {
  const ref = `${inner.flow.name}@${inner.flow.version}`;
  const { pause, tolerate, ramp, concurrency = CONCURRENCY } = options;
  const flow: FlowDocument = {
    dsl: 'opsloop/v1',
    kind: 'flow',
    name: 'opsloop/per-target',
    version: '1.0.0',
    title: `${inner.flow.title ?? inner.flow.name}, target by target`,
    lockTargets: options.turns === true ? 'perItem' : 'none',
    do: [
      {
        id: 'targets',
        title: `${inner.flow.name} on each target`,
        forEach: {
          in: '${input.items}',
          as: 'item',
          key: '${item.path}',
          batch: {
            plan: '${input.batches?}',
            ...(pause === undefined ? {} : { pause }),
            ...(ramp === undefined ? {} : { ramp: { grow: ramp.grow ?? 2, shrink: ramp.shrink ?? 2 } }),
          },
          concurrency,
          tolerate: tolerate ?? { failures: 0 },
          onItemError: 'continue',
          collect: { path: '${item.path}', output: '${steps.run.output?}' },
        },
        do: [{ id: 'run', title: '${item.path}', run: ref, with: '${item.input}', onParentClose: 'cancel' }],
      },
    ],
    output: { targets: '${steps.targets.output}' },
  };
  const { waitsFor, asks } = inner;
  return {
    ir: 1,
    flow,
    digest: digestOf({ flow, inner: inner.digest }),
    atoms: {},
    flows: { [ref]: inner },
    ...(waitsFor === undefined ? {} : { waitsFor }),
    ...(asks === undefined ? {} : { asks }),
  };
}
