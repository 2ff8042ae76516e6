/** What each tensor of a model contains: where, in which encoding, and whether its values are plausible. */
import { type Checkpoint, openCheckpoint, type TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { FilePath } from "../host/files.js";
import { type ModelConfig, readConfig } from "../model/config.js";
import { layerFloats, layerLinears } from "../model/layers.js";
import { isFrequencies, type LinearSource, type NetworkSources, readWeights } from "../model/weights.js";
import { CALLBACK, type Given, type Rules, readOptions, SIGNAL, type Signal, throwIfAborted } from "../options.js";
import { floatBytes, notFinite, readFloats, ternarisation } from "../packing/dense.js";
import { GROUPED } from "../packing/grouped.js";
import { i2sScaleOffset } from "../packing/i2s.js";
import { openPacking } from "../packing/open.js";
import type { Packing, PieceStats } from "../packing/packing.js";
import { checkScale, storedScale } from "../packing/scale.js";
import { ropeFrequencies } from "../rope.js";
import { pathOf } from "./default-model.js";
import { checksOf, type InspectionCheck } from "./inspect-checks.js";
import type { TensorInspection, TensorRole } from "./inspection.js";
import { FILE_OPTIONS, type FileOptions } from "./runner.js";

export type { TensorInspection, TensorRole };

/** The tensors of a model and the checks on them. Plain data. */
export interface ModelInspection {
  readonly path: string;
  readonly format: Checkpoint["format"];
  readonly architecture: string;
  /** In the order in which they lie in the files. */
  readonly tensors: readonly TensorInspection[];
  /** Tensors and bytes of each type. */
  readonly types: readonly { readonly type: string; readonly tensors: number; readonly bytes: number }[];
  /** The checks and their results. */
  readonly checks: readonly InspectionCheck[];
}

/** How to inspect a model. */
export interface InspectOptions extends FileOptions {
  /** Bytes read so far, and in total. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Ends the work: it rejects with the signal's reason. */
  readonly signal?: Signal;
}

const INSPECT_OPTIONS: Rules<InspectOptions> = { ...FILE_OPTIONS, onProgress: CALLBACK, signal: SIGNAL };

/** What was found in a tensor's numbers. */
type Findings = Partial<Pick<TensorInspection, "rms" | "scale" | "codes" | "floats" | "agrees">>;

type Read = (tensor: TensorInfo, start: number, length: number) => Promise<Uint8Array>;

/**
 * Reads all of a model, a piece at a time. A tensor whose values can't be read is reported, and the rest is still read.
 * @throws BitnetError: the file is not a model, or a tensor is missing or has the wrong shape; if `signal` aborts, its reason
 */
export async function inspectModel(path?: FilePath | null, given?: Given<InspectOptions>): Promise<ModelInspection> {
  const options = readOptions<InspectOptions>("inspectModel()", given, INSPECT_OPTIONS);
  const checkpoint = await openCheckpoint(pathOf(path));
  try {
    const config = await readConfig(checkpoint, options);
    const roles = rolesOf(readWeights(checkpoint, config, options));
    const tensors = [...checkpoint.tensors.values()].sort((a, b) =>
      a.file === b.file ? a.offset - b.offset : checkpoint.files.indexOf(a.file) - checkpoint.files.indexOf(b.file),
    );
    const total = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
    let done = 0;
    const read: Read = async (tensor, start, length) => {
      throwIfAborted(options.signal);
      const bytes = await checkpoint.read(tensor, start, length);
      options.onProgress?.({ done: Math.min(done + start, total), total });
      return bytes;
    };
    const inspected: TensorInspection[] = [];
    for (const tensor of tensors) {
      const unused = { role: isFrequencies(tensor.name) ? ("frequencies" as const) : ("other" as const), linear: undefined };
      const { role, linear } = roles.get(tensor.name) ?? unused;
      inspected.push(await inspect(tensor, role, linear, config, read));
      done += tensor.byteLength;
    }
    return {
      path: checkpoint.path,
      format: checkpoint.format,
      architecture: config.architecture,
      tensors: inspected,
      types: byType(tensors),
      checks: checksOf(inspected, config),
    };
  } finally {
    await checkpoint.close();
  }
}

/** Of every tensor that has one. */
function rolesOf(sources: NetworkSources): Map<string, { readonly role: TensorRole; readonly linear?: LinearSource }> {
  const roles = new Map<string, { readonly role: TensorRole; readonly linear?: LinearSource }>();
  roles.set(sources.embedding.name, { role: "embedding" });
  if (sources.head) roles.set(sources.head.name, { role: "head" });
  roles.set(sources.outputNorm.name, { role: "norm" });
  for (const layer of sources.layers) {
    for (const [role, tensor] of layerFloats(layer)) roles.set(tensor.name, { role: role.endsWith("Norm") ? "norm" : "float" });
    for (const [, linear] of layerLinears(layer)) {
      roles.set(linear.tensor.name, { role: "linear", linear });
      if (linear.scale) roles.set(linear.scale.name, { role: "scale" });
    }
  }
  return roles;
}

async function inspect(
  tensor: TensorInfo,
  role: TensorRole,
  source: LinearSource | undefined,
  config: ModelConfig,
  read: Read,
): Promise<TensorInspection> {
  const { name, type, shape, file, offset, byteLength } = tensor;
  let findings: Findings = {};
  let fault: string | undefined;
  try {
    if (source) findings = await linear(source, read);
    else if (role === "frequencies") findings = { agrees: await agrees(tensor, config, read) };
    else if (role !== "other") findings = { rms: await rms(tensor, read) };
  } catch (error) {
    // What the bytes are is the answer; that they can't be had is not.
    if (!(error instanceof BitnetError) || error.code === "io") throw error;
    fault = error.message;
  }
  const { rms: root, scale, codes, floats, ...more } = findings;
  return { name, role, type, shape, file, offset, byteLength, rms: root, scale, codes, floats, ...more, fault };
}

/** Frequencies may be this part off: bf16 rounds by 2⁻⁹, and bases are rounded, too. */
const FREQUENCY_ERROR = 2 ** -6;
/** f16 rounds small ones by this much. */
const SMALLEST_HALF = 2 ** -24;

/** Whether a tensor holds the frequencies of RoPE that follow from the configuration, scaled or not. */
async function agrees({ type, shape, byteLength, ...tensor }: TensorInfo, config: ModelConfig, read: Read): Promise<boolean> {
  const count = config.ropeSize / 2;
  if (shape.reduce((product, extent) => product * extent, 1) !== count || byteLength !== floatBytes(type, count)) return false;
  const stored = new Float32Array(count);
  readFloats(type, await read({ type, shape, byteLength, ...tensor }, 0, byteLength), stored, count);
  const { ropeTheta, ropeSize, ropeFactors, ropeScaling } = config;
  return [ropeFrequencies(ropeTheta, ropeSize, undefined), ropeFrequencies(ropeTheta, ropeSize, ropeFactors, ropeScaling)].some(
    (frequencies) => frequencies.every((frequency, i) => Math.abs(stored[i]! - frequency) <= FREQUENCY_ERROR * frequency + SMALLEST_HALF),
  );
}

/** Numbers of one read of a table, about. */
const CHUNK = 1 << 16;

async function rms(tensor: TensorInfo, read: Read): Promise<number> {
  const row = tensor.shape.at(-1) ?? 1;
  const n = tensor.shape.reduce((product, extent) => product * extent, 1);
  const chunk = Math.max(1, Math.floor(CHUNK / row)) * row;
  const values = new Float32Array(Math.min(chunk, n));
  let squares = 0;
  for (let first = 0; first < n; first += chunk) {
    const count = Math.min(chunk, n - first);
    const start = floatBytes(tensor.type, first);
    readFloats(tensor.type, await read(tensor, start, floatBytes(tensor.type, count)), values, count);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += values[i]! * values[i]!;
    if (!Number.isFinite(sum)) throw notFinite(tensor, tensor.offset + start);
    squares += sum;
  }
  return Math.sqrt(squares / n);
}

/** The code, 0 … 3, in each 2-bit field of a byte. */
const FIELDS = Array.from({ length: 256 }, (_, byte) => [byte & 3, (byte >> 2) & 3, (byte >> 4) & 3, byte >> 6]);

async function linear(source: LinearSource, read: Read): Promise<Findings> {
  const { tensor, rows, columns } = source;
  const packing = openPacking(source);
  const n = rows * columns;
  if (packing.scaleBlock !== undefined) return groups(packing, packing.scaleBlock, read);
  const codes: [number, number, number] = [0, 0, 0];
  const finish = (scale: number, floats?: Findings["floats"]): Findings => {
    const one = { least: scale, most: scale };
    return { codes, scale: one, rms: scale * Math.sqrt((codes[0] + codes[2]) / n), ...(floats && { floats }) };
  };
  if (packing.stats) {
    const stats: PieceStats[] = [];
    for (let i = 0; i < packing.pieces; i++) stats.push(packing.stats(i, await pieceBytes(packing, i, read)));
    const how = ternarisation(source, stats);
    for (let i = 0; i < packing.pieces; i++) {
      const decoded = new Uint8Array(packing.piece(i).rows.length * columns);
      packing.decode(i, await pieceBytes(packing, i, read), decoded, columns, how);
      for (const code of decoded) codes[code as 0 | 1 | 2]++;
    }
    const least = stats.reduce((min, piece) => Math.min(min, piece.least), Number.POSITIVE_INFINITY);
    const most = stats.reduce((max, piece) => Math.max(max, piece.most), 0);
    return finish(checkScale(source, how.scale), least === most ? "ternary" : "masters");
  }
  // Two bits a code, in whatever order: what counts is how often each byte occurs.
  const histogram = new Float64Array(256);
  for (let i = 0; i < packing.pieces; i++) {
    const bytes = await pieceBytes(packing, i, read);
    const before = histogram.slice();
    for (const byte of bytes) histogram[byte]!++;
    if (FIELDS.some((fields, byte) => fields.includes(3) && histogram[byte] !== before[byte])) {
      packing.decode(i, bytes, new Uint8Array(packing.piece(i).rows.length * columns), columns, undefined); // says where
    }
  }
  for (const [byte, count] of histogram.entries()) for (const code of FIELDS[byte]!) if (code < 3) codes[code as 0 | 1 | 2] += count;
  const [holder, at, length] = source.scale
    ? ([source.scale, 0, source.scale.byteLength] as const)
    : ([tensor, i2sScaleOffset(rows, columns), 4] as const);
  const bytes = await read(holder, at, length);
  return finish(storedScale(source, () => bytes));
}

/** An encoding with a scale for each `block` columns of a row; its last group may have fewer. */
async function groups(packing: Packing, block: number, read: Read): Promise<Findings> {
  const { tensor, rows, columns } = packing.source;
  const perRow = Math.ceil(columns / block);
  const codes: [number, number, number] = [0, 0, 0];
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  let squares = 0;
  for (let i = 0; i < packing.pieces; i++) {
    const bytes = await pieceBytes(packing, i, read);
    const held = packing.piece(i).rows.length;
    const scales = new Float32Array(held * perRow);
    const decoded = new Uint8Array(held * columns);
    packing.scales!(i, bytes, scales);
    packing.decode(i, bytes, decoded, columns, undefined);
    for (const [group, scale] of scales.entries()) {
      const row = Math.floor(group / perRow);
      const first = (group - row * perRow) * block;
      const count = [0, 0, 0];
      for (let c = first; c < Math.min(first + block, columns); c++) count[decoded[row * columns + c]!]!++;
      for (const code of [0, 1, 2] as const) codes[code] += count[code]!;
      squares += scale * scale * (count[0]! + count[2]!);
      if (scale === 0) continue;
      least = Math.min(least, scale);
      most = Math.max(most, scale);
    }
  }
  const scale = { least: Math.min(least, most), most };
  const written = GROUPED.has(tensor.type) ? {} : { floats: "ternary" as const };
  return { codes, scale, rms: Math.sqrt(squares / (rows * columns)), ...written };
}

async function pieceBytes(packing: Packing, index: number, read: Read): Promise<Uint8Array> {
  const { start, length } = packing.piece(index);
  return read(packing.source.tensor, start, length);
}

function byType(tensors: readonly TensorInfo[]): ModelInspection["types"] {
  const types = new Map<string, { type: string; tensors: number; bytes: number }>();
  for (const { type, byteLength } of tensors) {
    const sum = types.get(type) ?? { type, tensors: 0, bytes: 0 };
    types.set(type, { type, tensors: sum.tensors + 1, bytes: sum.bytes + byteLength });
  }
  return [...types.values()].sort((a, b) => b.bytes - a.bytes);
}
