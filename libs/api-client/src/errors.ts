import type { FieldError, Problem } from '@opsloop/contracts';

/** The server answered with a problem document. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.detail ?? problem.title);
  }

  get code(): string {
    return this.problem.code;
  }

  get errors(): FieldError[] {
    return this.problem.errors ?? [];
  }
}

/** Nobody answered, or somebody who does not speak our language. */
export class ApiUnreachable extends Error {
  override readonly name = 'ApiUnreachable';
  constructor(
    readonly url: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${url} did not answer: ${reason}`, options);
  }
}
