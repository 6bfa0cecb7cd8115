// Posts events over kept connections, one request in flight on each, and tells how many were accepted, how long they took
// and what it cost itself. It shares the machine with what it measures, so it does as little as it can: a request is a
// text with places for an id, and an answer is as long as the first one was.
import { connect } from 'node:net';

const [port, concurrency, seconds, run, key, path, batch] = process.argv.slice(2);
const END = Buffer.from('\r\n\r\n');
const ACCEPTED = 'HTTP/1.1 202';
const perRequest = Number(batch ?? 1);
const times = [];
let failed = 0;
let until = Infinity;

/** Ids of one length: the length of the request does not change. */
const idOf = (n, i) => `${run}-${n}-${String(i).padStart(8, '0')}`;
const HOLE = '\u0001';

function eventOf(n, id) {
  return {
    specversion: '1.0',
    id,
    source: 'bench/load',
    type: 'bench.host.state',
    subject: `host/dc1/r${n}/h${n % 10}`,
    data: { state: 'down', reason: 'heartbeat missed', load: [0.5, 0.7, 0.9], rack: `r${n}` },
  };
}

/** The request of one connection as the text between its ids. */
function piecesOf(n) {
  const mark = idOf(n, 0);
  const events = Array.from({ length: perRequest }, () => eventOf(n, mark));
  const body = JSON.stringify(perRequest === 1 ? events[0] : events);
  const single = path.startsWith('/v1/hooks') ? 'application/json' : 'application/cloudevents+json';
  const type = perRequest === 1 ? single : 'application/cloudevents-batch+json';
  const head =
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${key}\r\ncontent-type: ${type}\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\n\r\n`;
  return (head + body).replaceAll(mark, HOLE).split(HOLE);
}

function client(n) {
  return new Promise((resolve, reject) => {
    const pieces = piecesOf(n);
    const socket = connect({ host: '127.0.0.1', port: Number(port), noDelay: true });
    let i = 0;
    let began = 0;
    let got = 0;
    let whole = 0;
    let accepted = false;
    const send = () => {
      if (performance.now() >= until) {
        socket.end();
        return resolve();
      }
      let text = pieces[0];
      for (let at = 1; at < pieces.length; at++) text += idOf(n, i++) + pieces[at];
      got = 0;
      began = performance.now();
      socket.write(text, 'latin1');
    };
    socket.once('connect', send);
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      if (got === 0) {
        accepted = chunk.latin1Slice(0, ACCEPTED.length) === ACCEPTED;
        if (whole === 0 || !accepted) {
          const end = chunk.indexOf(END);
          const length = /content-length: (\d+)/i.exec(chunk.latin1Slice(0, end))?.[1];
          whole = end + END.length + Number(length ?? 0);
        }
      }
      got += chunk.length;
      if (got < whole) return;
      if (got !== whole) return reject(new Error(`an answer of ${got} bytes instead of ${whole}`));
      if (accepted) times.push(performance.now() - began);
      else {
        failed += 1;
        whole = 0;
      }
      send();
    });
  });
}

until = performance.now() + Number(seconds) * 1_000;
await Promise.all(Array.from({ length: Number(concurrency) }, (_, n) => client(n)));
times.sort((a, b) => a - b);
const at = (q) => times[Math.min(times.length - 1, Math.floor(q * times.length))] ?? 0;
const { user, system } = process.cpuUsage();
process.send({ done: times.length * perRequest, failed, p50: at(0.5), p99: at(0.99), cpu: (user + system) / 1e6 }, () =>
  process.exit(0),
);
