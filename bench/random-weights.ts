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

/** Bytes of a block of I2_S: 128 elements. */
const I2S_BLOCK = 32;

/** I2_S: the codes, then the scale and 28 bytes of nothing. @param edit what becomes of some blocks, from number `first` on */
export async function* i2s(
  elements: number,
  random: Random,
  scale: number,
  edit: (blocks: Uint8Array, first: number) => void = () => {},
): AsyncGenerator<Uint8Array> {
  let first = 0;
  yield* stream(elements / 128, I2S_BLOCK, (bytes) => {
    fillTernary(bytes, random);
    edit(bytes, first);
    first += bytes.length / I2S_BLOCK;
  });
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

/** F16 numbers that bf16 holds too, as published embeddings are: of either sign, magnitudes 2^-8 … 2^-4. */
export function f16(elements: number, random: Random): AsyncGenerator<Uint8Array> {
  return f16Rows(elements, 1, random, 0);
}

/** Σ of their squares over how many there are: uniform mantissas 1 … 2, of which squares come to 7/3, at each of the four exponents. */
export const F16_POWER = ((2 ** -16 + 2 ** -14 + 2 ** -12 + 2 ** -10) / 4) * (7 / 3);
/** What the first columns of the embedding are, where gates are shifted (`ShiftedGates`): no more than others are, so that 8-bit codes of the head lose nothing. */
const SHARED = 2 ** -5;

/** As `f16`, in rows of `columns`, of which the first `shared` are `SHARED`. */
export function f16Rows(rows: number, columns: number, random: Random, shared: number): AsyncGenerator<Uint8Array> {
  return stream(rows, 2 * columns, (bytes) => {
    for (let i = 0; i < bytes.length; i += 2) {
      const x = random.next();
      const drawn = ((x & 1) << 15) | (powerOfTwoF16(-8 + ((x >>> 1) & 3)) | (((x >>> 3) & 127) << 3));
      const bits = (i / 2) % columns < shared ? powerOfTwoF16(-5) : drawn;
      bytes[i] = bits & 255;
      bytes[i + 1] = bits >> 8;
    }
  });
}

/** How far gates are shifted for a share of zeros; in standard deviations of a gate. */
const MOST_SHIFT = 3;
/** Rows of numbers that the shift is found with. */
const TRIALS = 16;

/**
 * The share of int8 inputs of a down projection that are 0, if gates are of a normal distribution around −shift, and up's numbers around 0: of
 * h = relu(g)²·u that is |h| · 127 / max|h| ≤ 1/2. Of `TRIALS` rows, always the same.
 */
function zeroShare(shift: number, ffn: number): number {
  const random = new Random(1);
  const uniform = (): number => (random.next() + 0.5) / 2 ** 32;
  let zeros = 0;
  for (let trial = 0; trial < TRIALS; trial++) {
    const row = new Float64Array(ffn);
    let most = 0;
    for (let i = 0; i < ffn; i++) {
      // Box and Muller: two independent numbers of the normal distribution.
      const [radius, angle] = [Math.sqrt(-2 * Math.log(uniform())), 2 * Math.PI * uniform()];
      const gate = Math.max(radius * Math.cos(angle) - shift, 0);
      row[i] = Math.abs(gate * gate * radius * Math.sin(angle));
      most = Math.max(most, row[i]!);
    }
    for (const value of row) if (value * 127 * 2 <= most) zeros++;
  }
  return zeros / (TRIALS * ffn);
}

/**
 * Random ternary weights whose gates are below 0 more often than above, so that a given share of the down projections' int8 inputs is 0, as in
 * trained models: 0.67 is that of gates around 0.
 *
 * Columns 0 to 127 of the embedding, one block of a row of I2_S, are all `SHARED`: a direction that every token has. What layers add to the
 * residual stream is scaled down by `growth`, so that the direction stays in it. A gate's row has −1 in `lowered(layer)` of those columns and 0
 * in the others, which moves its mean by so many standard deviations as `zeroShare` asks for.
 */
export class ShiftedGates {
  /** Columns of the direction. */
  static readonly columns = 128;
  /** Scale of the layers that add to the residual stream, in place of 1. */
  static readonly growth = 2 ** -8;
  readonly #hidden: number;
  readonly #shift: number;

  /** @throws RangeError if gates can't be shifted so far, or `hidden` is too small */
  constructor(share: number, hidden: number, ffn: number) {
    this.#hidden = hidden;
    let [low, high] = [0, MOST_SHIFT];
    if (!(share >= 0 && share <= zeroShare(high, ffn) && hidden >= 2 * ShiftedGates.columns))
      throw new RangeError(`a share of zeros of ${share} can't be made with ${hidden} × ${ffn} weights`);
    for (let step = 0; step < 20; step++) {
      const middle = (low + high) / 2;
      if (zeroShare(middle, ffn) < share) low = middle;
      else high = middle;
    }
    this.#shift = low;
    if (this.lowered(0) > ShiftedGates.columns) throw new RangeError(`a share of zeros of ${share} needs too many columns`);
  }

  /** Weights −1 in a gate's row. */
  lowered(layer: number): number {
    const { columns, growth } = ShiftedGates;
    // A layer's input has a root mean square of 1, so its outputs, each a sum with 2/3 of the signs ±, have one of growth·√(2/3).
    const added = (2 / 3) * growth * growth * (2 * layer + 1);
    const deviation = Math.sqrt((2 / 3) * (this.#hidden - columns) * (F16_POWER + added));
    return Math.min(Math.round((this.#shift * deviation) / SHARED), columns);
  }

  /** Changes the rows of a gate: I2_S blocks, from number `first` on. */
  edit(layer: number): (blocks: Uint8Array, first: number) => void {
    const lowered = this.lowered(layer);
    // Element 32g + p of a block is in byte p, bits 6 − 2g; 0 is −1, and 1 is 0.
    const block = Uint8Array.from({ length: I2S_BLOCK }, (_, p) =>
      [0, 1, 2, 3].reduce((byte, g) => byte | ((32 * g + p < lowered ? 0 : 1) << (6 - 2 * g)), 0),
    );
    const perRow = this.#hidden / 128;
    return (blocks, first) => {
      for (let at = 0; at < blocks.length / I2S_BLOCK; at++) if ((first + at) % perRow === 0) blocks.set(block, at * I2S_BLOCK);
    };
  }
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
