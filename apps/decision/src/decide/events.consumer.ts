import { Controller } from '@nestjs/common';
import type { BusContext, BusMessage } from '@opsloop/bus';
import { BusHandler } from '@opsloop/bus';
import type { EventMessage } from '@opsloop/contracts';
import { Failpoint } from '@opsloop/platform';
import { DecideService } from './decide.service.js';

@Controller()
export class EventsConsumer {
  constructor(
    private readonly service: DecideService,
    private readonly failpoint: Failpoint,
  ) {}

  // Not durable: ids are deterministic and the cursor is in the same transaction, so a crash repeats it; the commit of
  // control that follows flushes this one first. That saves one fsync on the way from event to start.
  @BusHandler('events', 'decision', { batch: true, durable: false })
  async handle(messages: BusMessage<EventMessage>[], context: BusContext): Promise<void> {
    await this.service.decide(
      context.tx,
      messages.map((message) => message.body),
    );
    this.failpoint.pass('decision.before-commit');
    context.tx.afterCommit(() => this.failpoint.pass('decision.after-commit'));
  }
}
