import type { Verb } from '@opsloop/contracts';
import type { VerbFunction } from '../engine/walker.js';
import { approvalStep } from './approval.js';
import { doStep, switchStep, tryStep } from './blocks.js';
import { callStep } from './call.js';
import { forEachStep } from './for-each.js';
import { loopStep, reconcileStep } from './loops.js';
import { parallelStep } from './parallel.js';
import { runStep } from './run.js';
import { emitStep, raiseStep, returnStep, setStep, waitStep } from './simple.js';
import { waitForEventStep } from './wait-for-event.js';

/** One function per verb; the walker has already made sure that the step has this verb. */
export const VERB_TABLE: Readonly<Record<Verb, VerbFunction>> = {
  call: callStep,
  run: runStep,
  do: doStep,
  parallel: parallelStep,
  switch: switchStep,
  forEach: forEachStep,
  loop: loopStep,
  reconcile: reconcileStep,
  wait: waitStep,
  waitForEvent: waitForEventStep,
  approval: approvalStep,
  try: tryStep,
  set: setStep,
  emit: emitStep,
  raise: raiseStep,
  return: returnStep,
};
