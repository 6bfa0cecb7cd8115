/** The documents of opsloop: their schemas, their checks, and the compiler of flows. Pure. */
export { parseRef, refProblem, type Ref } from './refs.js';
export { planBatches } from './plan-batches.js';
export { compileFlow, flowOfAtom, flowPerTarget, pinnedAtom, type PerTargetOptions, type Resolve } from './compile.js';
export { computeLimit, computeLocks, computeTargets, type FlowLimit, LIMIT_KIND, limitKeyOf } from './targets.js';
export { normaliseDocument } from './normalise.js';
export { bundledAtoms } from './bundled.js';
export { isSafePattern, outputProblem, validateInput } from './user-schema.js';
export { stepsOf, type PlacedStep } from './walk.js';
export { schemaErrors, type TestKind } from './schema-check.js';
export { validateDocument } from './validate.js';
export { verifyFlow } from './verify/verify-flow.js';
export { resolverIn, validateTogether, worldOf, type DocumentFindings } from './verify/together.js';
export { lintRules, type LintFinding, type Witness } from './lint/lint-rules.js';
export { flowtestFindings } from './verify/others.js';
export { FINDINGS, findingUrl, type FindingKind } from './verify/registry.js';
export { ENVIRONMENT_CONFIG, environmentOf, sentBy } from './verify/environment.js';
export type { Environment, World } from './verify/world.js';
export { planFlow, type PlanContext } from './plan/plan-flow.js';
export { planRetry } from './plan/plan-retry.js';
export {
  describeSchema,
  documentSchema,
  editorSchema,
  SCHEMA_KINDS,
  type SchemaMember,
  type SchemaPart,
} from './schema-reference.js';
