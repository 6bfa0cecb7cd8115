/** Flows run by the real interpreter in virtual time, without a server; and the tests that are written on top of it. */
export { interpreterSandbox } from './sandbox-cache.js';
export { runVirtually } from './virtual-run.js';
export type { AtomAttempt, OpenRun, VirtualResult, VirtualRunOptions } from './virtual-run.js';
export type { ActivityAnswer, ActivityCall } from './virtual/activity.js';
export type { Thrown } from './virtual/failures.js';
export { Sandbox } from './virtual/sandbox.js';
export { VirtualTemporal } from './virtual/temporal.js';
export type { VirtualOptions } from './virtual/temporal.js';
