import { text } from 'node:stream/consumers';
import type { Streams } from './output.js';

/** The streams, environment and folder of this process. */
export function processStreams(): Streams {
  // A reader that went away (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  return {
    out: (chunk) => void process.stdout.write(chunk),
    err: (chunk) => void process.stderr.write(chunk),
    isTTY: process.stdout.isTTY === true,
    env: process.env,
    cwd: process.cwd(),
    stdin: () => text(process.stdin),
  };
}
