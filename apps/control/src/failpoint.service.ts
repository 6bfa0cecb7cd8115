import { Inject, Injectable } from '@nestjs/common';
import { CONTROL_CONFIG, type ControlConfig } from './config.js';

/** Places where a crash is worth a test: right between two steps that are not one transaction. */
export type FailpointName = 'control.after-commit' | 'control.after-start';

/** Ends the process, as `kill -9` would, at the n-th pass of the one failpoint that the configuration names. */
@Injectable()
export class Failpoint {
  private readonly name: string | undefined;
  private left: number;

  constructor(@Inject(CONTROL_CONFIG) config: ControlConfig) {
    const [name, count] = (config.failpoint ?? '').split(':', 2);
    this.name = name === '' ? undefined : name;
    this.left = Number(count ?? '1');
  }

  pass(name: FailpointName): void {
    if (name !== this.name) return;
    this.left -= 1;
    if (this.left === 0) process.kill(process.pid, 'SIGKILL');
  }
}
