export { startStack, type RunningStack } from './up.js';
export { upOptions, type UpOptions } from './config.js';
