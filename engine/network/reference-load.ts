import { openSourceSync } from "#host/files.js";
import type { TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { FileStamp } from "../host/files.js";
import type { ModelConfig } from "../model/config.js";
import { allLinears, asMultipliers, type FloatRole, mapLayer } from "../model/layers.js";
import type { LinearSource, NetworkSources } from "../model/weights.js";
import { SCALE_GROUP } from "../numerics.js";
import { floatBytes, notFinite, readFloats, ternarisation } from "../packing/dense.js";
import { openPacking } from "../packing/open.js";
import type { Packing } from "../packing/packing.js";
import { checkScale, foldScales, storedScale } from "../packing/scale.js";
import { scaleOutputNorm } from "./output-norm.js";
import type { ReferenceWeights } from "./reference.js";
import type { ReferenceLinear, TernaryMatrix } from "./reference-linear.js";

/** As much as the kernels' 32-bit memory: a file that only claims to be huge must not take the machine's. */
const MAX_BYTES = 2 ** 32;

/**
 * Reads a whole network for the scalar path: norms and embedding as f32, ternary layers as codes.
 * @param stamps what state each file was in when its header was read
 * @throws BitnetError
 */
export function loadReference(
  sources: NetworkSources,
  config: ModelConfig,
  stamps: ReadonlyMap<string, FileStamp> = new Map(),
): ReferenceWeights {
  const bytes = weightBytes(sources);
  if (bytes > MAX_BYTES) {
    const mib = Math.ceil(bytes / 2 ** 20);
    throw new BitnetError(
      "memory",
      `the weights need ${mib} MiB on the reference path, but at most 4096 MiB are possible: use a smaller model`,
    );
  }
  const read = (tensor: TensorInfo, start: number, length: number): Uint8Array => {
    const file = openSourceSync(tensor.file, stamps.get(tensor.file));
    try {
      const bytes = new Uint8Array(length);
      file.readInto(bytes, tensor.offset + start);
      file.check();
      return bytes;
    } finally {
      file.close();
    }
  };
  const norm = (tensor: TensorInfo, role: FloatRole | "outputNorm"): Float32Array => {
    const weights = floats(tensor);
    asMultipliers(weights, role, config);
    return weights;
  };
  const floats = (tensor: TensorInfo): Float32Array => {
    const n = tensor.shape.reduce((product, extent) => product * extent, 1);
    const out = new Float32Array(n);
    readFloats(tensor.type, read(tensor, 0, floatBytes(tensor.type, n)), out, n);
    if (out.some((value) => !Number.isFinite(value))) throw notFinite(tensor, tensor.offset);
    return out;
  };
  const linear = (source: LinearSource): Linear => {
    const { rows, columns } = source;
    const packing = openPacking(source);
    const pieces = Array.from({ length: packing.pieces }, (_, index) => {
      const { start, length, rows: held } = packing.piece(index);
      return { index, held, bytes: read(source.tensor, start, length) };
    });
    const how =
      packing.stats &&
      ternarisation(
        source,
        pieces.map(({ index, bytes }) => packing.stats!(index, bytes)),
      );
    const perRow = Math.ceil(columns / (packing.scaleBlock ?? columns));
    const scales = new Float32Array(packing.scales ? rows * perRow : 1);
    const weights = new Int8Array(rows * columns);
    for (const { index, held, bytes } of pieces) {
      const codes = new Uint8Array(held.length * columns);
      const own = new Float32Array(packing.scales ? held.length * perRow : 0);
      packing.scales?.(index, bytes, own);
      packing.decode(index, bytes, codes, columns, how);
      held.forEach((row, i) => {
        const from = codes.subarray(i * columns, (i + 1) * columns);
        const to = weights.subarray(row * columns, (row + 1) * columns);
        for (let column = 0; column < columns; column++) to[column] = from[column]! - 1;
        if (packing.scales) scales.set(own.subarray(i * perRow, (i + 1) * perRow), row * perRow);
      });
    }
    if (packing.scales) {
      const used = scales.filter((scale) => scale !== 0);
      const [least, most] = [used.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY), used.reduce((a, b) => Math.max(a, b), 0)];
      return { packing, weights, scales, scale: foldScales(source, least, most) };
    }
    const scale = how ? checkScale(source, how.scale) : storedScale(source, read);
    return { packing, weights, scales: scales.fill(scale), scale };
  };
  const asRead = sources.layers.map((layer) => mapLayer(layer, linear, norm));
  const inGroups = config.activations === "float" || allLinears(asRead).some(({ scale }) => scale === undefined);
  const group = inGroups ? SCALE_GROUP : undefined;
  const layers = asRead.map((layer, index) =>
    mapLayer(
      layer,
      (from, role): ReferenceLinear => {
        const isRotated = config.rotation?.linears[index]?.has(role) ?? false;
        return { ...finished(from, group), signs: isRotated ? config.rotation!.signs.get(from.packing.source.columns)! : undefined };
      },
      (norm) => norm,
    ),
  );
  const embedding = floats(sources.embedding);
  const outputNorm = norm(sources.outputNorm, "outputNorm");
  scaleOutputNorm(outputNorm, config);
  return { embedding, layers, outputNorm, head: sources.head ? floats(sources.head) : embedding };
}

/** A ternary layer as it was read. */
interface Linear {
  readonly packing: Packing;
  readonly weights: Int8Array; // [rows, columns] −1, 0, 1
  readonly scales: Float32Array; // [rows, columns/scaleBlock], or one
  /** One scale for all; undefined: groups of columns differ. */
  readonly scale: number | undefined;
}

/** A layer with a scale for each group of columns, or with one. */
function finished({ packing, weights, scales, scale }: Linear, group: number | undefined): TernaryMatrix {
  const { rows, columns } = packing.source;
  if (group === undefined) return { rows, columns, weights, group, scales: Float32Array.of(scale!) };
  const groups = Math.ceil(columns / group);
  const { scaleBlock } = packing;
  const perRow = scaleBlock === undefined ? 0 : Math.ceil(columns / scaleBlock);
  const from = (i: number): number =>
    scaleBlock === undefined ? 0 : Math.floor(i / groups) * perRow + Math.floor(((i % groups) * group) / scaleBlock);
  return { rows, columns, weights, group, scales: Float32Array.from({ length: rows * groups }, (_, i) => scales[from(i)]!) };
}

/** Bytes of what `loadReference` makes: 4 of each float, 1 of each code. */
function weightBytes({ embedding, head, layers }: NetworkSources): number {
  const tables = head ? [embedding, head] : [embedding];
  const floats = tables.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
  return allLinears(layers).reduce((sum, { rows, columns }) => sum + rows * columns, 4 * floats);
}
