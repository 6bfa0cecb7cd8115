/**
 * What a program needs to play with the demo fleet: names, starting the agent, resource documents, and counting in the
 * journal what really happened.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const AGENT = fileURLToPath(new URL('./agent.mjs', import.meta.url));
/** Twelve machines come up within 2 s on two cores; ten times that is a broken machine, not a slow one. */
const READY_MS = 20_000;
const SERVICES = ['pay', 'login', 'search', 'cart'];

/** `racks` × `perRack` machines; every rack has one machine of each service, as a fleet laid out with care would. */
export function fleetPlan({ racks = 3, perRack = 4 } = {}) {
  const plan = [];
  for (let rack = 1; rack <= racks; rack += 1) {
    for (let slot = 1; slot <= perRack; slot += 1) {
      const number = String((rack - 1) * perRack + slot).padStart(2, '0');
      plan.push({
        name: `host/dc1/rack${rack}/web-${number}`,
        rack: `rack${rack}`,
        service: SERVICES[(slot - 1) % SERVICES.length],
      });
    }
  }
  return plan;
}

/** Resource documents for `PUT /v1/resources`. `machines`: `{ name, addr }` as the agent prints them. */
export function resourcesOf(plan, machines, agent) {
  const addrs = new Map(machines.map((m) => [m.name, m.addr]));
  return plan.map(({ name, rack, service }) => ({
    dsl: 'opsloop/v1',
    kind: 'resource',
    path: name,
    owner: 'team-fleet',
    labels: { rack, service, role: 'web', addr: addrs.get(name), agent },
    memberOf: [`service/${service}`],
  }));
}

/** Starts an agent with its machines as child processes of this one; they all end when `stop` is called or we do. */
export async function startFleet({ plan = fleetPlan(), journal, liars = [], workMs = 1200 } = {}) {
  const args = [AGENT, '--watch-parent', '--work-ms', String(workMs), '--machines', plan.map((m) => m.name).join(',')];
  if (journal) args.push('--journal', journal);
  if (liars.length > 0) args.push('--liars', liars.join(','));
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const line = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the fleet was not up within ${READY_MS} ms`)), READY_MS);
    createInterface({ input: child.stdout }).once('line', (text) => {
      clearTimeout(timer);
      resolve(text);
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`the agent ended with ${code} before it was up`));
    });
  });
  const { agent, machines } = JSON.parse(line);
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
  };
  return { agent, machines, pid: child.pid, stop };
}

/** Orders an act, or reads: `ask(agent, '/stats')`, `ask(agent, '/machines/<name>/kill', { method: 'POST' })`. */
export async function ask(agent, path, { method = 'GET', headers = {} } = {}) {
  const res = await fetch(`${agent}${path}`, { method, headers });
  return { status: res.status, body: await res.json() };
}

/**
 * Counts in the journal: starts per machine process, work that overlapped on one machine, and processes that served
 * one machine at the same time. Written by machines and agent as things happened.
 */
export function countJournal(file) {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const starts = {};
  const living = new Map();
  let overlaps = 0;
  let twoProcesses = 0;
  for (const { event, machine, pid, atOnce } of lines) {
    if (event === 'start') {
      starts[machine] = (starts[machine] ?? 0) + 1;
      if (living.has(machine)) twoProcesses += 1;
      living.set(machine, pid);
    }
    if (event.startsWith('stop:') || event === 'injury:kill') living.delete(machine);
    if (event.startsWith('work-begin:') && atOnce > 1) overlaps += 1;
  }
  return { starts, overlaps, twoProcesses, lines: lines.length };
}
