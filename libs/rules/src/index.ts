/** Conditions, templates and their text form. Pure, and safe inside the workflow sandbox. */
export { validateLogic } from './validate-logic.js';
export { evaluateCondition, evaluateLogic, type LogicMode } from './evaluate.js';
export { explainCondition, type Explanation } from './explain.js';
export { canonicalLogic, printLiteral, printLogic } from './print-logic.js';
export { normaliseCondition, parseLogic } from './parse-logic.js';
export { logicPaths, renderTemplate, templatePaths, validateTemplate } from './template.js';
export { toPlainJson, toScopeValue, type Scope } from './scope-value.js';
export { formatPath, parsePath, PathSyntaxError, PROTOTYPE_NAMES, readPath } from './path.js';
export { LOGIC_DEPTH_MAX, LOGIC_NODES_MAX, operationOf, OPERATORS } from './operators.js';
export { finding, pointerTo, type Finding } from './finding.js';
export { logicReads, templateReads, type PathRead } from './reads.js';
