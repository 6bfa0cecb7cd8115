import { OpsloopClient } from '@opsloop/api-client';
import type { Command } from 'commander';
import { findEndpoint } from './config.js';
import { Output } from './output.js';
import type { Streams } from './output.js';

/** What a command works with. */
export interface Context {
  streams: Streams;
  out: Output;
  /** Found at the first use, so that commands without a server need none. */
  client: () => OpsloopClient;
}

/** Reads the global options of a command. */
export function contextOf(command: Command, streams: Streams): Context {
  const out = new Output(streams, command.optsWithGlobals<{ json?: boolean }>().json === true);
  let client: OpsloopClient | undefined;
  return {
    streams,
    out,
    client: () => {
      if (client !== undefined) return client;
      const { url, token, from } = findEndpoint(streams.env, streams.cwd);
      if (from !== undefined) {
        const key = streams.env['OPSLOOP_TOKEN'] === undefined ? `the admin key of ${from}` : 'OPSLOOP_TOKEN';
        out.note(`using ${url} and ${key}`);
      }
      client = new OpsloopClient({ url, ...(token === undefined ? {} : { token }) });
      return client;
    },
  };
}

/** A command's action with its context in front; `register` functions share this shape. */
export type Act<A extends unknown[]> = (context: Context, ...args: A) => Promise<void> | void;
