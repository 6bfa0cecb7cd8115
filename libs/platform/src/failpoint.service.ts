import { readFileSync } from 'node:fs';
import { Inject, Injectable } from '@nestjs/common';
import { PLATFORM_CONFIG, type PlatformConfig } from './platform.config.js';

/** Places where a crash is worth a test: around the commit of each hop, and between two steps that are not one commit. */
export const FAILPOINTS = [
  /** Events are stored; their sender was not told. */
  'ingest.after-commit',
  /** Decisions are made and written, not committed. */
  'decision.before-commit',
  'decision.after-commit',
  /** A run is admitted; nobody has asked Temporal to start it. */
  'control.after-commit',
  /** Temporal has started the workflow; control has not noted it. */
  'control.after-start',
  /** The target has done the step; Temporal was not told. */
  'atom.after-effect',
  /** The run is closed and its claims are freed, not committed. */
  'close.before-commit',
  'close.after-commit',
  'schedule.before-commit',
] as const;

export type FailpointName = (typeof FAILPOINTS)[number];

/**
 * Ends the process, as `kill -9` would, where the configuration says: `name` or `name:n` at the n-th pass; `@file`
 * reads that from a file at each pass, so a test arms a running process. Not configured, a pass costs one comparison.
 */
@Injectable()
export class Failpoint {
  private readonly setting: string | undefined;
  private readonly passed = new Map<string, number>();

  constructor(@Inject(PLATFORM_CONFIG) config: Pick<PlatformConfig, 'failpoint'>) {
    this.setting = config.failpoint === '' ? undefined : config.failpoint;
  }

  pass(name: FailpointName): void {
    if (this.setting === undefined) return;
    const armed = this.setting.startsWith('@') ? readFileSync(this.setting.slice(1), 'utf8').trim() : this.setting;
    const [wanted, count] = armed.split(':', 2);
    if (wanted !== name) return;
    const passes = (this.passed.get(armed) ?? 0) + 1;
    this.passed.set(armed, passes);
    if (passes === Number(count ?? '1')) process.kill(process.pid, 'SIGKILL');
  }
}
