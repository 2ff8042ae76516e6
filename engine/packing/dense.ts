import type { TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { LinearSource } from "../model/weights.js";
import { halfBits } from "./half.js";
import { type Packing, type PieceStats, rowPieces, type Ternarisation } from "./packing.js";
import { dequantize, quantizedBytes } from "./quantized.js";

/** Bytes of `count` numbers: of a plain float type, or of whole blocks of a quantised one. */
export function floatBytes(type: string, count: number): number {
  return quantizedBytes(type, count) ?? count * (type === "F32" ? 4 : 2);
}

/**
 * Little-endian F32, F16 or BF16 to f32, exactly; whole blocks of a quantised type as ggml does it.
 * @param out `count` f32
 */
export function readFloats(type: string, bytes: Uint8Array, out: Float32Array, count: number): void {
  if (dequantize(type, bytes, out, count)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Int32Array(out.buffer, out.byteOffset, count); // as bits: a NaN's must not be touched
  if (type === "F32") for (let i = 0; i < count; i++) words[i] = view.getInt32(4 * i, true);
  else if (type === "F16") for (let i = 0; i < count; i++) words[i] = halfBits(view.getUint16(2 * i, true));
  else for (let i = 0; i < count; i++) words[i] = view.getUint16(2 * i, true) << 16;
}

/** The error for a number that no weight can be. */
export function notFinite(tensor: TensorInfo, offset: number): BitnetError {
  return new BitnetError(
    "file",
    `${tensor.file}: tensor ${tensor.name} contains an infinity or NaN near byte ${offset}: the file is damaged`,
    {
      file: tensor.file,
      tensor: tensor.name,
      offset,
    },
  );
}

/** What to do with weights that are not ternary: with SafeTensors, and with GGUF. */
const GET_TERNARY =
  'get its packed or unpacked form (for Falcon-E the revision main or bfloat16), or, if these are master weights of a ternary model, state it in config.json: "quantization_config": {"quant_method": "bitnet", "quantization_mode": "online", "linear_class": "autobitlinear"}';
const GET_GGUF = "get the model as I2_S, TQ1_0, TQ2_0 or Q2_0";

function notTernary({ file, name }: TensorInfo, offset: number): BitnetError {
  return new BitnetError(
    "tensor",
    `${file}: tensor ${name} has weights of many magnitudes (near byte ${offset}), so this is not a ternary model, or these are its master weights and the file does not state it: ${name.startsWith("blk.") ? GET_GGUF : GET_TERNARY}`,
    { file, tensor: name, offset },
  );
}

/** Names of types of plain numbers. */
const FLOATS = ["F32", "F16", "BF16"];

/**
 * Refuses a model that isn't ternary by the first row of each layer, in the network's order: threads that load find the same, but now in one layer,
 * now in another.
 * @throws BitnetError tensor: weights of many magnitudes that nothing says are masters; file: numbers that no weight can be
 */
export async function requireTernary(
  layers: readonly LinearSource[],
  read: (tensor: TensorInfo, start: number, length: number) => Promise<Uint8Array>,
): Promise<void> {
  for (const source of layers) {
    const { tensor, columns, masters } = source;
    if (masters || !FLOATS.includes(tensor.type)) continue;
    const row = densePacking({ ...source, rows: 1 });
    row.decode(0, await read(tensor, 0, floatBytes(tensor.type, columns)), new Uint8Array(columns), columns, undefined);
  }
}

let scratch = new Float32Array(0);

/** At least `n` f32 to work in, the same ones each time. */
function floats(n: number): Float32Array {
  if (scratch.length < n) scratch = new Float32Array(n);
  return scratch;
}

/** Columns that share a scale where ternary weights are written out as floats: 64, or a multiple of it. */
const DENSE_GROUP = 64;

/**
 * Weights stored as plain floats: masters, ternarised here, or ternary weights written out, whose codes are recovered exactly. Where the model may
 * be one that isn't ternary at all (`masters` false), only the latter, with a magnitude for each group of columns.
 */
export function densePacking(source: LinearSource): Packing {
  const { tensor, rows, columns } = source;
  const rowBytes = floatBytes(tensor.type, columns);
  const { pieces, first, count, piece } = rowPieces(rows, rowBytes, 1);
  const whole = { source, pieces, piece };
  if (!source.masters) {
    const groups = Math.ceil(columns / DENSE_GROUP);
    const eachRow = (index: number, bytes: Uint8Array, work: (row: number, weights: Float32Array) => void): void => {
      const values = floats(columns);
      for (let row = 0; row < count(index); row++) {
        readFloats(tensor.type, bytes.subarray(row * rowBytes), values, columns);
        work(row, values.subarray(0, columns));
      }
    };
    const magnitude = (weights: Float32Array, group: number): number => {
      let most = 0;
      for (let i = group * DENSE_GROUP; i < Math.min(columns, (group + 1) * DENSE_GROUP); i++) most = Math.max(most, Math.abs(weights[i]!));
      return most;
    };
    return {
      ...whole,
      scaleBlock: DENSE_GROUP,
      scales(index, bytes, out) {
        eachRow(index, bytes, (row, weights) => {
          for (let group = 0; group < groups; group++) {
            const most = magnitude(weights, group);
            if (!Number.isFinite(most)) throw notFinite(tensor, tensor.offset + (first(index) + row) * rowBytes);
            out[row * groups + group] = source.inverseScale && most > 0 ? 1 / most : most;
          }
        });
      },
      decode(index, bytes, codes, stride) {
        eachRow(index, bytes, (row, weights) => {
          for (let group = 0; group < groups; group++) {
            const most = magnitude(weights, group);
            for (let i = group * DENSE_GROUP; i < Math.min(columns, (group + 1) * DENSE_GROUP); i++) {
              const w = weights[i]!;
              if (w !== 0 && Math.abs(w) !== most) throw notTernary(tensor, tensor.offset + (first(index) + row) * rowBytes);
              codes[row * stride + i] = w > 0 ? 2 : w < 0 ? 0 : 1;
            }
          }
        });
      },
    };
  }
  return {
    ...whole,
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
export function ternarisation({ rows, columns, inverseScale }: LinearSource, stats: readonly PieceStats[]): Ternarisation {
  let sum = 0;
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const piece of stats) {
    sum += piece.sum;
    least = Math.min(least, piece.least);
    most = Math.max(most, piece.most);
  }
  if (least === most) {
    const inverse = Math.fround(1 / most);
    return { scale: inverseScale ? inverse : most, inverse };
  }
  const inverse = Math.fround(1 / Math.max(Math.fround(sum / (rows * columns)), Math.fround(1e-5)));
  return { scale: Math.fround(1 / inverse), inverse };
}
