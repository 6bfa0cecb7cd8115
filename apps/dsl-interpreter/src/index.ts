export { type DslInterpreterConfig, dslInterpreterConfigFromEnv } from './config.js';
export { DslInterpreterModule } from './dsl-interpreter.module.js';
/** The parts that a process needs which runs flows in another way than by a worker. */
export { judge as judgeGate } from './gate-steps/halt-gate.pure.js';
export { EventSender } from './serve-runs/event-sender.service.js';
export { FlowActivitiesService } from './serve-runs/flow-activities.service.js';
