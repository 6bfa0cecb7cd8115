/** Documents: checks, stored form, compiler, and what control computes from them. Pure. */
export { validateDocument } from './validate-document.js';
export { normaliseDocument } from './normalise-document.js';
export { compileFlow, referencesOf, stepsOf, type Reference, type Resolve } from './compile-flow.js';
export { flowOfAtom, flowPerTarget, type PerTargetOptions } from './built-in-flows.js';
export { computeLocks, computeTargets } from './compute-claims.js';
export { schemaErrors, validateInput } from './validate-input.js';
export { isAtomName, isFlowName, parseRef, type Ref } from './refs.js';
export { bundledAtoms } from './bundled-atoms.js';
export { batchSize, planBatches } from './plan-batches.js';
