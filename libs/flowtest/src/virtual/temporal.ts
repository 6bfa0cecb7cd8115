/** A Temporal server of one process in virtual time: enough of it for the interpreter, and nothing is ever written down. */
import type { Payload } from '@temporalio/common';
import type { Json } from '@opsloop/contracts';
import type { ActivityAnswer, ActivityCall } from './activity.js';
import { VirtualClock } from './clock.js';
import { Execution } from './execution.js';
import type { StartRequest, UpdateAnswer } from './execution.js';
import { fromPayload, toPayload } from './payloads.js';
import { job } from './protocol.js';
import type { Sandbox } from './sandbox.js';

export interface VirtualOptions {
  /** Answers every attempt of every activity. */
  answer: (call: ActivityCall) => ActivityAnswer;
  startMs?: number;
  /** Length of the history from which a workflow is told to continue as new; a server says so at 4,096. */
  continueAsNewAt?: number;
  /** Keeps what is needed to replay; costs memory. */
  keepSteps?: boolean;
  /** Called after each activation. */
  onActivated?: (execution: Execution) => void;
  /** Called when a workflow has ended for good. */
  onEnded?: (execution: Execution) => void;
}

/** A run that never ends stops here: 100,000 steps take 300,000 activations. */
const ACTIVATIONS_MAX = 1_000_000;

export class VirtualTemporal {
  readonly clock: VirtualClock;
  private readonly executions = new Map<string, Execution>();
  private readonly woken = new Set<Execution>();
  private runs = 0;
  private sent = 0;
  activations = 0;

  constructor(
    readonly sandbox: Sandbox,
    readonly options: VirtualOptions,
  ) {
    this.clock = new VirtualClock(options.startMs ?? Date.UTC(2026, 0, 1));
  }

  /** Starts a workflow; it runs when time passes. */
  start(workflowId: string, workflowType: string, args: readonly unknown[]): Execution {
    return this.begin({ workflowId, workflowType, args: args.map(toPayload) });
  }

  signal(workflowId: string, name: string, ...args: readonly unknown[]): boolean {
    return this.signalPayloads(workflowId, name, args.map(toPayload));
  }

  /** @returns false when the workflow is not there any more. */
  cancel(workflowId: string): boolean {
    const execution = this.find(workflowId);
    if (execution === undefined || execution.close !== undefined) return false;
    execution.cancel();
    return true;
  }

  /** Sends an update; `answered` hears its result or why it was refused. */
  update(workflowId: string, name: string, args: readonly unknown[], answered: (answer: UpdateAnswer) => void): void {
    const execution = this.find(workflowId);
    if (execution === undefined || execution.close !== undefined)
      return answered({ rejected: 'the workflow has ended' });
    const id = `update-${(this.sent += 1)}`;
    execution.updates.set(id, answered);
    execution.push(
      job('doUpdate', {
        id,
        protocolInstanceId: id,
        name,
        input: args.map(toPayload),
        headers: {},
        runValidator: true,
      }),
    );
  }

  query(workflowId: string, name: string): Json | undefined {
    const execution = this.find(workflowId);
    if (execution === undefined) throw new Error(`there is no workflow ${workflowId}`);
    return fromPayload(execution.query(name));
  }

  /** The newest run of a workflow. */
  find(workflowId: string): Execution | undefined {
    return this.executions.get(workflowId);
  }

  open(): Execution[] {
    return [...this.executions.values()].filter((execution) => execution.close === undefined);
  }

  /** Goes on until nothing is left to do; what still waits then waits for ever. */
  run(): void {
    while (this.step());
  }

  /** Does what is due, then goes to the next moment; false when there is none. */
  step(): boolean {
    this.runWoken();
    return this.clock.advance() || this.woken.size > 0;
  }

  /** Something has happened that a workflow has not heard yet. */
  get isAwake(): boolean {
    return this.woken.size > 0;
  }

  /** Does what is due at this moment. */
  runWoken(): void {
    for (const execution of this.woken) {
      this.woken.delete(execution);
      if ((this.activations += 1) > ACTIVATIONS_MAX) throw new Error(`no end after ${ACTIVATIONS_MAX} activations`);
      execution.activate();
      this.options.onActivated?.(execution);
    }
  }

  /** @internal */
  wake(execution: Execution): void {
    this.woken.add(execution);
  }

  /** @internal */
  ended(execution: Execution): void {
    this.options.onEnded?.(execution);
  }

  /** @internal */
  begin(request: StartRequest): Execution {
    const execution = new Execution(this, request, (this.runs += 1));
    this.executions.set(request.workflowId, execution);
    return execution;
  }

  /** @internal */
  signalPayloads(workflowId: string, signalName: string, input: Payload[]): boolean {
    const execution = this.find(workflowId);
    if (execution === undefined || execution.close !== undefined) return false;
    execution.history += 1;
    execution.push(job('signalWorkflow', { signalName, input, headers: {} }));
    return true;
  }
}
