import { createConnection, createServer } from 'node:net';

const HOST = '127.0.0.1';
/**
 * Below the range from which systems take the ports of outgoing connections (from 32768 on Linux, from 49152 elsewhere):
 * there a port that is free now may be taken before a server listens on it, although nothing ever listens there.
 */
const LOWEST = 20_000;
const HIGHEST = 32_000;
/** Of 12,000 ports a machine uses some dozen. */
const TRIES = 100;

/** True when something listens on the port of loopback. */
export function isPortBusy(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: HOST, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** True when a server could listen there: a port may also be in use by an outgoing connection, where nobody answers. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: HOST, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** The first of so many ports in a row on which servers can listen, now and at a restart. */
export async function freePort(inARow = 1): Promise<number> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const first = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST - inARow));
    const free = await Promise.all(Array.from({ length: inARow }, (_, i) => isPortFree(first + i)));
    if (!free.includes(false)) return first;
  }
  throw new Error(`no ${inARow} free ports in a row from ${LOWEST} to ${HIGHEST}`);
}
