import { sha256Hex } from "../../engine/compute/digest.js";

/** SHA-256 of the lines `sha256  name`. */
export function hashOfHashes(files: readonly (readonly [name: string, sha256: string])[]): string {
  return sha256Hex(new TextEncoder().encode(files.map(([name, hash]) => `${hash}  ${name}\n`).join("")));
}

/** One hash for several files: see `hashOfHashes`. */
export function hashOfContents(files: readonly (readonly [name: string, bytes: Uint8Array])[]): string {
  return hashOfHashes(files.map(([name, bytes]) => [name, sha256Hex(bytes)]));
}

/** The modules whose hash is `kernel_sha256`. Performance depends on these alone. */
export const KERNEL_FILES = ["plain.wasm", "relaxed.wasm"] as const;
