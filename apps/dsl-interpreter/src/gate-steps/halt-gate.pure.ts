/** Which halts stop a step. Pure: the snapshot and its age are arguments. */
import {
  matchesPattern,
  OpsError,
  pathsOverlap,
  type GateContext,
  type HaltScope,
  type HaltSnapshot,
  type HaltView,
} from '@opsloop/contracts';

/** A picture older than this is asked for again before anything acts: a halt has to bite within 2 s. */
export const SNAPSHOT_AGE_MAX_MS = 1_500;

/** Whether a halt is about this step: all given parts of its scope must fit, each of them to one of its patterns. */
export function inScope(scope: HaltScope, gate: GateContext): boolean {
  const { rules, flows, atoms, paths, tiers, domain } = scope;
  const { rule } = gate;
  // A sub-flow's step belongs to every flow around it.
  const around = [gate.flow, ...(gate.within ?? [])];
  return (
    (rules === undefined || (rule !== undefined && rules.some((p) => matchesPattern(p, rule)))) &&
    (flows === undefined || flows.some((p) => around.some((flow) => matchesPattern(p, flow)))) &&
    (atoms === undefined || atoms.some((p) => matchesPattern(p, gate.atom))) &&
    (paths === undefined || paths.some((p) => gate.targets.some((target) => coversPath(p, target)))) &&
    (tiers === undefined || tiers.includes(gate.tier)) &&
    (domain === undefined || around.some((flow) => matchesPattern(domain, flow.split('/', 1)[0]!)))
  );
}

/** A plain path halts what lies under it, and what contains it: a step on a rack changes its hosts too. */
function coversPath(pattern: string, target: string): boolean {
  return pattern.includes('*') ? matchesPattern(pattern, target) : pathsOverlap(pattern, target);
}

/** `pause` stops every phase; `cancel` stops what goes forward and lets the way back run; `leave` lets running runs be. */
function stopsPhase(running: HaltView['running'], phase: GateContext['phase']): boolean {
  if (running === 'leave') return false;
  return running === 'pause' || phase === 'forward';
}

/** The first halt that forbids this step, if any. Steps that only read are never stopped: looking does no harm. */
export function haltFor(gate: GateContext, halts: readonly HaltView[]): HaltView | undefined {
  if (gate.effect === 'read') return undefined;
  return halts.find((halt) => stopsPhase(halt.running, gate.phase) && inScope(halt.scope, gate));
}

export type GateVerdict = { go: true } | { go: false; error: OpsError };

/** What the newest picture says about a step; without one that is fresh enough, nothing acts. */
export function judge(
  gate: GateContext,
  picture: { snapshot: HaltSnapshot; ageMs: number } | undefined,
  unreachable?: string,
  run?: string,
): GateVerdict {
  if (gate.effect === 'read') return { go: true };
  if (picture === undefined || picture.ageMs > SNAPSHOT_AGE_MAX_MS) {
    const why = unreachable === undefined ? '' : ` (${unreachable})`;
    return {
      go: false,
      error: new OpsError(
        'halted',
        `control is unreachable${why}, so it is unknown whether a halt is in force; nothing starts until it answers`,
        {
          extensions: { controlUnreachable: true },
        },
      ),
    };
  }
  // A person may have let this run pass.
  const halts = picture.snapshot.halts.filter(({ allowed }) => run === undefined || allowed?.includes(run) !== true);
  const halt = haltFor(gate, halts);
  if (halt === undefined) return { go: true };
  return {
    go: false,
    error: new OpsError('halted', `halt ${halt.id} by ${halt.by} is in force: ${halt.reason}`, {
      extensions: { halt: halt.id, running: halt.running },
    }),
  };
}
