import { Injectable } from '@nestjs/common';

/** A probe that hangs counts as not ready: load balancers give up after a few seconds, so we answer before them. */
const CHECK_TIMEOUT_MS = 2_000;

export interface ReadinessPart {
  name: string;
  ok: boolean;
  detail?: string;
}

export interface ReadinessReport {
  ready: boolean;
  parts: ReadinessPart[];
}

/** Collects what has to work before this process may take traffic. */
@Injectable()
export class Readiness {
  private readonly checks = new Map<string, () => Promise<void> | void>();

  /** A check that throws (or takes longer than 2 s) makes the process not ready; the message is the detail. */
  register(name: string, check: () => Promise<void> | void): void {
    this.checks.set(name, check);
  }

  async report(): Promise<ReadinessReport> {
    const parts = await Promise.all([...this.checks].map(([name, check]) => runCheck(name, check)));
    return { ready: parts.every((part) => part.ok), parts };
  }
}

async function runCheck(name: string, check: () => Promise<void> | void): Promise<ReadinessPart> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
  });
  try {
    await Promise.race([Promise.resolve().then(check), late]);
    return { name, ok: true };
  } catch (error) {
    return { name, ok: false, detail: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
