import type { Writable } from 'node:stream';
import type pg from 'pg';
import type { Query } from './tx.js';

/**
 * A connection during one transaction. Statements that are asked for in the same turn of the event loop leave in one
 * write: a write is a system call of 50–100 µs, and each wakes the server.
 */
export class BatchingClient {
  private readonly socket: Writable;
  private corked = false;

  constructor(private readonly client: pg.PoolClient) {
    // Public in pg, absent from its types.
    this.socket = (client as unknown as { connection: { stream: Writable } }).connection.stream;
  }

  query(q: Query | string): Promise<pg.QueryResult> {
    if (!this.corked) {
      this.corked = true;
      this.socket.cork();
      // After the microtasks: everything that follows without waiting for I/O has been asked for by then.
      process.nextTick(() => {
        this.corked = false;
        this.socket.uncork();
      });
    }
    return this.client.query(q as pg.QueryConfig);
  }
}
