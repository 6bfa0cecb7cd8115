export * from './database.js';
export * from './deferred.js';
export * from './eventually.js';
export * from './http-target.js';
export { freePort } from './ports.js';
export { testKafka, type TestKafka, testTemporal, type TestTemporal, whereKafka } from './servers.js';
export { KafkaBroker, type KafkaOptions } from './kafka-server.js';
export { kafkaVersion } from './kafka-files.js';
export * from './child-process.js';
