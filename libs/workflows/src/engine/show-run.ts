import type { Engine } from './engine.js';
import { progressMarkdown, stepFrames } from './shown.pure.js';
import type { Shown } from './shown.pure.js';

/** What the SDK's answers to `__temporal_workflow_metadata` and the two stack traces are made of. */
interface SdkActivator {
  currentDetails: string;
  getStackTraces(): { formatted: string; structured: { function_name?: string; internal_code: boolean }[] }[];
}

/**
 * Temporal's Web UI asks these of every workflow. The SDK knows promises and what was last set; a person wants to know
 * at which step the run stands. Said when somebody asks: a run of a thousand steps pays nothing for it. An SDK that
 * keeps it elsewhere answers as it does by itself.
 */
export function showRun(engine: Engine, phase: () => string): void {
  const activator = (globalThis as { __TEMPORAL_ACTIVATOR__?: SdkActivator }).__TEMPORAL_ACTIVATOR__;
  if (activator === undefined) return;
  const shown = (): Shown => ({
    context: engine.facts.context,
    phase: phase(),
    notes: new Map([...engine.notes].map(([path, text]) => [path === '' ? '' : engine.fullPath(path), text])),
    records: engine.records.values(),
  });
  Object.defineProperty(activator, 'currentDetails', { configurable: true, get: () => progressMarkdown(shown()) });
  activator.getStackTraces = () =>
    stepFrames(shown()).map((formatted) => ({
      formatted,
      structured: [{ function_name: formatted, internal_code: false }],
    }));
}
