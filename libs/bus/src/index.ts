export { Bus, type BusLag, type BusOptions, busOptionsFromEnv } from './bus.service.js';
export { BusModule } from './bus.module.js';
export { busMigrations } from './bus.migrations.js';
export { BusContext, BusHandler, type BusHandlerOptions, BusStrategy } from './bus.strategy.js';
export { connectBus } from './connect-bus.js';
export type { BusMessage, Subscription } from './consumer.js';
export { ATTEMPTS_MAX } from './failure.pure.js';
export { type KafkaConfig, kafkaConfigFromEnv, type KafkaTimings, SASL_MECHANISMS } from './kafka/kafka.config.js';
export { kafkaClient } from './kafka/kafka-client.js';
