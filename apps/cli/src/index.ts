export { runCli } from './program.js';
export type { Streams } from './output.js';
