/** The `opsloop` command. */
import { processStreams } from './streams.config.js';
import { runCli } from './program.js';

process.exitCode = await runCli(process.argv.slice(2), processStreams());
