/** Which answer of a scenario an atom's call gets. */
import type { Json, JsonObject } from '@opsloop/contracts';
import { durationMs } from '@opsloop/contracts';
import { memberDifferences } from '../play/differences.pure.js';
import type { ScenarioAnswer, ScenarioTest } from './scenario.js';

export class ScenarioAnswers {
  private readonly lists: Map<string, { answers: ScenarioAnswer[]; used: Map<string, number> }>;
  private readonly asked = new Set<string>();

  constructor(mocks: ScenarioTest['mocks']) {
    this.lists = new Map(
      Object.entries(mocks ?? {}).map(([atom, given]) => [
        atom.split('@', 1)[0]!,
        { answers: Array.isArray(given) ? given : [given], used: new Map() },
      ]),
    );
  }

  /**
   * The next answer for a call. Answers that name the same members of the input, or none, are one turn each; the most
   * precise of them that fits counts. Of answers that say from when, the last whose time has come is given each time.
   */
  next(atom: string, input: Json, nowMs = 0): ScenarioAnswer | undefined {
    const list = this.lists.get(atom);
    if (list === undefined) return undefined;
    this.asked.add(atom);
    const fitting = list.answers.filter((one) => one.with === undefined || fits(one.with, input));
    const precise = fitting.some((one) => one.with !== undefined)
      ? fitting.filter((one) => one.with !== undefined)
      : fitting;
    const timed = precise.filter(({ from }) => from !== undefined);
    if (timed.length > 0) return lastOf(timed, nowMs);
    const key = JSON.stringify(precise.map((one) => list.answers.indexOf(one)));
    const used = list.used.get(key) ?? 0;
    list.used.set(key, used + 1);
    return precise[Math.min(used, precise.length - 1)];
  }

  /** Atoms that were answered for and never called: usually a typing error. */
  unused(): string[] {
    return [...this.lists.keys()].filter((atom) => !this.asked.has(atom));
  }
}

/** Before the first of them the first counts: nobody looks before there is anything to see. */
function lastOf(timed: readonly ScenarioAnswer[], nowMs: number): ScenarioAnswer {
  const byTime = [...timed].sort((a, b) => durationMs(a.from!) - durationMs(b.from!));
  return byTime.filter(({ from }) => durationMs(from!) <= nowMs).at(-1) ?? byTime[0]!;
}

function fits(members: JsonObject, input: Json): boolean {
  return memberDifferences(members, input).length === 0;
}
