/** The documents of opsloop: their schemas, their checks, and the compiler of flows. Pure. */
export { parseRef, refProblem, type Ref } from './refs.js';
export { planBatches } from './plan-batches.js';
export { compileFlow, flowOfAtom, flowPerTarget, pinnedAtom, type PerTargetOptions, type Resolve } from './compile.js';
export { computeLocks, computeTargets } from './targets.js';
export { normaliseDocument } from './normalise.js';
export { bundledAtoms } from './bundled.js';
export { isSafePattern, validateInput } from './user-schema.js';
export { stepsOf, type PlacedStep } from './walk.js';
export { schemaErrors } from './schema-check.js';
export { validateDocument } from './validate.js';
export { verifyFlow } from './verify/verify-flow.js';
export { flowtestFindings } from './verify/others.js';
export { FINDINGS, findingUrl, type FindingKind } from './verify/registry.js';
export type { Environment, World } from './verify/world.js';
