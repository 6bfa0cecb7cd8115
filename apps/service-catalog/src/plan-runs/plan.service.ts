import { Injectable } from '@nestjs/common';
import type { FlowDocument, Json, Plan, PlanAnswer, StepRecord } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { environmentOf, planFlow, planRetry, validateTogether, verifyFlow } from '@opsloop/dsl';
import { compileStored, findingsProblem } from '../resolve-references/compile.pure.js';
import { Offerings } from '../resolve-references/offerings.service.js';
import { type Snapshot, withPublished } from '../resolve-references/snapshot.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { catalogWorld } from '../validate-documents/validate.pure.js';
import { checkDocument, isOffering } from '../write-documents/checks.pure.js';

export interface PlanRequest {
  flow?: Record<string, unknown> | undefined;
  name?: string | undefined;
  /** Flows and atoms that count as published. */
  documents?: unknown[] | undefined;
  input: Json;
  /** Steps of an earlier run. */
  against?: { steps: unknown[] } | undefined;
}

@Injectable()
export class PlanService {
  constructor(
    private readonly offerings: Offerings,
    private readonly snapshots: SnapshotRepository,
  ) {}

  async plan(tenant: string, request: PlanRequest): Promise<PlanAnswer> {
    const plan = await this.planOf(tenant, request);
    const { against } = request;
    return against === undefined ? plan : { ...plan, retry: planRetry(plan, against.steps as StepRecord[]) };
  }

  private async planOf(tenant: string, request: PlanRequest): Promise<Plan> {
    const { configs } = await this.offerings.configs(tenant);
    const snapshot = await this.snapshots.current(tenant);
    const { environment = {} } = environmentOf(configs);
    if (request.name !== undefined) {
      const { compiled } = await this.offerings.compile(tenant, request.name);
      const findings = verifyFlow(compiled.flow, catalogWorld(snapshot, configs));
      return planFlow(compiled, request.input, { config: configs, findings, environment });
    }
    const name = request.flow?.['name'];
    if (typeof name !== 'string')
      throw new OpsError('validation', 'The flow has no name', {
        errors: [{ pointer: '/flow/name', message: 'is required' }],
      });
    const document = checkDocument('flow', name, request.flow).body as unknown as FlowDocument;
    const world = withPublished(snapshot, [...offeringsOf(request.documents ?? [], snapshot), document]);
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
    const found = verifyFlow(document, catalogWorld(world, configs));
    return planFlow(offering.compiled, request.input, { config: configs, findings: found, environment });
  }
}

/** The flows and atoms among the documents; a broken one is refused, since the plan would be another one without it. */
function offeringsOf(documents: readonly unknown[], snapshot: Snapshot) {
  const offerings = documents.filter(isOffering);
  const broken = validateTogether(offerings, catalogWorld(snapshot)).find(({ valid }) => !valid);
  if (broken !== undefined) throw findingsProblem(`The ${broken.kind} ${broken.name} is not valid`, broken.findings);
  return offerings;
}
