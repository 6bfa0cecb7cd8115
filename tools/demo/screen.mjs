// What a person sees: on a terminal a live board (racks on the left, the story on the right, counters below), else plain lines.
import { stdout } from 'node:process';

/** Redraws per second: smooth to the eye, invisible in CPU. */
const FRAMES_PER_S = 5;
const LEFT = 38;
const STORY_LINES = 16;

const colour = stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
export const bold = (t) => paint('1', t);
export const dim = (t) => paint('2', t);
export const green = (t) => paint('32', t);
export const red = (t) => paint('31', t);
export const yellow = (t) => paint('33', t);
export const cyan = (t) => paint('36', t);

const width = (text) => text.replace(/\u001b\[[0-9;]*m/g, '').length;

/** Breaks at spaces so that no line is wider than `room`; what follows is indented like the story. */
function wrap(text, room) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (width(last) + width(word) + 1 > room && last.trim() !== '') lines.push(`         ${word}`);
    else lines[lines.length - 1] = last === '' && lines.length === 1 ? word : `${last} ${word}`;
  }
  return lines;
}

export class Screen {
  started = Date.now();
  story = [];
  counters = {};
  title = '';

  /** `machines`: → [{ name, rack, state }]; `work`: → Map of path → { run, fence }. Both may be stale by a frame. */
  constructor({ live = stdout.isTTY === true } = {}) {
    this.live = live;
    this.machines = [];
    this.work = new Map();
  }

  begin(refresh) {
    if (!this.live) return;
    stdout.write('\u001b[?1049h\u001b[?25l');
    let busy = false;
    this.timer = setInterval(async () => {
      if (busy) return;
      busy = true;
      await refresh().catch(() => undefined);
      this.draw();
      busy = false;
    }, 1000 / FRAMES_PER_S);
  }

  /** Back to the normal screen, with the whole story left in the scrollback. */
  end() {
    if (!this.live) return;
    clearInterval(this.timer);
    stdout.write('\u001b[?25h\u001b[?1049l');
    this.live = false;
    for (const line of this.story) stdout.write(`${line}\n`);
  }

  chapter(title) {
    this.title = title;
    this.write(bold(title), true);
  }

  say(text) {
    this.write(text, false);
  }

  write(text, heading) {
    const at = dim(`${((Date.now() - this.started) / 1000).toFixed(1).padStart(5)}s`);
    const line = heading ? `\n${at} ${text}` : `${at}   ${text}`;
    this.story.push(line);
    if (!this.live) stdout.write(`${line}\n`);
  }

  count(name, value) {
    this.counters[name] = value;
  }

  draw() {
    const left = [];
    for (const rack of [...new Set(this.machines.map((m) => m.rack))]) {
      left.push(bold(rack));
      for (const machine of this.machines.filter((m) => m.rack === rack)) {
        const light = machine.state === 'up' ? green('●') : machine.state === 'sick' ? yellow('●') : red('●');
        const work = this.work.get(machine.name);
        left.push(
          ` ${light} ${machine.name.split('/').pop().padEnd(7)} ${machine.service.padEnd(7)}${work ? cyan(`⚒ ${work.run} f${work.fence}`) : ''}`,
        );
      }
    }
    const room = Math.max(40, (stdout.columns ?? 120) - LEFT - 2);
    const right = this.story
      .join('\n')
      .split('\n')
      .filter(Boolean)
      .flatMap((line) => wrap(line, room))
      .slice(-STORY_LINES);
    const rows = Math.max(left.length, right.length);
    const lines = [bold(` opsloop  ${this.title}`), ''];
    for (let i = 0; i < rows; i++) {
      const l = left[i] ?? '';
      lines.push(` ${l}${' '.repeat(Math.max(1, LEFT - width(l)))}${right[i] ?? ''}`);
    }
    lines.push(
      '',
      ' ' +
        Object.entries(this.counters)
          .map(([k, v]) => `${dim(k)} ${bold(String(v))}`)
          .join('   '),
    );
    stdout.write(`\u001b[H\u001b[2J${lines.join('\n')}\n`);
  }
}
