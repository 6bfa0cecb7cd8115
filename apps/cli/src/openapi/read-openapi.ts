import type { JsonObject } from '@opsloop/contracts';
import { CliError, EXIT } from '../errors.js';

/** A description that is valid, with every reference filled in. What it refers to is read from files beside it, never from the network. */
export async function readOpenapi(path: string, given: string): Promise<JsonObject> {
  // Half as many modules as all the rest of the CLI, for one command.
  const { default: SwaggerParser } = await import('@apidevtools/swagger-parser');
  try {
    const api = await SwaggerParser.validate(path, {
      resolve: { http: false },
      // A schema that holds itself cannot be written out; such places are cut later.
      dereference: { circular: true },
    });
    return api as unknown as JsonObject;
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(
      `${given} is no valid OpenAPI description: ${text.split('\n').slice(0, 5).join(' ')}`,
      EXIT.usage,
    );
  }
}
