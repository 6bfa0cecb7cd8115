import { Controller } from '@nestjs/common';
import { BusContext, BusHandler, type BusMessage } from '@opsloop/bus';
import type { EventMessage } from '@opsloop/contracts';
import { DeliverEventsService } from './deliver-events.service.js';

@Controller()
export class EventsConsumer {
  constructor(private readonly deliver: DeliverEventsService) {}

  // Redelivery repeats it: the same events for the same runs are there already, or were dealt with by the workflow.
  // One worker, after what the event itself starts: almost always there is nothing to do but to move on.
  @BusHandler('events', 'control', { batch: true, durable: false, workers: 1, patient: true })
  handle(messages: BusMessage<EventMessage>[], ctx: BusContext): Promise<void> {
    return this.deliver.accept(messages, ctx.tx);
  }
}
