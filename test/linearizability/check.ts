/** Porcupine where Go is installed, our own checker elsewhere. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isLinearizable } from './checker.pure.js';
import type { History } from './history.js';

const SOURCE = fileURLToPath(new URL('./checker', import.meta.url));

export interface Checker {
  name: string;
  check(history: History): Promise<boolean>;
}

export const ownChecker: Checker = {
  name: 'own checker',
  check: (history) => Promise.resolve(isLinearizable(history)),
};

/** Built once per content; undefined where there is no Go, or it cannot fetch the module. */
export function porcupine(): Checker | undefined {
  const sources = ['main.go', 'go.mod', 'go.sum'].map((name) => readFileSync(join(SOURCE, name)));
  const digest = createHash('sha256').update(Buffer.concat(sources)).digest('hex').slice(0, 16);
  const folder = join(tmpdir(), 'opsloop-linearizability');
  const binary = join(folder, digest);
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    const built = spawnSync('go', ['build', '-o', binary, '.'], { cwd: SOURCE, encoding: 'utf8', timeout: 300_000 });
    if (built.status !== 0) return undefined;
  }
  return { name: 'Porcupine', check: (history) => run(binary, history) };
}

function run(binary: string, history: History): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => void (out += chunk.toString()));
    child.on('error', reject).on('close', (code) => {
      if (code !== 0) return reject(new Error(`the checker ended with ${code}`));
      const { result } = JSON.parse(out) as { result: 'Ok' | 'Illegal' | 'Unknown' };
      if (result === 'Unknown') return reject(new Error('the checker did not come to an end within three minutes'));
      resolve(result === 'Ok');
    });
    child.stdin.end(JSON.stringify(history));
  });
}
