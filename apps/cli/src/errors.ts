import { ApiProblem, ApiUnreachable } from '@opsloop/api-client';

/** Exit codes, the same for every command. */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** Wrong arguments, or nobody answers. */
  usage: 2,
  /** Control refused or gave up the start. */
  rejected: 3,
  /** A person has to decide, and did not before the deadline. */
  waiting: 4,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An end of a command that is no success; the message says what to do. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    message: string,
    readonly exit: ExitCode = EXIT.failed,
    /** Further lines, such as one per wrong place. */
    readonly lines: readonly string[] = [],
    /** What `--json` prints instead of the lines. */
    readonly data?: unknown,
    /** The result stands on standard output already; with `--json` nothing may follow it. */
    readonly printed = false,
  ) {
    super(message);
  }
}

/** Any failure → message, lines and exit code. */
export function asCliError(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof ApiUnreachable) {
    return new CliError(
      `${error.message}. Is it running? "opsloop up" starts a stack, "opsloop doctor" says what is missing`,
      EXIT.usage,
    );
  }
  if (error instanceof ApiProblem)
    return new CliError(problemMessage(error), problemExit(error), problemLines(error), error.problem);
  return new CliError(error instanceof Error ? error.message : String(error));
}

function problemMessage(error: ApiProblem): string {
  if (error.status === 401)
    return `${error.message}. Set OPSLOOP_TOKEN to a valid key, or run the command where the stack's .opsloop/ is`;
  return `${error.problem.title}: ${error.message}`;
}

function problemExit(error: ApiProblem): ExitCode {
  if (error.code === 'admission-rejected') return EXIT.rejected;
  return error.status === 401 || error.status === 503 ? EXIT.usage : EXIT.failed;
}

function problemLines(error: ApiProblem): string[] {
  const { policies } = error.problem as { policies?: unknown };
  const refused = Array.isArray(policies)
    ? policies.map((policy) => `policy ${typeof policy === 'string' ? policy : JSON.stringify(policy)}`)
    : [];
  return [
    ...error.errors.map(({ pointer, message }) => `${pointer === '' ? '(document)' : pointer} ${message}`),
    ...refused,
  ];
}
