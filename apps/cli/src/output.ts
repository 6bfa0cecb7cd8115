import Table from 'cli-table3';
import pc from 'picocolors';
import type { CliError } from './errors.js';

/** Where a command writes, and what it may do there. */
export interface Streams {
  out: (text: string) => void;
  err: (text: string) => void;
  /** Standard output is a terminal: colours and redrawing are welcome. */
  isTTY: boolean;
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  stdin: () => Promise<string>;
}

/** Everything that a command says: one JSON value with `--json`, else tables and sentences. */
export class Output {
  readonly color: ReturnType<typeof pc.createColors>;

  constructor(
    readonly streams: Streams,
    readonly json: boolean,
  ) {
    this.color = pc.createColors(streams.isTTY && !json && (streams.env['NO_COLOR'] ?? '') === '');
  }

  /** The result: with `--json` the value, else what `human` prints. */
  result(value: unknown, human: () => void): void {
    if (this.json) this.streams.out(`${JSON.stringify(value, null, 2)}\n`);
    else human();
  }

  line(text = ''): void {
    this.streams.out(`${text}\n`);
  }

  /** Beside the result: never part of what a script reads. */
  note(text: string): void {
    this.streams.err(`opsloop: ${text}\n`);
  }

  /** A command as this person can type it: who came through npx has no `opsloop` on the path. */
  typed(command: string): string {
    return this.streams.env['npm_command'] === 'exec' ? command.replace(/^opsloop /, 'npx opsloop ') : command;
  }

  /** The next useful command. */
  next(...commands: string[]): void {
    if (!this.json) this.line(this.color.dim(`Next: ${commands.map((c) => this.typed(c)).join('   or   ')}`));
  }

  table(head: string[], rows: (string | number | undefined)[][]): void {
    const table = new Table({
      head: head.map((text) => this.color.bold(text)),
      style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 2 },
      chars: NO_BORDERS,
    });
    for (const row of rows) table.push(row.map((cell) => String(cell ?? '')));
    const width = /[ \t]+$/gm;
    this.line(table.toString().replace(width, ''));
  }

  /** A status in its colour. */
  status(text: string): string {
    if (/^(succeeded|up|published|active|created|ok|admitted)$/.test(text)) return this.color.green(text);
    if (/^(failed|terminated|down|rejected)$/.test(text)) return this.color.red(text);
    if (/^(queued|waiting|paused|held|changed|draft|needs-approval)$/.test(text)) return this.color.yellow(text);
    return text;
  }

  error(error: CliError): void {
    if (this.json && error.printed) return;
    if (this.json) {
      const { message, lines, data } = error;
      this.streams.out(
        `${JSON.stringify({ error: data ?? { message, ...(lines.length === 0 ? {} : { lines }) } }, null, 2)}\n`,
      );
      return;
    }
    this.streams.err(`opsloop: ${this.color.red(error.message)}\n`);
    for (const line of error.lines) this.streams.err(`  ${line}\n`);
  }
}

const NO_BORDERS = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
    'middle',
  ].map((name) => [name, '']),
);

/** `2026-01-02T03:04:05.678Z` → `03:04:05` today, else with its day. */
export function shortTime(iso: string | undefined, now = new Date()): string {
  if (iso === undefined) return '';
  return iso.slice(0, 10) === now.toISOString().slice(0, 10)
    ? `${iso.slice(11, 19)}Z`
    : `${iso.slice(0, 10)} ${iso.slice(11, 16)}Z`;
}
