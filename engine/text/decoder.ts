import type { TokenDecoder } from "./types.js";

/**
 * A decoder of one stream of tokens. `bytesOf` gives a token's bytes, none for one that is not to be shown. What is printed is certain:
 * the pieces together are what one TextDecoder makes of all the bytes.
 */
export function createDecoder(bytesOf: (id: number) => Uint8Array): TokenDecoder {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (id) => decoder.decode(bytesOf(id), { stream: true }),
    end: () => decoder.decode(),
  };
}
