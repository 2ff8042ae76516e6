import { columnBlock, type Kernels, ROW_GROUP, rowGroup, tileRows } from "../compute/kernels.js";
import type { TensorInfo } from "../container/checkpoint.js";
import { allLinears, asMultipliers, type FloatRole, layerFloats } from "../model/layers.js";
import type { LinearSource, NetworkSources } from "../model/weights.js";
import { ternarisation } from "../packing/dense.js";
import { GROUPED } from "../packing/grouped.js";
import { I2S_BLOCK, I2S_BLOCK_BYTES } from "../packing/i2s.js";
import { openPacking } from "../packing/open.js";
import type { Packing, PieceStats, Ternarisation } from "../packing/packing.js";
import { checkScale, foldScales, storedScale } from "../packing/scale.js";
import type { LinearPlan } from "./layout.js";
import { scaleOutputNorm } from "./output-norm.js";
import type { NetworkPlan } from "./plan.js";
import { type Reader, readWidened, TableFile, tablePieceRows, tableStaging } from "./table-file.js";

/** One thing a thread can load on its own. */
interface Job {
  /** Bytes read from files, for the progress. */
  readonly bytes: number;
  run(): void;
}

/** Packings of all ternary layers, in the order of `allLinears`, and what they need of the plan. */
export interface LoadNeeds {
  readonly packings: readonly Packing[];
  /** That of the output head, if it is a ternary table: it may be kept as a layer. */
  readonly head: Packing | undefined;
  /** A thread's staging: the largest piece and what it decodes to. */
  readonly stagingBytes: number;
  /** Pieces of which something is noted for the scale of their tensor, all tensors together. */
  readonly statPieces: number;
}

/** What came of a load: everything is loaded, or what the plan has to be made again with. */
export type LoadOutcome = "loaded" | "f32 head" | "scale groups";

/** Looks at every ternary layer's encoding. @throws BitnetError tensor */
export function loadNeeds(sources: NetworkSources): LoadNeeds {
  const packings = allLinears(sources.layers).map(openPacking);
  const head = ternaryHead(sources.head ?? sources.embedding);
  let stagingBytes = tableStaging(sources.embedding.shape[1]!);
  for (const { byteLength } of smallTensors(sources)) stagingBytes = Math.max(stagingBytes, align(byteLength));
  let statPieces = 0;
  for (const packing of head ? [...packings, head] : packings) {
    const { length, rows } = packing.piece(0);
    stagingBytes = Math.max(stagingBytes, align(length) + rows.length * align(packing.source.columns, WIDEST_BLOCK));
    if (packing.stats || packing.scales) statPieces += packing.pieces;
  }
  return { packings, head, stagingBytes, statPieces };
}

/** The packing of a table whose rows are ternary and whole groups. */
function ternaryHead(tensor: TensorInfo): Packing | undefined {
  const [rows, columns] = tensor.shape as [number, number];
  const encoding = GROUPED.get(tensor.type);
  if (encoding === undefined || columns % encoding.elements !== 0) return undefined;
  const plain = { scale: undefined, inverseScale: false, layout: "block128", pairedRows: undefined, masters: false } as const;
  return openPacking({ tensor, rows, columns, ...plain });
}

/** Norms and other floats that are read at once, or, matrices, a row at a time. */
const smallTensors = ({ outputNorm, layers }: NetworkSources): TensorInfo[] => [
  outputNorm,
  ...layers.flatMap((layer) => layerFloats(layer).map(([, tensor]) => tensor)),
];

const align = (n: number, unit = 64): number => Math.ceil(n / unit) * unit;

/** Columns of any tier's blocks: what a piece needs doesn't hang on the tier. */
const WIDEST_BLOCK = columnBlock("wide");

/** Shared by the loading threads: u32 words at `plan.loading`. */
const LOADED_KIB = 0;
const INEXACT = 1;
const UNEVEN = 2;

/**
 * Fills the memory from the files, one thread's part of it: pieces are read straight into this thread's staging, decoded and packed into
 * the kernels' layout. All threads call it together.
 * @param read this thread's own access to the files
 * @param onBytes called now and then with the bytes loaded by all threads so far
 * @returns "f32 head" if the output head holds numbers that bf16 can't, and the plan said bf16; "scale groups" if a layer has more than one scale,
 *   and the plan has no `scaleBlock`
 */
export function load(
  kernels: Kernels,
  memory: WebAssembly.Memory,
  plan: NetworkPlan,
  sources: NetworkSources,
  needs: LoadNeeds,
  read: Reader,
  thread: number,
  onBytes: (done: number) => void,
): LoadOutcome {
  const shared = new Int32Array(memory.buffer, plan.loading, 3);
  const stats = new Float64Array(memory.buffer, plan.pieceStats, 3 * needs.statPieces);
  const staging = plan.staging + thread * plan.stagingBytes;
  const bytes = new Uint8Array(memory.buffer);
  const allFloats = new Float32Array(memory.buffer);

  const each = (jobs: readonly Job[]): void => {
    for (let item = kernels.nextChunk(plan.control); item < jobs.length; item = kernels.nextChunk(plan.control)) {
      const job = jobs[item]!;
      job.run();
      onBytes(1024 * Atomics.add(shared, LOADED_KIB, Math.ceil(job.bytes / 1024)));
    }
    kernels.barrier(plan.control, plan.threads);
  };

  const floats = (tensor: TensorInfo, to: number, role: FloatRole | "outputNorm"): Job => {
    const count = tensor.shape.reduce((product, extent) => product * extent, 1);
    return {
      bytes: tensor.byteLength,
      run: () => {
        readWidened(kernels, read, tensor, 0, count, staging, to);
        asMultipliers(new Float32Array(memory.buffer, to, count), role, plan.config);
      },
    };
  };

  /** The head's rows, exact or coded. */
  const headRows = (tensor: TensorInfo): Job[] => {
    const [vocab, hidden] = tensor.shape as [number, number];
    const { kind, at, rowBytes, low, kPad, scales, errors, fineErrors } = plan.head;
    const scratch = plan.scratch + thread * plan.scratchBytes;
    const table = new TableFile(kernels, read, tensor, staging);
    const most = tablePieceRows(hidden);
    return Array.from({ length: Math.ceil(vocab / most) }, (_, piece) => {
      const first = piece * most;
      const count = Math.min(most, vocab - first);
      return {
        bytes: (tensor.byteLength / vocab) * count,
        run: () => {
          const exact = table.piece(first, count);
          if (kind === "bf16" && !exact) Atomics.store(shared, INEXACT, 1);
          for (let i = 0; i < count; i++) {
            const id = first + i;
            const row = table.rows + i * hidden * 4;
            if (kind === "scan") {
              const [ofRow, last] = [id * 4, low + id * (kPad / 4)];
              kernels.packScan(at + id * rowBytes, last, scales + ofRow, errors + ofRow, fineErrors + ofRow, row, hidden, scratch);
            } else if (kind === "bf16") kernels.packBf16(at + id * rowBytes, row, hidden);
            else bytes.copyWithin(at + id * rowBytes, row, row + hidden * 4);
          }
        },
      };
    });
  };

  const { scaleBlock, tier } = plan;
  const inGroup = rowGroup(tier, scaleBlock !== undefined);
  const setSigns = (width: number, to: number): Job => ({
    bytes: 0,
    run: () => new Float32Array(memory.buffer, to, width).set(plan.config.rotation!.signs.get(width)!),
  });
  const setScale = (to: LinearPlan, scale: number): void => {
    const count = scaleBlock === undefined ? 1 : align(to.rows, inGroup) * (to.kPad / scaleBlock);
    new Float32Array(memory.buffer, to.scales, count).fill(scale);
  };

  /** Scales of a piece's groups: into the plan's, and the least and the largest that isn't 0 into `stats`. */
  const takeScales = (packing: Packing, piece: number, bytes: Uint8Array, to: LinearPlan, stat: number): void => {
    const { rows } = packing.piece(piece);
    const perRow = Math.ceil(to.columns / packing.scaleBlock!);
    const scales = new Float32Array(rows.length * perRow);
    packing.scales!(piece, bytes, scales);
    let least = Number.POSITIVE_INFINITY;
    let most = 0;
    for (const scale of scales) {
      if (scale !== 0 && scale < least) least = scale;
      if (scale > most) most = scale;
    }
    stats.set([0, least, most], 3 * stat);
    if (scaleBlock === undefined) return;
    const groups = to.kPad / scaleBlock;
    const out = new Float32Array(memory.buffer, to.scales, align(to.rows, inGroup) * groups);
    rows.forEach((row, i) => {
      const first = Math.floor(row / inGroup) * groups * inGroup + (row % inGroup);
      for (let group = 0; group < groups; group++) {
        const from = Math.floor((group * scaleBlock) / packing.scaleBlock!);
        out[first + group * inGroup] = from < perRow ? scales[i * perRow + from]! : 0;
      }
    });
  };

  /** Decodes the staged piece by the kernels. False if they don't know its form or found a fault: TypeScript's decode then tells which. */
  const decode = ({ tensor, columns, layout }: LinearSource, rows: number, length: number, codes: number, kPad: number): boolean => {
    if (columns !== kPad) return false;
    const grouped = GROUPED.get(tensor.type);
    if (grouped) {
      const blocks = length / grouped.bytes;
      if (tensor.type === "TQ1_0") return kernels.unpackTq1(codes, staging, blocks) === 0;
      if (tensor.type === "TQ2_0") return kernels.unpackTq2(codes, staging, blocks) === 0;
      if (tensor.type === "PTQ1_0") return kernels.unpackPtq1(codes, staging, blocks) === 0;
      if (tensor.type === "Q1_0") return kernels.unpackQ1(codes, staging, blocks) === 0;
      return kernels.unpackQ2(codes, staging, blocks, grouped.elements) === 0;
    }
    if (tensor.type === "I2_S" && layout === "block128") return kernels.unpackI2s(codes, staging, length / I2S_BLOCK_BYTES) === 0;
    if (tensor.type !== "U8") return false;
    const packedRows = rows / 4;
    let bad = 0;
    for (let row = 0; row < rows; row++) {
      bad |= kernels.unpackHf(codes + row * kPad, staging + (row % packedRows) * columns, columns, Math.floor(row / packedRows));
    }
    return bad === 0;
  };

  const unpack = (packing: Packing, piece: number, to: LinearPlan, how: Ternarisation | undefined, stat: number): void => {
    const { start, length, rows } = packing.piece(piece);
    const at = staging + align(length);
    const bytes = read(packing.source.tensor, start, length, staging);
    if (packing.scales) takeScales(packing, piece, bytes, to, stat);
    const groupOf = (row: number): number => to.weights + Math.floor(row / inGroup) * (inGroup / 4) * to.kPad;
    const repackI2s = scaleBlock === undefined ? kernels.repackI2s : undefined;
    const packRow = (scaleBlock === undefined ? undefined : kernels.packLane) ?? kernels.packRow;
    const { tensor, layout } = packing.source;
    if (tensor.type === "I2_S" && layout === "block128" && repackI2s && to.columns === to.kPad && to.columns % I2S_BLOCK === 0) {
      let bad = 0;
      rows.forEach((row, i) => {
        bad |= repackI2s(groupOf(row), row % ROW_GROUP, staging + (i * to.columns) / 4, to.columns);
      });
      if (bad === 0) return; // else the way through codes says where
    }
    if (!decode(packing.source, rows.length, length, at, to.kPad)) {
      const codes = new Uint8Array(memory.buffer, at, rows.length * to.kPad);
      if (to.kPad !== to.columns) codes.fill(0); // the columns that pad a row meet zeros, but must be codes
      packing.decode(piece, bytes, codes, to.kPad, how);
    }
    rows.forEach((row, i) => {
      packRow(groupOf(row), row % inGroup, at + i * to.kPad, to.kPad);
    });
  };

  /** A ternary head as a layer, and what √Σrow² of each row is at most: that of a row without a 0. */
  const headLayer = (packing: Packing, to: LinearPlan): Job[] =>
    Array.from({ length: packing.pieces }, (_, piece) => {
      const { length, rows } = packing.piece(piece);
      const groups = to.kPad / scaleBlock!;
      return {
        bytes: length,
        run: () => {
          unpack(packing, piece, to, undefined, needs.statPieces - packing.pieces + piece);
          for (const row of rows) {
            const first = to.scales / 4 + Math.floor(row / inGroup) * groups * inGroup + (row % inGroup);
            let squares = 0;
            for (let group = 0; group < groups; group++) {
              const scale = allFloats[first + group * inGroup]!;
              squares += scale * scale;
            }
            allFloats[plan.head.scales / 4 + row] = 1.0001 * Math.sqrt(scaleBlock! * squares);
          }
        },
      };
    });

  const head = (): Job[] => {
    const { kind, linear } = plan.head;
    if (kind === "none") return [];
    return linear ? headLayer(needs.head!, linear) : headRows(sources.head ?? sources.embedding);
  };

  const first = head();
  const outputNorm = floats(sources.outputNorm, plan.head.norm, "outputNorm");
  first.push({
    ...outputNorm,
    run: () => {
      outputNorm.run();
      scaleOutputNorm(new Float32Array(memory.buffer, plan.head.norm, plan.config.hiddenSize), plan.config);
    },
  });
  for (const [width, to] of plan.signs) first.push(setSigns(width, to));
  plan.layers.forEach((layer, i) => {
    const addresses = layerFloats(layer);
    for (const [n, [role, norm]] of layerFloats(sources.layers[i]!).entries()) first.push(floats(norm, addresses[n]![1], role));
  });
  const second: Job[] = [];
  const third: Job[] = [];
  let statsFrom = 0;
  const places = allLinears(plan.layers);
  needs.packings.forEach((packing, i) => {
    const { source } = packing;
    const to = places[i]!;
    const from = statsFrom;
    const ternarise = (): Ternarisation => {
      const pieces = Array.from({ length: packing.pieces }, (_, p): PieceStats => {
        const [sum, least, most] = stats.subarray(3 * (from + p)) as unknown as [number, number, number];
        return { sum, least, most };
      });
      return ternarisation(source, pieces);
    };
    if (packing.stats || packing.scales) statsFrom += packing.pieces;
    if (packing.scales && scaleBlock === undefined) {
      third.push({
        bytes: 0,
        run: () => {
          const noted = Array.from({ length: packing.pieces }, (_, p) => stats.subarray(3 * (from + p), 3 * (from + p + 1)));
          const scale = foldScales(source, Math.min(...noted.map((piece) => piece[1]!)), Math.max(...noted.map((piece) => piece[2]!)));
          if (scale === undefined) Atomics.store(shared, UNEVEN, 1);
          else setScale(to, scale);
        },
      });
    } else if (!packing.stats && !packing.scales)
      first.push({
        bytes: 4,
        run: () =>
          setScale(
            to,
            storedScale(source, (tensor, start, length) => read(tensor, start, length, staging)),
          ),
      });
    for (let p = 0; p < packing.pieces; p++) {
      const bytes = packing.piece(p).length;
      if (!packing.stats) {
        second.push({ bytes, run: () => unpack(packing, p, to, undefined, from + p) });
        continue;
      }
      first.push({
        bytes: 0,
        run: () => {
          const { start, length } = packing.piece(p);
          const { sum, least, most } = packing.stats!(p, read(source.tensor, start, length, staging));
          stats.set([sum, least, most], 3 * (from + p));
        },
      });
      second.push({
        bytes,
        run: () => {
          const how = ternarise();
          if (p === 0) setScale(to, checkScale(source, how.scale));
          unpack(packing, p, to, how, from + p);
        },
      });
    }
  });
  const ofTile = tileRows(tier);
  const scratch = plan.scratch + thread * plan.scratchBytes;
  for (const { tiles, weights, rows, kPad } of places) {
    for (let row = 0; tiles !== 0 && row < rows; row += ofTile) {
      const at = (row / 4) * kPad;
      third.push({ bytes: 0, run: () => kernels.turnTile!(tiles + at, weights + at, kPad, scratch) });
    }
  }
  each(first);
  if (Atomics.load(shared, INEXACT) !== 0) return "f32 head";
  each(second);
  each(third);
  return Atomics.load(shared, UNEVEN) === 0 ? "loaded" : "scale groups";
}
