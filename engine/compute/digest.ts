import { createHash } from "node:crypto";

/** SHA-256 of the parts, one after the other, in hex; numbers as this machine keeps them, which is little-endian wherever Node runs kernels. */
export function sha256Hex(...parts: readonly (Uint8Array | Float32Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part.slice()); // a copy: crypto takes no shared memory
  return hash.digest("hex");
}
