import { MergeTable, PairMerger } from "./bpe.js";
import { maxSpelling, readSpelling, spell } from "./byte-alphabet.js";
import type { Codec, Refuse } from "./codec.js";
import { lastCounts, orRefuse, tableOf } from "./codec.js";
import { toNormalForm } from "./normal-form.js";
import { splitWords } from "./pretokenize.js";
import type { Alphabet } from "./token-table.js";
import { writeBytes } from "./utf8.js";
import { type ByteLevelVocabulary, vocabularyKeys } from "./vocabulary.js";

/** GPT-2's: every token but the plain ones is spelled in it. */
const byteAlphabet: Alphabet = { maxSpelling, spell, read: readSpelling };

/** Byte-level BPE: text is cut into words, and the bytes of each are merged. */
export function byteLevelCodec(vocabulary: ByteLevelVocabulary, refuse: Refuse): Codec {
  const { plain, split, ignoreMerges, nfc } = vocabulary;
  const keys = vocabularyKeys[vocabulary.source];
  const table = tableOf(vocabulary, byteAlphabet, refuse);
  const byteIds = new Int32Array(256);
  const one = new Uint8Array(1);
  for (let byte = 0; byte < 256; byte++) {
    one[0] = byte;
    // A file may call the token of a byte a special one, such as "!" for padding; it still is the only one.
    byteIds[byte] = Math.max(table.find(one, 1), table.findPlain(one));
  }
  const bytesWithout = byteIds.indexOf(-1);
  if (bytesWithout >= 0) refuse(`${keys.tokens} has no token for the byte 0x${bytesWithout.toString(16).padStart(2, "0")}`);
  const isApart = (id: number): boolean => plain.get(id) === "special" || plain.get(id) === "added";
  const merges = orRefuse(() => new MergeTable(vocabulary.merges, table, lastCounts(vocabulary), isApart), keys.merges, refuse);
  const merger = new PairMerger(merges);

  let word = new Uint8Array(1024); // the bytes of one word
  const byteId = (at: number) => byteIds[word[at]!]!;
  return {
    spacePrefix: "never",
    isBorder: (id) => plain.has(id),
    normalize: (text, _, ranges) => (nfc ? toNormalForm(text, ranges) : { text, ranges }),
    encode(given, _, out) {
      const text = nfc ? given.normalize("NFC") : given;
      const push = (id: number) => out.push(id);
      splitWords(text, split, (start, end) => {
        if (word.length < 3 * (end - start)) word = new Uint8Array(6 * (end - start));
        const length = writeBytes(text, start, end, word);
        const whole = ignoreMerges ? table.find(word, length) : -1;
        if (whole >= 0) out.push(whole);
        else merger.merge(length, byteId, push);
      });
    },
    maxBytes: (id) => table.maxBytes(id),
    longest: table.longest,
    write: (id, out, at) => table.write(id, out, at),
    idOf: (bytes) => Math.max(table.findPlain(bytes), table.find(bytes, bytes.length)),
  };
}
