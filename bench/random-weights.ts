/** Random numbers in the encodings of published models, and vocabularies of their sizes, for models whose cost is the real one. */
import type { GgufEntry } from "../engine/container/gguf.js";

/** xorshift32: fast, and the same file for the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
}

/** The 81 bytes of four codes 0, 1, 2: random weights have no code 3. */
const TERNARY = Uint8Array.from({ length: 256 }, (_, i) => i).filter((byte) => (byte & (byte >> 1) & 0x55) === 0);
const CHUNK = 1 << 22;

/** `units` units of `unitBytes`, a few MiB at a time, each filled by `fill`. */
async function* stream(units: number, unitBytes: number, fill: (bytes: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  const perChunk = Math.max(1, Math.floor(CHUNK / unitBytes));
  for (let done = 0; done < units; done += perChunk) {
    const bytes = new Uint8Array(Math.min(perChunk, units - done) * unitBytes);
    fill(bytes);
    yield bytes;
  }
}

function fillTernary(bytes: Uint8Array, random: Random): void {
  for (let i = 0; i < bytes.length; i += 2) {
    const x = random.next();
    bytes[i] = TERNARY[(x >>> 16) % 81]!;
    bytes[i + 1] = TERNARY[(x & 0xffff) % 81]!;
  }
}

/** The bytes of five trits, and of four, as PTQ1_0 has them. */
const trits = (count: number, factor: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, value) => Math.floor((value * factor * 256 + 242) / 243));
const [FIVE_TRITS, FOUR_TRITS] = [trits(243, 1), trits(81, 3)];

/** PTQ1_0: blocks of 128 elements, 26 bytes of trits and an f16 scale. */
export function ptq1(elements: number, random: Random, exponent: number): AsyncGenerator<Uint8Array> {
  return stream(elements / 128, 28, (bytes) => {
    for (let at = 0; at < bytes.length; at += 28) {
      for (let i = 0; i < 24; i += 2) {
        const x = random.next();
        bytes[at + i] = FIVE_TRITS[(x >>> 16) % 243]!;
        bytes[at + i + 1] = FIVE_TRITS[(x & 0xffff) % 243]!;
      }
      for (const i of [24, 25]) bytes[at + i] = FOUR_TRITS[random.next() % 81]!;
      bytes[at + 26] = 0;
      bytes[at + 27] = powerOfTwoF16(exponent) >> 8;
    }
  });
}

/** Q2_0 and PQ2_0: an f16 scale, then the codes of a group. */
export function q2(elements: number, random: Random, group: number, exponent: number): AsyncGenerator<Uint8Array> {
  const block = 2 + group / 4;
  return stream(elements / group, block, (bytes) => {
    fillTernary(bytes, random);
    for (let at = 0; at < bytes.length; at += block) {
      bytes[at] = 0;
      bytes[at + 1] = powerOfTwoF16(exponent) >> 8;
    }
  });
}

/** Q8_0: an f16 scale, then 32 numbers of 8 bits. */
export function q8(elements: number, random: Random, exponent: number): AsyncGenerator<Uint8Array> {
  return stream(elements / 32, 34, (bytes) => {
    for (let at = 0; at < bytes.length; at += 34) {
      for (let i = 2; i < 34; i += 4) new DataView(bytes.buffer, at + i, 4).setUint32(0, random.next());
      bytes[at] = 0;
      bytes[at + 1] = powerOfTwoF16(exponent - 7) >> 8;
    }
  });
}

/** I2_S: the codes, then the scale and 28 bytes of nothing. */
export async function* i2s(elements: number, random: Random, scale: number): AsyncGenerator<Uint8Array> {
  yield* stream(elements / 128, 32, (bytes) => fillTernary(bytes, random));
  const tail = new Uint8Array(32);
  new DataView(tail.buffer).setFloat32(0, scale, true);
  yield tail;
}

/** The f16 of 2^exponent, normal range. */
const powerOfTwoF16 = (exponent: number): number => (exponent + 15) << 10;

/** TQ2_0: blocks of 256 elements, 64 bytes of codes and an f16 scale. */
export function tq2(elements: number, random: Random, exponent = -6): AsyncGenerator<Uint8Array> {
  return stream(elements / 256, 66, (bytes) => {
    fillTernary(bytes, random);
    for (let i = 64; i < bytes.length; i += 66) {
      bytes[i] = 0;
      bytes[i + 1] = powerOfTwoF16(exponent) >> 8;
    }
  });
}

/** F16 numbers that bf16 holds too, as published embeddings are: of either sign, magnitudes 2^-8 … 2^-5. */
export function f16(elements: number, random: Random): AsyncGenerator<Uint8Array> {
  return stream(elements, 2, (bytes) => {
    for (let i = 0; i < bytes.length; i += 2) {
      const x = random.next();
      const bits = ((x & 1) << 15) | (powerOfTwoF16(-8 + ((x >>> 1) & 3)) | (((x >>> 3) & 127) << 3));
      bytes[i] = bits & 255;
      bytes[i + 1] = bits >> 8;
    }
  });
}

/** Q6_K: blocks of 256 elements in 210 bytes, 192 of 6-bit numbers, 16 scales, an f16. */
export function q6k(elements: number, random: Random): AsyncGenerator<Uint8Array> {
  return stream(elements / 256, 210, (bytes) => {
    for (let i = 0; i < bytes.length; i += 210) {
      for (let j = 0; j < 192; j += 4) new DataView(bytes.buffer, i + j, 4).setUint32(0, random.next());
      for (let j = 192; j < 208; j++) bytes[i + j] = 1 + (random.next() % 15);
      bytes[i + 208] = 0;
      bytes[i + 209] = powerOfTwoF16(-14) >> 8;
    }
  });
}

/** GPT-2's spelling of a byte as a character. */
function spell(byte: number): string {
  const plain = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (plain(byte)) return String.fromCharCode(byte);
  let rank = 0;
  for (let b = 0; b < byte; b++) if (!plain(b)) rank++;
  return String.fromCharCode(256 + rank);
}

/** Specials at the end of the vocabulary, in LLaMA-3's order. */
const SPECIALS = 256;

/** What a vocabulary ends with. */
export interface Specials {
  /** `tokenizer.ggml.pre` */
  readonly pre: string;
  /** BOS or padding first, then EOS; the rest are reserved. */
  readonly named: ReadonlyMap<number, string>;
}

const LLAMA3: Specials = {
  pre: "llama-bpe",
  named: new Map([
    [0, "<|begin_of_text|>"],
    [1, "<|end_of_text|>"],
    [9, "<|eot_id|>"],
  ]),
};

export const QWEN: Specials = {
  pre: "qwen2",
  named: new Map([
    [0, "<|endoftext|>"],
    [1, "<|im_end|>"],
    [2, "<|im_start|>"],
  ]),
};

/** A byte-level BPE vocabulary of any size: all bytes, then words that grow a letter at a time, each with the merge that makes it. */
export function vocabulary(size: number, { pre, named }: Specials = LLAMA3): GgufEntry[] {
  const tokens = Array.from({ length: 256 }, (_, byte) => spell(byte));
  const merges: string[] = [];
  const letters = [..."etaoinshrdlcumwfgypbvkjxqz"];
  // Words with a leading space first, as real vocabularies have most of.
  let stems = [spell(32), ...letters];
  while (tokens.length < size - SPECIALS) {
    const grown: string[] = [];
    for (const stem of stems) {
      for (const letter of letters) {
        if (tokens.length === size - SPECIALS) break;
        tokens.push(stem + letter);
        merges.push(`${stem} ${letter}`);
        grown.push(stem + letter);
      }
    }
    stems = grown;
  }
  const first = tokens.length;
  for (let i = 0; i < size - first; i++) tokens.push(named.get(i) ?? `<|reserved_special_token_${i}|>`);
  const text = (key: string, value: string): GgufEntry => ({ key, type: "string", value });
  return [
    text("tokenizer.ggml.model", "gpt2"),
    text("tokenizer.ggml.pre", pre),
    { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: tokens },
    { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: tokens.map((_, id) => (id >= first ? 3 : 1)) },
    { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: merges },
    { key: "tokenizer.ggml.bos_token_id", type: "uint32", value: first },
    { key: "tokenizer.ggml.eos_token_id", type: "uint32", value: first + 1 },
  ];
}

/** f32 ones: a norm that changes nothing. */
export function ones(n: number): Uint8Array {
  return new Uint8Array(new Float32Array(n).fill(1).buffer);
}
