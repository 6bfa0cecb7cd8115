import { Injectable } from '@nestjs/common';
import { Database } from '@opsloop/postgres';
import { type Policy, readPolicy } from '../policies/policy.pure.js';
import { Remembered } from '../remembered.js';
import type { Level } from './autonomy.pure.js';

/** Whoever is asked has as long as work stays valid. */
const ASKED_FOR = '30m';

export interface LevelRow {
  rule: string;
  flow: string;
  level: Level;
  why: string | null;
}

interface Levels {
  policies: Policy[];
  shadow: Map<string, string>;
}

const key = (rule: string, flow: string): string => `${rule}\u0000${flow}`;

/** The levels in force, for admission: a demoted rule is asked about, or starts nothing. Only those that are demoted are read. */
@Injectable()
export class LevelsService {
  private readonly levels = new Remembered(() => this.read());

  constructor(private readonly db: Database) {}

  /** Approval policies for what was demoted that far. */
  async policies(): Promise<Policy[]> {
    return (await this.levels.get()).policies;
  }

  /** Why this rule starts nothing with this flow; undefined: it does. */
  async shadowed(rule: string | undefined, flow: string): Promise<string | undefined> {
    return rule === undefined ? undefined : (await this.levels.get()).shadow.get(key(rule, flow));
  }

  forget(): void {
    this.levels.forget();
  }

  private async read(): Promise<Levels> {
    const rows = await this.db.query<LevelRow>({
      name: 'control.levels',
      text: `SELECT rule, flow, level, why FROM control.autonomy WHERE tenant = 'default' AND level <> 'auto' ORDER BY rule, flow`,
    });
    const asked = rows.filter((row) => row.level === 'approval');
    return {
      policies: asked.map(({ rule, flow }) =>
        readPolicy(
          'opsloop/self-demotion',
          {
            type: 'approval',
            match: { rules: [rule], flows: [flow] },
            approvers: { min: 1 },
            timeout: ASKED_FOR,
            onTimeout: 'reject',
          },
          `self-demotion ${rule} ${flow}`,
        ),
      ),
      shadow: new Map(
        rows
          .filter((row) => row.level === 'shadow')
          .map(({ rule, flow, why }) => [key(rule, flow), `rule ${rule} is in shadow with ${flow}: ${why ?? ''}`]),
      ),
    };
  }
}
