import { Injectable } from '@nestjs/common';
import { parseBody } from '@opsloop/platform';
import type { Finding } from '@opsloop/rules';
import { ValidateMany } from '../answers.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { type DocumentFindings, validateTogether } from './validate.pure.js';

export interface ValidateOutcome {
  valid: boolean;
  findings: Finding[];
  documents: DocumentFindings[];
}

@Injectable()
export class ValidateService {
  constructor(private readonly snapshots: SnapshotRepository) {}

  /** Findings of one document or of many. Of many, pointers in `findings` begin with `/documents/<n>`. */
  async validate(tenant: string, body: unknown): Promise<ValidateOutcome> {
    const many = typeof body === 'object' && body !== null && Object.hasOwn(body, 'documents');
    const list: readonly unknown[] = many ? parseBody(ValidateMany, body).documents : [body];
    const documents = validateTogether(await this.snapshots.current(tenant), list);
    const findings = documents.flatMap((d, i) =>
      d.findings.map((f) => (many ? { ...f, pointer: `/documents/${i}${f.pointer}` } : f)),
    );
    return { valid: documents.every((d) => d.valid), findings, documents };
  }
}
