import { startSha256 } from "#host/digest.js";
import type { Tokenizer } from "../../engine/index.js";

/** Texts whose ids depend on splits, merges, spaces, digits, scripts and bytes. */
const SAMPLE = "The quick brown fox's  12345 naïve cafés — don't!\n\tif (x >= 10) { y += 0.5; } Привет, мир. 你好，世界 こんにちは 🙂";

/**
 * SHA-256 of what a tokenizer does: its size, special ids, the bytes of each token, and the ids of a fixed text. The same for both formats of a
 * model.
 */
export function tokenizerSha256(tokenizer: Tokenizer): string {
  const { size, bosId, eosIds, addsBos } = tokenizer;
  const hash = startSha256();
  const text = new TextEncoder();
  hash.update(text.encode(JSON.stringify({ size, bosId: bosId ?? null, eosIds, addsBos, sample: tokenizer.encode(SAMPLE) })));
  for (let id = 0; id < size; id++) {
    hash.update(text.encode(`\n${tokenizer.isSpecial(id) ? "!" : " "}`));
    hash.update(tokenizer.decodeBytes([id], { after: id }));
  }
  return hash.hex();
}
