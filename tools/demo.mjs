// `npm run demo`: install what is missing, build, then play the incident. `--exit` leaves at the end with 0 or 1.
import { fileURLToPath } from 'node:url';
import { build, install, useOwnNode } from './bootstrap.mjs';

install();
useOwnNode(fileURLToPath(import.meta.url));
build();
const { playDemo } = await import('./demo/main.mjs');
await playDemo(process.argv.slice(2));
