import { Injectable } from '@nestjs/common';
import { parseBody } from '@opsloop/platform';
import { type DocumentFindings, validateTogether } from '@opsloop/dsl';
import type { Finding } from '@opsloop/rules';
import { ValidateMany } from '../answers.pure.js';
import { Surroundings } from './surroundings.service.js';

export interface ValidateOutcome {
  valid: boolean;
  findings: Finding[];
  documents: DocumentFindings[];
}

@Injectable()
export class ValidateService {
  constructor(private readonly surroundings: Surroundings) {}

  /** Findings of one document or of many. Of many, pointers in `findings` begin with `/documents/<n>`. */
  async validate(tenant: string, body: unknown): Promise<ValidateOutcome> {
    const many = typeof body === 'object' && body !== null && Object.hasOwn(body, 'documents');
    const list: readonly unknown[] = many ? parseBody(ValidateMany, body).documents : [body];
    const { world } = await this.surroundings.around(tenant, namesOf(list));
    const documents = validateTogether(list, world);
    const findings = documents.flatMap((d, i) =>
      d.findings.map((f) => (many ? { ...f, pointer: `/documents/${i}${f.pointer}` } : f)),
    );
    return { valid: documents.every((d) => d.valid), findings, documents };
  }
}

/** Names of the flows among them. */
function namesOf(list: readonly unknown[]): string[] {
  return list.flatMap((one) => {
    const { kind, name } = (one ?? {}) as { kind?: unknown; name?: unknown };
    return kind === 'flow' && typeof name === 'string' ? [name] : [];
  });
}
