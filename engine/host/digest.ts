/** A SHA-256 that is being computed. */
export interface Sha256 {
  /** Takes bytes, or numbers as this machine keeps them, which is little-endian wherever kernels run; they may be in shared memory. */
  update(part: Uint8Array | Float32Array): void;
  /** 64 hex digits of all that it took; it takes no more. */
  hex(): string;
}
