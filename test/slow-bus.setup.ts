/**
 * `OPSLOOP_SPEC_SLOW_BUS=500 npx vitest run --project servers`: every delivery of the bus waits up to so many milliseconds
 * before it is handled, as on a machine that is busy with other things. A spec that reads what a message brings without
 * waiting for it then fails each time, and not once in a hundred runs.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Bus } from '@opsloop/bus';
import { slowBusMs } from '@opsloop/testing';

const DONE = Symbol.for('opsloop.slow-bus');
const bus = Bus.prototype as typeof Bus.prototype & { [DONE]?: true };
const most = slowBusMs();

// Specs share their process: once in each is enough.
if (most > 0 && bus[DONE] === undefined) {
  bus[DONE] = true;
  const subscribe = bus.subscribe;
  bus.subscribe = function (subscription) {
    subscribe.call(this, {
      ...subscription,
      handle: async (...delivery) => {
        await delay(Math.random() * most);
        return subscription.handle(...delivery);
      },
    });
  };
}
