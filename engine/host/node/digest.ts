import { createHash } from "node:crypto";
import type { Sha256 } from "../digest.js";

export function startSha256(): Sha256 {
  const hash = createHash("sha256");
  return {
    update(part) {
      hash.update(part.buffer instanceof SharedArrayBuffer ? part.slice() : part); // crypto takes no shared memory
    },
    hex: () => hash.digest("hex"),
  };
}
