/** What calls are answered with: for each call the most precise mock that names it, its answers in turn. */
import { ERRORS, PROBLEM_BASE, durationMs, isErrorCode, problem } from '@opsloop/contracts';
import type { Json, Problem } from '@opsloop/contracts';
import type { ActivityAnswer } from '../virtual/activity.js';
import type { FlowTest, MockAnswer, MockProblem } from './flowtest.js';
import { atomOfKey, namesPath } from './paths.pure.js';
import type { Precision } from './paths.pure.js';

interface Mock {
  key: string;
  answers: MockAnswer[];
  used: number;
}

const RANK: Readonly<Record<Precision | 'atom', number>> = { exact: 4, pattern: 3, step: 2, id: 1, atom: 0 };

export class MockTable {
  private readonly mocks: Mock[];

  constructor(mocks: FlowTest['mocks']) {
    this.mocks = Object.entries(mocks ?? {}).map(([key, given]) => ({
      key,
      answers: Array.isArray(given) ? given : [given],
      used: 0,
    }));
  }

  /** The next answer for a call; the last one goes on answering. */
  next(path: string, atom: string): MockAnswer | undefined {
    let best: { mock: Mock; rank: number } | undefined;
    for (const mock of this.mocks) {
      const name = atomOfKey(mock.key);
      const precision = name === undefined ? namesPath(mock.key, path) : name === atom ? ('atom' as const) : undefined;
      if (precision !== undefined && RANK[precision] > (best?.rank ?? -1)) best = { mock, rank: RANK[precision] };
    }
    if (best === undefined) return undefined;
    const { mock } = best;
    const answer = mock.answers[Math.min(mock.used, mock.answers.length - 1)];
    mock.used += 1;
    return answer;
  }

  /** Mocks that no call came to: usually a typing error in a path. */
  unused(): string[] {
    return this.mocks.filter((mock) => mock.used === 0).map((mock) => mock.key);
  }
}

/** The problem as the interpreter's worker would report it. */
export function problemOfMock(mock: MockProblem): Problem {
  const code = mock.type.startsWith(PROBLEM_BASE) ? mock.type.slice(PROBLEM_BASE.length) : mock.type;
  const { status, title, detail } = mock;
  const base: Problem = isErrorCode(code)
    ? problem(code, detail)
    : { type: PROBLEM_BASE + code, title: code, status: 500, code, ...(detail === undefined ? {} : { detail }) };
  return {
    ...base,
    ...(status === undefined ? {} : { status }),
    ...(title === undefined ? {} : { title }),
    retryable: mock.retryable ?? (isErrorCode(code) ? ERRORS[code].temporal === 'retry' : false),
  };
}

/** A mock as the virtual server takes it. */
export function answerOf(mock: MockAnswer): ActivityAnswer {
  if (mock.hangs === true) return { hangs: true };
  const timing = mock.delay === undefined ? {} : { afterMs: durationMs(mock.delay) };
  if (mock.problem === undefined) return { ...timing, value: mock.result ?? null };
  const failure = problemOfMock(mock.problem);
  return {
    ...timing,
    thrown: {
      type: failure.code,
      message: failure.detail ?? failure.title,
      nonRetryable: failure.retryable === false,
      details: [failure as unknown as Json],
    },
  };
}
