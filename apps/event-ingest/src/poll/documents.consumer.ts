import { Controller } from '@nestjs/common';
import { BusHandler } from '@opsloop/bus';
import type { BusMessage } from '@opsloop/bus';
import type { DocumentsMessage } from '@opsloop/contracts';
import { RemoteCache } from './remote-cache.js';

/** Hears of changed configs and atoms. */
@Controller()
export class DocumentsConsumer {
  constructor(private readonly cache: RemoteCache) {}

  @BusHandler('documents', 'ingest-documents')
  changed(message: BusMessage<DocumentsMessage>): void {
    if (message.body.kind === 'config' || message.body.kind === 'atom') this.cache.forget();
  }
}
