import { Controller } from '@nestjs/common';
import type { BusContext, BusMessage } from '@opsloop/bus';
import { BusHandler } from '@opsloop/bus';
import type { DocumentsMessage } from '@opsloop/contracts';
import { DocumentsService } from './documents.service.js';

@Controller()
export class DocumentsConsumer {
  constructor(private readonly documents: DocumentsService) {}

  @BusHandler('documents', 'decision-documents')
  async handle(message: BusMessage<DocumentsMessage>, context: BusContext): Promise<void> {
    await this.documents.note(context.tx, message.body, message.at);
  }
}
