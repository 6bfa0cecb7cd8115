import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { ERRORS, OpsError } from '@opsloop/contracts';
import type { SourceDocument } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import type { HttpMessage } from '../accept/cloud-event.pure.js';
import type { Proof } from '../receive-hook/authenticate.js';
import { visibleHeaders } from '../receive-hook/mapping.pure.js';
import { DeadLetterRepository } from './dead-letter.repository.js';

/** Keeps what a known sender sent and nobody could read; senders do not repeat what was refused. */
@Injectable()
export class BuryService {
  constructor(
    private readonly dead: DeadLetterRepository,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  /** Answers where it is kept. What is not the sender's mistake, such as a database that is away, is thrown on. */
  async bury(
    source: Pick<SourceDocument, 'name'>,
    message: Pick<HttpMessage, 'headers' | 'rawBody'>,
    proof: Proof,
    at: Date,
    error: unknown,
  ): Promise<{ deadLetter?: string }> {
    if (!(error instanceof OpsError) || ERRORS[error.code].http >= 429) throw error;
    const deadLetter = await this.dead.keep(this.config.tenant, {
      id: newId(),
      source: source.name,
      digest: createHash('sha256').update(message.rawBody).digest('hex'),
      at,
      code: error.code,
      cause: error.detail,
      errors: error.options.errors ?? [],
      headers: visibleHeaders(message.headers),
      ...(proof.signed === undefined ? {} : { signed: proof.signed }),
      body: message.rawBody,
    });
    return deadLetter === undefined ? {} : { deadLetter };
  }
}
