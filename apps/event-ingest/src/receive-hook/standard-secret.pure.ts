const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** What is wrong with a secret of this scheme, or nothing. */
export function standardSecretProblem(secret: string): string | undefined {
  const [, scheme, encoded] = /^(whsec_|whpk_)?(.*)$/s.exec(secret)!;
  if (!BASE64.test(encoded!) || encoded === '') return 'must be whsec_ or whpk_ and base64 behind it';
  const bytes = Buffer.byteLength(encoded!, 'base64');
  if (scheme === 'whpk_') return bytes === 32 ? undefined : 'must hold the 32 bytes of an ed25519 public key';
  // The specification's bounds; an empty key would make every signature guessable.
  return bytes >= 24 && bytes <= 64 ? undefined : 'must hold 24 to 64 bytes';
}
