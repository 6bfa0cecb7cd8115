import { Inject, Injectable } from '@nestjs/common';
import type { LogSink } from '@opsloop/atoms';
import { InternalClient } from '@opsloop/platform';

/** Hands the lines of steps to control, which keeps them beside the run. */
@Injectable()
export class LogSender {
  constructor(@Inject(InternalClient) private readonly client: InternalClient) {}

  readonly sink: LogSink = async (run, batch) => {
    await this.client.call('POST /internal/runs/:id/logs', batch, { id: run });
  };
}
