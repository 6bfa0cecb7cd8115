import type { CompiledFlow } from '@opsloop/contracts';

const NAMED = /steps(?:\.([a-zA-Z][a-zA-Z0-9-]*)|\[\\?["']([^"'\\\]]+)\\?["']\])/g;
/** `steps` as a whole, or by a computed name: then any output may be read. */
const WHOLE = /(?:\$\{\s*steps\s*[|?}]|"var"\s*:\s*\[?\s*"steps"|"root"\s*:\s*\[?\s*"steps")/;

/**
 * Ids of the steps whose views some expression of the flow names, or undefined when it may read all of them. What
 * nobody reads need not travel with the run. Rather too many than too few: text that only looks like a path counts.
 */
export function readSteps(ir: CompiledFlow): ReadonlySet<string> | undefined {
  const text = JSON.stringify(ir.flow);
  if (WHOLE.test(text)) return undefined;
  const ids = new Set<string>();
  for (const [, plain, quoted] of text.matchAll(NAMED)) ids.add((plain ?? quoted)!);
  return ids;
}
