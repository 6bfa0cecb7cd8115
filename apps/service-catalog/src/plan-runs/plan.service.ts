import { Injectable } from '@nestjs/common';
import type { FlowDocument, Json } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { compileStored, findingsProblem } from '../resolve-references/compile.pure.js';
import { Offerings } from '../resolve-references/offerings.service.js';
import { withPublished } from '../resolve-references/snapshot.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { checkDocument } from '../write-documents/checks.pure.js';
import { planOf, type RunPlan } from './plan.pure.js';

export interface PlanRequest {
  flow?: Record<string, unknown> | undefined;
  name?: string | undefined;
  input: Json;
}

@Injectable()
export class PlanService {
  constructor(
    private readonly offerings: Offerings,
    private readonly snapshots: SnapshotRepository,
  ) {}

  async plan(tenant: string, request: PlanRequest): Promise<RunPlan> {
    const { configs } = await this.offerings.configs(tenant);
    if (request.name !== undefined)
      return planOf(await this.offerings.compile(tenant, request.name), request.input, configs);
    const name = request.flow?.['name'];
    if (typeof name !== 'string')
      throw new OpsError('validation', 'The flow has no name', {
        errors: [{ pointer: '/flow/name', message: 'is required' }],
      });
    const document = checkDocument('flow', name, request.flow).body as unknown as FlowDocument;
    const world = withPublished(await this.snapshots.current(tenant), [document]);
    const { offering, findings } = compileStored(world, {
      kind: 'flow',
      name,
      version: document.version,
      status: 'draft',
      digest: '',
      body: document,
      createdAt: '',
      createdBy: '',
    });
    if (offering === undefined) throw findingsProblem(`${name} does not compile`, findings);
    return planOf(offering, request.input, configs);
  }
}
