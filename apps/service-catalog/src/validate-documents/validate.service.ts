import { Injectable } from '@nestjs/common';
import { parseBody } from '@opsloop/platform';
import { type DocumentFindings, validateTogether } from '@opsloop/dsl';
import type { Finding } from '@opsloop/rules';
import { ValidateMany } from '../answers.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { Offerings } from '../resolve-references/offerings.service.js';
import { catalogWorld } from './validate.pure.js';

export interface ValidateOutcome {
  valid: boolean;
  findings: Finding[];
  documents: DocumentFindings[];
}

@Injectable()
export class ValidateService {
  constructor(
    private readonly snapshots: SnapshotRepository,
    private readonly offerings: Offerings,
  ) {}

  /** Findings of one document or of many. Of many, pointers in `findings` begin with `/documents/<n>`. */
  async validate(tenant: string, body: unknown): Promise<ValidateOutcome> {
    const many = typeof body === 'object' && body !== null && Object.hasOwn(body, 'documents');
    const list: readonly unknown[] = many ? parseBody(ValidateMany, body).documents : [body];
    const { configs } = await this.offerings.configs(tenant);
    const world = catalogWorld(await this.snapshots.current(tenant), configs);
    const documents = validateTogether(list, world);
    const findings = documents.flatMap((d, i) =>
      d.findings.map((f) => (many ? { ...f, pointer: `/documents/${i}${f.pointer}` } : f)),
    );
    return { valid: documents.every((d) => d.valid), findings, documents };
  }
}
