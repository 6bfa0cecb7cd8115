import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { EDITOR_FILES, STARTER } from '../init/starter.js';
import type { Streams } from '../output.js';

export function registerInit(program: Command, streams: Streams): void {
  program
    .command('init')
    .description('write a commented starter that heals something at once')
    .argument('[dir]', 'a new or empty folder', '.')
    .action((dir: string, _options: object, command: Command) => init(contextOf(command, streams), dir));
}

function init(context: Context, dir: string): void {
  const folder = resolve(context.streams.cwd, dir);
  // The stack's own folder may be there already; anything else would be overwritten or mixed up.
  const there = existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith('.')) : [];
  if (there.length > 0)
    throw new CliError(
      `${dir} is not empty (${there.slice(0, 3).join(', ')}); name a new folder: opsloop init my-ops`,
      EXIT.usage,
    );
  try {
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(STARTER)) writeFileSync(join(folder, name), text);
    mkdirSync(join(folder, '.vscode'), { recursive: true });
    for (const [name, text] of Object.entries(EDITOR_FILES))
      if (!existsSync(join(folder, name))) writeFileSync(join(folder, name), text());
  } catch (cause) {
    throw new CliError(
      `${folder} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      EXIT.failed,
    );
  }
  const files = [...Object.keys(STARTER), ...Object.keys(EDITOR_FILES)];
  context.out.result({ folder, files }, () => {
    context.out.line(`wrote ${files.join(', ')} to ${folder}`);
    const place = relative(context.streams.cwd, folder);
    context.out.line('Next:');
    if (place !== '') context.out.line(`  cd ${place}`);
    context.out.line('  node service.mjs &            # a service that comes up sick');
    context.out.line(
      `  ${context.out.typed('opsloop apply -f . --publish')}  # with "opsloop up" running; watch it heal`,
    );
    context.out.line(`  ${context.out.typed('opsloop explain service/hello')} # why, and what was done`);
  });
}
