import { expect, it } from 'vitest';
import { nativeOptions } from './config.js';

it.each(['127.0.0.1:7233', '127.1.2.3:1', 'localhost:7233', '[::1]:7233'])('compresses nothing for %s', (address) => {
  expect(nativeOptions({ address, namespace: 'default' })).toEqual({ address, grpcCompression: { codec: 'none' } });
});

it.each(['temporal.example:7233', '10.0.0.1:7233', 'localhost.example:7233'])(
  'leaves it to the SDK for %s',
  (address) => {
    expect(nativeOptions({ address, namespace: 'default' })).toEqual({ address });
  },
);
