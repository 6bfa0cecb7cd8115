import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { freePort, isPortBusy, isPortFree } from './ports.js';

it('a port that an outgoing connection uses is not free, although nobody answers there', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ host: '127.0.0.1', port });
  const [[accepted]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [
    [typeof client],
    [],
  ];
  expect(await Promise.all([isPortBusy(port), isPortFree(port)])).toEqual([true, false]);
  // Given by the system, as to every client.
  const localPort = client.localPort!;
  expect(await Promise.all([isPortBusy(localPort), isPortFree(localPort)])).toEqual([false, false]);
  client.destroy();
  accepted.destroy();
  server.close();
  await once(server, 'close');
});

it('gives the first of several free ports in a row, below those of outgoing connections', async () => {
  const first = await freePort(3);
  expect(first).toBeGreaterThanOrEqual(20_000);
  expect(first).toBeLessThan(32_000);
  expect(await Promise.all([0, 1, 2].map((i) => isPortFree(first + i)))).toEqual([true, true, true]);
});
