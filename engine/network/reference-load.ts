import type { TensorInfo } from "../container/checkpoint.js";
import { openSourceSync } from "../container/source.js";
import { BitnetError } from "../errors.js";
import type { LinearSource, NetworkSources } from "../model/weights.js";
import { floatBytes, notFinite, readFloats, ternarisation } from "../packing/dense.js";
import { openPacking } from "../packing/open.js";
import { checkScale, storedScale } from "../packing/scale.js";
import type { ReferenceLayer, ReferenceLinear, ReferenceWeights } from "./reference.js";

/** As much as the kernels' 32-bit memory: a file that only claims to be huge must not take the machine's. */
const MAX_BYTES = 2 ** 32;

/** Reads a whole network for the scalar path: norms and embedding as f32, ternary layers as codes. @throws BitnetError */
export function loadReference(sources: NetworkSources): ReferenceWeights {
  const bytes = weightBytes(sources);
  if (bytes > MAX_BYTES) {
    const mib = Math.ceil(bytes / 2 ** 20);
    throw new BitnetError(
      "memory",
      `the weights take ${mib} MiB on the reference path, and at most 4096 MiB are possible: use a smaller model`,
    );
  }
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
        source,
        pieces.map(({ index, bytes }) => packing.stats!(index, bytes)),
      );
    const weights = new Int8Array(rows * columns);
    for (const { index, held, bytes } of pieces) {
      const codes = new Uint8Array(held.length * columns);
      packing.decode(index, bytes, codes, columns, how);
      held.forEach((row, i) => {
        for (let column = 0; column < columns; column++) weights[row * columns + column] = codes[i * columns + column]! - 1;
      });
    }
    return { rows, columns, weights, scale: how ? checkScale(source, how.scale) : storedScale(source, read) };
  };
  const layers = sources.layers.map(
    (layer): ReferenceLayer => ({
      attnNorm: floats(layer.attnNorm),
      q: linear(layer.q),
      k: linear(layer.k),
      v: linear(layer.v),
      qNorm: layer.qNorm && floats(layer.qNorm),
      kNorm: layer.kNorm && floats(layer.kNorm),
      attnSubNorm: layer.attnSubNorm && floats(layer.attnSubNorm),
      o: linear(layer.o),
      ffnNorm: floats(layer.ffnNorm),
      gate: linear(layer.gate),
      up: linear(layer.up),
      ffnSubNorm: layer.ffnSubNorm && floats(layer.ffnSubNorm),
      down: linear(layer.down),
    }),
  );
  const embedding = floats(sources.embedding);
  return { embedding, layers, outputNorm: floats(sources.outputNorm), head: sources.head ? floats(sources.head) : embedding };
}

/** Bytes of what `loadReference` makes: 4 of each float, 1 of each code. */
function weightBytes({ embedding, head, layers }: NetworkSources): number {
  const tables = head ? [embedding, head] : [embedding];
  const linears = layers.flatMap(({ q, k, v, o, gate, up, down }) => [q, k, v, o, gate, up, down]);
  const floats = tables.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
  return linears.reduce((sum, { rows, columns }) => sum + rows * columns, 4 * floats);
}
