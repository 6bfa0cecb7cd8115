#!/usr/bin/env node
/**
 * One machine of the demo fleet: a real process that serves HTTP on loopback.
 *
 *   node machine.mjs --name host/dc1/rack1/web-01 --port 41001 --journal fleet.jsonl [--sick]
 *
 * GET /healthz  200 { state: "up" } or 500 { state: "sick" }
 * POST /sick    makes it sick, as a bad deployment would; POST /well undoes it
 *
 * It writes a line to the journal when it starts and one when it stops, so what happened is counted here, at the
 * process itself, and not in the words of whoever gave the order.
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    name: { type: 'string' },
    port: { type: 'string' },
    journal: { type: 'string' },
    sick: { type: 'boolean', default: false },
    alone: { type: 'boolean', default: false },
  },
});
if (!values.name || !values.port) {
  console.error('usage: machine.mjs --name NAME --port PORT [--journal FILE] [--sick] [--alone]');
  process.exit(2);
}

let sick = values.sick;
let stopped = false;

/** One line per call: an append of a short line is atomic, so many processes may share the file. */
function journal(event) {
  if (!values.journal) return;
  appendFileSync(
    values.journal,
    `${JSON.stringify({ at: Date.now(), event, machine: values.name, pid: process.pid, sick })}\n`,
  );
}

function stop(why) {
  if (stopped) return;
  stopped = true;
  journal(`stop:${why}`);
  process.exit(0);
}

const server = createServer((req, res) => {
  const answer = (status, body) =>
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (req.url === '/healthz')
    return answer(sick ? 500 : 200, { state: sick ? 'sick' : 'up', machine: values.name, pid: process.pid });
  if (req.method === 'POST' && (req.url === '/sick' || req.url === '/well')) {
    sick = req.url === '/sick';
    return answer(200, { state: sick ? 'sick' : 'up' });
  }
  return answer(404, { error: 'not found' });
});

server.on('error', (error) => {
  journal(`failed:${error.code}`);
  console.error(String(error));
  process.exit(1);
});
server.listen(Number(values.port), '127.0.0.1', () => {
  journal('start');
  process.stdout.write(`${JSON.stringify({ machine: values.name, port: server.address().port, pid: process.pid })}\n`);
});

process.on('SIGTERM', () => stop('term'));
process.on('SIGINT', () => stop('term'));
// The agent holds the other end of our stdin. When the agent goes, even by kill -9, the kernel closes that pipe and
// we see its end: no machine outlives its agent. `--alone` is for a machine started by hand.
if (!values.alone) {
  process.stdin.on('end', () => stop('orphaned'));
  process.stdin.on('error', () => stop('orphaned'));
  process.stdin.resume();
}
