/**
 * The data directory of an embedded stack (`.opsloop/`): who runs on it, the keys, where to reach it. Private to the
 * user who made it.
 */
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { isAlive, markOf, type ProcessMark } from '@opsloop/embedded';

/** What runs, with marks that survive pid reuse; read by the next start. */
export interface StackFile {
  stack: ProcessMark;
  url: string;
  ports: { http: number; postgres: number; temporal: number; temporalUi: number };
  postgres?: ProcessMark;
  temporal?: ProcessMark;
}

export class DataDir {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
  }

  /** Makes the directory; one sentence with the remedy when it cannot be written. */
  prepare(): void {
    try {
      mkdirSync(this.path, { recursive: true });
      accessSync(this.path, constants.W_OK | constants.X_OK);
      // PostgreSQL's own account must pass through when the stack runs as root; the secrets inside are mode 0600.
      chmodSync(this.path, process.getuid?.() === 0 ? 0o711 : 0o700);
    } catch (cause) {
      throw new Error(`the data directory ${this.path} cannot be written; choose another with --data-dir`, { cause });
    }
  }

  file(name: string): string {
    return join(this.path, name);
  }

  readStackFile(): StackFile | undefined {
    if (!existsSync(this.file('stack.json'))) return undefined;
    try {
      return JSON.parse(readFileSync(this.file('stack.json'), 'utf8')) as StackFile;
    } catch {
      // A start that was killed while it wrote leaves nothing worth keeping: the ports are chosen anew.
      return undefined;
    }
  }

  /** Refuses a second stack on one directory; both would start the same PostgreSQL. */
  assertFree(): void {
    const old = this.readStackFile();
    if (old !== undefined && old.stack.pid !== process.pid && isAlive(old.stack)) {
      throw new Error(
        `opsloop already runs on ${this.path} (pid ${old.stack.pid}, ${old.url}); stop it with \`kill ${old.stack.pid}\` or use --data-dir for a second one`,
      );
    }
  }

  writeStackFile(state: Omit<StackFile, 'stack'>): void {
    const stack = markOf(process.pid);
    if (stack === undefined) throw new Error('this process has no start time');
    this.writePrivate('stack.json', JSON.stringify({ stack, ...state } satisfies StackFile, null, 2));
    this.writePrivate('endpoint.json', JSON.stringify({ url: state.url }, null, 2));
  }

  /** A random key, made at the first start and kept: `ops_<8 characters>_<43 characters>`. */
  key(name: 'admin.key' | 'service.key'): string {
    const file = this.file(name);
    if (existsSync(file)) return readFileSync(file, 'utf8').trim();
    const key = `ops_${randomBytes(6).toString('base64url').slice(0, 8)}_${randomBytes(32).toString('base64url')}`;
    this.writePrivate(name, `${key}\n`);
    return key;
  }

  /** Written beside and renamed, so that a reader never sees half a file. */
  private writePrivate(name: string, text: string): void {
    const temporary = this.file(`${name}.new`);
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, this.file(name));
  }
}
