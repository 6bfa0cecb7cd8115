import { Injectable } from '@nestjs/common';
import {
  BaseRpcContext,
  Ctx,
  type CustomTransportStrategy,
  EventPattern,
  type MessageHandler,
  Payload,
  Server,
} from '@nestjs/microservices';
import { type Topic, TOPICS } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { isObservable, lastValueFrom } from 'rxjs';
import { Bus } from './bus.service.js';
import type { BusMessage } from './consumer.js';

export interface BusHandlerOptions {
  /** The handler gets the list of messages of one transaction instead of one message. */
  batch?: boolean;
  /** False = `synchronous_commit` off: for handlers whose effects a redelivery repeats with the same ids. */
  durable?: boolean;
  /** Partitions handled at a time in this process. Default 2. */
  workers?: number;
  /** True = may wait some 25 ms: for handlers of what the way from an event to its start also passes. */
  patient?: boolean;
}

/** Second argument of a handler. Effects go through `tx` alone: it commits together with the cursor. */
export class BusContext extends BaseRpcContext<[Tx]> {
  constructor(readonly tx: Tx) {
    super([tx]);
  }
}

const patternOf = (topic: Topic, group: string): string => `${topic}/${group}`;

/**
 * Marks a controller method as the handler of a topic for a group: `handle(message, ctx)`, with `batch` a list of
 * messages. It may run again for the same messages, but its effects through `ctx.tx` happen once.
 */
export function BusHandler(topic: Topic, group: string, opts: BusHandlerOptions = {}): MethodDecorator {
  // Nest merges `extras` into the handler, where the strategy finds them.
  const pattern = EventPattern<string>(patternOf(topic, group), { bus: { topic, group, ...opts } }) as MethodDecorator;
  return (target, method, descriptor) => {
    // Without these Nest hands over the message alone, and every handler needs the transaction.
    Payload()(target, method, 0);
    Ctx()(target, method, 1);
    return pattern(target, method, descriptor);
  };
}

interface BusExtras {
  bus?: BusHandlerOptions & { topic: Topic; group: string };
}

/** Connects Nest's event handlers to the bus. */
@Injectable()
export class BusStrategy extends Server implements CustomTransportStrategy {
  override readonly transportId = Symbol('bus');
  // We await handlers and react to their errors ourselves.
  override readonly propagatesEventHandlerErrors = true;

  constructor(private readonly bus: Bus) {
    super();
  }

  override addHandler(
    pattern: unknown,
    callback: MessageHandler,
    isEventHandler = false,
    extras: BusExtras = {},
  ): void {
    const name = this.normalizePattern(pattern as string);
    if (this.messageHandlers.has(name)) {
      // Nest would chain them: one failure would redeliver to both.
      throw new Error(`Two bus handlers for ${name}; give one another group`);
    }
    const { bus } = extras;
    if (bus === undefined || !TOPICS.includes(bus.topic))
      throw new Error(`${name}: declare bus handlers with @BusHandler`);
    super.addHandler(pattern, callback, isEventHandler, extras as Record<string, unknown>);
    this.bus.subscribe({
      topic: bus.topic,
      group: bus.group,
      ...(bus.durable === undefined ? {} : { durable: bus.durable }),
      ...(bus.workers === undefined ? {} : { workers: bus.workers }),
      ...(bus.patient === undefined ? {} : { patient: bus.patient }),
      handle: async (messages, tx) => {
        const context = new BusContext(tx);
        if (bus.batch === true) await deliver(callback, messages, context);
        else for (const message of messages) await deliver(callback, message, context);
      },
    });
  }

  listen(callback: (error?: unknown) => void): void {
    this.bus.start().then(
      () => callback(),
      (error: unknown) => callback(error),
    );
  }

  async close(): Promise<void> {
    await this.bus.stop();
  }

  override on(): never {
    throw new Error('the bus has no native events');
  }

  override unwrap<T>(): T {
    return this.bus as unknown as T;
  }
}

async function deliver(handler: MessageHandler, data: BusMessage | BusMessage[], context: BusContext): Promise<void> {
  const result: unknown = await handler(data, context);
  if (isObservable(result)) await lastValueFrom(result, { defaultValue: undefined });
}
