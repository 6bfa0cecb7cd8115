// Posts events over kept connections, one request in flight on each, and tells how many were accepted and how long they took.
import { connect } from 'node:net';

const [port, concurrency, seconds, run, key, path] = process.argv.slice(2);
const END = Buffer.from('\r\n\r\n');
const times = [];
let failed = 0;
let until = Infinity;

function requestOf(n, i) {
  const body = JSON.stringify({
    specversion: '1.0',
    id: `${run}-${n}-${i}`,
    source: 'bench/load',
    type: 'bench.host.state',
    subject: `host/dc1/r${n}/h${i % 1_000}`,
    data: { state: i % 2 === 0 ? 'down' : 'up', reason: 'heartbeat missed', load: [0.5, 0.7, 0.9], rack: `r${n}` },
  });
  const type = path.startsWith('/v1/hooks') ? 'application/json' : 'application/cloudevents+json';
  return (
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${key}\r\ncontent-type: ${type}\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  );
}

function client(n) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: Number(port), noDelay: true });
    let i = 0;
    let began = 0;
    let answer = Buffer.alloc(0);
    const send = () => {
      if (performance.now() >= until) {
        socket.end();
        return resolve();
      }
      began = performance.now();
      socket.write(requestOf(n, i++));
    };
    socket.once('connect', send);
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk]);
      const end = answer.indexOf(END);
      if (end < 0) return;
      const head = answer.toString('latin1', 0, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (answer.length < end + 4 + length) return;
      if (head.startsWith('HTTP/1.1 202')) times.push(performance.now() - began);
      else failed += 1;
      answer = Buffer.alloc(0);
      send();
    });
  });
}

until = performance.now() + Number(seconds) * 1_000;
await Promise.all(Array.from({ length: Number(concurrency) }, (_, n) => client(n)));
times.sort((a, b) => a - b);
const at = (q) => times[Math.min(times.length - 1, Math.floor(q * times.length))] ?? 0;
process.send({ done: times.length, failed, p50: at(0.5), p99: at(0.99) }, () => process.exit(0));
