import { Injectable } from '@nestjs/common';
import type { BusMessage } from '@opsloop/bus';
import type { StartsMessage } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { EndWaitingService } from '../queue/end-waiting.service.js';
import { AdmitService, type StartInput } from './admit.service.js';

/** What decision asks for: starts and withdrawals, in the order of the bus. */
@Injectable()
export class StartsService {
  constructor(
    private readonly admission: AdmitService,
    private readonly ends: EndWaitingService,
  ) {}

  async handle(messages: readonly BusMessage<StartsMessage>[], tx: Tx): Promise<void> {
    // Runs of starts are admitted together; a withdrawal must see the starts before it.
    let starts: StartInput[] = [];
    const flush = async (): Promise<void> => {
      if (starts.length === 0) return;
      await this.admission.admit(tx, await Promise.all(starts.map((s) => this.admission.prepare(s))));
      starts = [];
    };
    for (const { body } of messages) {
      if (body.kind === 'start') starts.push({ request: body.start, kind: 'run' });
      else {
        await flush();
        await this.ends.end(tx, body.id, 'withdrawn', body.reason);
      }
    }
    await flush();
  }
}
