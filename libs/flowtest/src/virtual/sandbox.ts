/**
 * The interpreter's workflow bundle in this process: the same code, the same SDK and the same sandbox globals as in a
 * Temporal worker, driven activation by activation. What a server and Core would answer comes from `VirtualTemporal`.
 */
import { AsyncLocalStorage as NodeAsyncLocalStorage } from 'node:async_hooks';
import assert from 'node:assert';
import { readFile } from 'node:fs/promises';
import { TextDecoder, TextEncoder } from 'node:util';
import vm from 'node:vm';
import type { Activator, Command, Job, SandboxApi, WorkflowStart } from './protocol.js';

/** What the workflow sees of the moment in which it is activated. */
export interface Moment {
  now: number;
  historyLength: number;
  continueAsNewSuggested: boolean;
  isReplaying: boolean;
}

/** One activation and what the workflow answered. */
export interface Step {
  jobs: readonly Job[];
  moment: Moment;
  commands: readonly Command[];
  /** Flags of the SDK that were in force. */
  flags: readonly number[];
}

export interface Activated {
  commands: Command[];
  usedInternalFlags: number[];
}

interface Bag {
  __TEMPORAL_ACTIVATOR__?: Activator | undefined;
  __call?: readonly [keyof SandboxApi, readonly unknown[]];
  [name: string]: unknown;
}

/** A bundle, loaded once for any number of runs: its modules keep no state of a run. */
export class Sandbox {
  private readonly enter = new vm.Script('__TEMPORAL__.api[__call[0]](...__call[1])');

  private constructor(private readonly context: vm.Context & Bag) {}

  static async load(codePath: string): Promise<Sandbox> {
    const code = await readFile(codePath, 'utf8');
    // Microtasks of the sandbox run at the end of each call into it, so that a call is all that a workflow does.
    const context = vm.createContext({}, { microtaskMode: 'afterEvaluate' }) as vm.Context & Bag;
    injectGlobals(context);
    new vm.Script(code, { filename: 'workflow-bundle.cjs' }).runInContext(context);
    return new Sandbox(context);
  }

  /** A new workflow; it runs nothing yet. */
  open(start: WorkflowStart): SandboxedWorkflow {
    this.context.__TEMPORAL_ACTIVATOR__ = undefined;
    this.call('initRuntime', start);
    const activator = this.context.__TEMPORAL_ACTIVATOR__ as Activator | undefined;
    if (activator === undefined) throw new Error('the workflow bundle has made no activator');
    return new SandboxedWorkflow(this, activator);
  }

  /** @internal Puts the globals of one workflow in place and calls the SDK's interface for workers. */
  within(activator: Activator): void {
    this.context.__TEMPORAL_ACTIVATOR__ = activator;
  }

  /** @internal */
  call(name: keyof SandboxApi, ...args: readonly unknown[]): unknown {
    this.context.__call = [name, args];
    return this.enter.runInContext(this.context);
  }
}

/** One workflow run inside the sandbox. */
export class SandboxedWorkflow {
  private disposed = false;

  constructor(
    private readonly sandbox: Sandbox,
    private readonly activator: Activator,
  ) {}

  /** Hands over jobs and gives the commands that follow; an error that escapes is a bug of the interpreter. */
  activate(jobs: readonly Job[], moment: Moment, flags: readonly number[] = []): Activated {
    if (this.disposed) throw new Error('the workflow was disposed of');
    const { activator, sandbox } = this;
    activator.now = moment.now;
    activator.mutateWorkflowInfo((info) => ({
      ...info,
      historyLength: moment.historyLength,
      continueAsNewSuggested: moment.continueAsNewSuggested,
      unsafe: {
        ...(info['unsafe'] as object),
        isReplaying: moment.isReplaying,
        isReplayingHistoryEvents: moment.isReplaying,
      },
    }));
    activator.addKnownFlags(flags);
    sandbox.within(activator);
    const rest: Job[] = [];
    for (const job of jobs) {
      if (job.variant === 'initializeWorkflow') sandbox.call('initialize', job.initializeWorkflow);
      if (job.variant === 'notifyHasPatch') activator.notifyHasPatch(job.notifyHasPatch);
      else rest.push(job);
    }
    sandbox.call('activate', { jobs: rest });
    while ((sandbox.call('tryUnblockConditions') as number) > 0);
    const completion = sandbox.call('concludeActivation') as { successful: Activated };
    activator.getAndResetSinkCalls();
    return completion.successful;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.sandbox.within(this.activator);
    this.sandbox.call('dispose');
  }
}

/** The globals that the SDK puts into its sandboxes. */
function injectGlobals(context: vm.Context & Bag): void {
  context.__webpack_module_cache__ = {};
  const nothing = (): void => undefined;
  const globals = {
    URL,
    URLSearchParams,
    assert,
    TextEncoder,
    TextDecoder,
    AbortController,
    AsyncLocalStorage: class<T> extends NodeAsyncLocalStorage<T> {},
    console: { log: nothing, warn: nothing, error: nothing, info: nothing, debug: nothing },
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(context, name, { value, writable: name === 'console', enumerable: true });
  }
}
