/** The bytes of a delivery → JSON, only after its sender has proved who it is. */
import { OpsError } from '@opsloop/contracts';
import type { Json } from '@opsloop/contracts';
import { parseJsonBody } from '@opsloop/platform';
import { headerText } from '../accept/cloud-event.pure.js';
import type { HttpMessage } from '../accept/cloud-event.pure.js';

const JSON_TYPE = /^application\/([\w.!#$&^-]+\+)?json\b/i;
const FORM_TYPE = /^application\/x-www-form-urlencoded\b/i;
const TEXT_TYPE = /^text\//i;

/** `json`: JSON whatever the content type says. Throws `malformed-json`, or `validation` on what is too deep or too wide. */
export function readBody(message: Pick<HttpMessage, 'headers' | 'rawBody'>, as: 'json' | 'typed'): Json {
  const { rawBody } = message;
  const type = headerText(message.headers, 'content-type') ?? '';
  if (rawBody.length === 0) return null;
  if (as === 'json' || JSON_TYPE.test(type)) return parse(rawBody.toString('utf8'));
  if (FORM_TYPE.test(type)) return formBody(rawBody.toString('utf8'));
  if (TEXT_TYPE.test(type)) return rawBody.toString('utf8');
  // Whoever sends no type mostly sends JSON.
  if (type === '') return parse(rawBody.toString('utf8'));
  return rawBody.toString('base64');
}

/** GitHub's form holds the JSON as `payload`; of other forms the fields are the body. */
function formBody(text: string): Json {
  const fields = new URLSearchParams(text);
  const payload = fields.get('payload');
  if (payload !== null) return parse(payload);
  return parse(JSON.stringify(Object.fromEntries(fields)));
}

function parse(text: string): Json {
  if (text.trim() === '') throw new OpsError('malformed-json', 'The body is empty');
  return parseJsonBody(text);
}
