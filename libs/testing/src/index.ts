export * from './database.js';
export * from './deferred.js';
export * from './eventually.js';
export * from './http-target.js';
export { freePort } from './ports.js';
export { testTemporal, type TestTemporal } from './servers.js';
export * from './child-process.js';
