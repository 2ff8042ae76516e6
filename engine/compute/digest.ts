import { startSha256 } from "#host/digest.js";

/** SHA-256 of the parts, one after the other, in hex. */
export function sha256Hex(...parts: readonly (Uint8Array | Float32Array)[]): string {
  const hash = startSha256();
  for (const part of parts) hash.update(part);
  return hash.hex();
}
