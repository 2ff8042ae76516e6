import type { TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { type Packing, PIECE_BYTES, type PieceStats, type Ternarisation } from "./packing.js";

const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);

/** Bytes of a number of a plain float type. */
export function floatBytes(type: string): number {
  return type === "F32" ? 4 : 2;
}

/** The value of IEEE half-precision bits; exact. */
function half(h: number): number {
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  const magnitude =
    exponent === 31
      ? fraction
        ? Number.NaN
        : Number.POSITIVE_INFINITY
      : exponent
        ? (1024 + fraction) * 2 ** (exponent - 25)
        : fraction * 2 ** -24;
  return h & 0x8000 ? -magnitude : magnitude;
}

let halves: Float32Array | undefined;

/** Every f16 as f32, by its bits: a table look-up is several times faster than arithmetic. */
function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, h) => half(h));
  return halves;
}

/**
 * Little-endian F32, F16 or BF16 to f32, exactly.
 * @param out `count` f32
 */
export function readFloats(type: string, bytes: Uint8Array, out: Float32Array, count: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type === "F32") {
    for (let i = 0; i < count; i++) out[i] = view.getFloat32(4 * i, true);
  } else if (type === "F16") {
    const table = halfTable();
    for (let i = 0; i < count; i++) out[i] = table[view.getUint16(2 * i, true)]!;
  } else {
    for (let i = 0; i < count; i++) {
      bits[0] = view.getUint16(2 * i, true) << 16;
      out[i] = asFloat[0]!;
    }
  }
}

/** The error for a number that no weight can be. */
export function notFinite(tensor: TensorInfo, offset: number): BitnetError {
  return new BitnetError(
    "file",
    `${tensor.file}: tensor ${tensor.name} holds a number that is infinite or not one, near byte ${offset}: the file is damaged`,
    {
      file: tensor.file,
      tensor: tensor.name,
      offset,
    },
  );
}

let scratch = new Float32Array(0);

/** At least `n` f32 to work in, the same ones each time. */
function floats(n: number): Float32Array {
  if (scratch.length < n) scratch = new Float32Array(n);
  return scratch;
}

/** Weights stored as plain floats: masters, ternarised here, or dequantised ternary weights, whose codes are recovered exactly. */
export function densePacking(source: LinearSource): Packing {
  const { tensor, rows, columns } = source;
  const rowBytes = columns * floatBytes(tensor.type);
  const perPiece = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const first = (index: number): number => index * perPiece;
  const count = (index: number): number => Math.min(perPiece, rows - first(index));
  return {
    source,
    pieces: Math.ceil(rows / perPiece),
    piece: (index) => ({
      start: first(index) * rowBytes,
      length: count(index) * rowBytes,
      rows: Array.from({ length: count(index) }, (_, i) => first(index) + i),
    }),
    stats(index, bytes): PieceStats {
      const n = count(index) * columns;
      const values = floats(n);
      readFloats(tensor.type, bytes, values, n);
      let sum = 0;
      let least = Number.POSITIVE_INFINITY;
      let most = 0;
      for (let i = 0; i < n; i++) {
        const w = Math.abs(values[i]!);
        sum += w;
        if (w > most) most = w;
        if (w < least && w !== 0) least = w;
      }
      if (!Number.isFinite(sum)) throw notFinite(tensor, tensor.offset + first(index) * rowBytes);
      return { sum, least, most };
    },
    decode(index, bytes, codes, stride, how) {
      const n = count(index) * columns;
      const values = floats(n);
      readFloats(tensor.type, bytes, values, n);
      const inverse = how!.inverse;
      for (let i = 0; i < n; i++) {
        const x = Math.fround(values[i]! * inverse);
        // Half to even sends ±0.5 to 0.
        codes[Math.floor(i / columns) * stride + (i % columns)] = x > 0.5 ? 2 : x < -0.5 ? 0 : 1;
      }
    },
  };
}

/**
 * The scale of master weights, as the original computes it (transformers, integrations/bitnet.py, WeightQuant): in f32,
 * s = 1 / clamp(mean|W|, 1e-5); codes = clamp(round(W·s), −1, 1); value = code / s.
 * Where all weights but zeros have one magnitude, they are ternary already: that magnitude is the scale, exactly.
 */
export function ternarisation(stats: readonly PieceStats[], elements: number): Ternarisation {
  let sum = 0;
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const piece of stats) {
    sum += piece.sum;
    least = Math.min(least, piece.least);
    most = Math.max(most, piece.most);
  }
  if (least === most) return { scale: most, inverse: Math.fround(1 / most) };
  const inverse = Math.fround(1 / Math.max(Math.fround(sum / elements), Math.fround(1e-5)));
  return { scale: Math.fround(1 / inverse), inverse };
}
