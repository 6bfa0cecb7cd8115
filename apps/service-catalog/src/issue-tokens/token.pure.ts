/** `ops_<8 characters that name it>_<43 random characters>`; recognisable, so that scanners for leaked keys find it. */
export const TOKEN_ID_BYTES = 6;
export const TOKEN_SECRET_BYTES = 32;

export function tokenOf(id: Buffer, secret: Buffer): { id: string; token: string } {
  const name = id.toString('base64url');
  return { id: name, token: `ops_${name}_${secret.toString('base64url')}` };
}
