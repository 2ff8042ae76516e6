import type { TensorInfo } from "../container/checkpoint.js";
import { openSourceSync } from "../container/source.js";
import type { LinearSource, NetworkSources } from "../model/weights.js";
import { floatBytes, notFinite, readFloats, ternarisation } from "../packing/dense.js";
import { i2sScaleOffset } from "../packing/i2s.js";
import { openPacking } from "../packing/open.js";
import type { ReferenceLayer, ReferenceLinear, ReferenceWeights } from "./reference.js";

/** Reads a whole network for the scalar path: norms and embedding as f32, ternary layers as codes. @throws BitnetError */
export function loadReference(sources: NetworkSources): ReferenceWeights {
  const read = (tensor: TensorInfo, start: number, length: number): Uint8Array => {
    const file = openSourceSync(tensor.file);
    try {
      const bytes = new Uint8Array(length);
      file.readInto(bytes, tensor.offset + start);
      return bytes;
    } finally {
      file.close();
    }
  };
  const floats = (tensor: TensorInfo): Float32Array => {
    const n = tensor.shape.reduce((product, extent) => product * extent, 1);
    const out = new Float32Array(n);
    readFloats(tensor.type, read(tensor, 0, n * floatBytes(tensor.type)), out, n);
    if (out.some((value) => !Number.isFinite(value))) throw notFinite(tensor, tensor.offset);
    return out;
  };
  const linear = (source: LinearSource): ReferenceLinear => {
    const { tensor, rows, columns } = source;
    const packing = openPacking(source);
    const pieces = Array.from({ length: packing.pieces }, (_, index) => {
      const { start, length, rows: held } = packing.piece(index);
      return { index, held, bytes: read(tensor, start, length) };
    });
    const how =
      packing.stats &&
      ternarisation(
        pieces.map(({ index, bytes }) => packing.stats!(index, bytes)),
        rows * columns,
      );
    const weights = new Int8Array(rows * columns);
    for (const { index, held, bytes } of pieces) {
      const codes = new Uint8Array(held.length * columns);
      packing.decode(index, bytes, codes, columns, how);
      held.forEach((row, i) => {
        for (let column = 0; column < columns; column++) weights[row * columns + column] = codes[i * columns + column]! - 1;
      });
    }
    if (how) return { rows, columns, weights, scale: how.scale };
    const stored = new Float32Array(1);
    if (source.scale) readFloats(source.scale.type, read(source.scale, 0, floatBytes(source.scale.type)), stored, 1);
    else readFloats("F32", read(tensor, i2sScaleOffset(rows, columns), 4), stored, 1);
    return { rows, columns, weights, scale: source.inverseScale ? Math.fround(1 / stored[0]!) : stored[0]! };
  };
  const layers = sources.layers.map(
    (layer): ReferenceLayer => ({
      attnNorm: floats(layer.attnNorm),
      q: linear(layer.q),
      k: linear(layer.k),
      v: linear(layer.v),
      attnSubNorm: floats(layer.attnSubNorm),
      o: linear(layer.o),
      ffnNorm: floats(layer.ffnNorm),
      gate: linear(layer.gate),
      up: linear(layer.up),
      ffnSubNorm: floats(layer.ffnSubNorm),
      down: linear(layer.down),
    }),
  );
  const embedding = floats(sources.embedding);
  return { embedding, layers, outputNorm: floats(sources.outputNorm), head: sources.head ? floats(sources.head) : embedding };
}
