import { COLUMN_BLOCK, type Kernels, ROW_GROUP } from "../compute/kernels.js";
import type { TensorInfo } from "../container/checkpoint.js";
import { openSourceSync, type SyncSource } from "../container/source.js";
import type { LinearSource, NetworkSources } from "../model/weights.js";
import { floatBytes, notFinite, ternarisation } from "../packing/dense.js";
import { I2S_BLOCK_BYTES } from "../packing/i2s.js";
import { openPacking } from "../packing/open.js";
import { type Packing, PIECE_BYTES, type PieceStats, type Ternarisation } from "../packing/packing.js";
import { checkScale, storedScale } from "../packing/scale.js";
import type { LinearPlan, NetworkPlan, TablePlan } from "./plan.js";

/** Ternary roles of a layer, in the order of the plan. */
const LINEARS = ["q", "k", "v", "o", "gate", "up", "down"] as const;
const NORMS = ["attnNorm", "attnSubNorm", "ffnNorm", "ffnSubNorm"] as const;

/** One thing a thread can load on its own. */
interface Job {
  /** Bytes read from files, for the progress. */
  readonly bytes: number;
  run(): void;
}

/** Packings of all ternary layers and what they need of the plan. */
export interface LoadNeeds {
  readonly packings: readonly Packing[];
  /** A thread's staging: the largest piece and what it decodes to. */
  readonly stagingBytes: number;
  /** Pieces of master weights, all tensors together. */
  readonly statPieces: number;
}

/** Looks at every ternary layer's encoding. @throws BitnetError tensor */
export function loadNeeds(sources: NetworkSources): LoadNeeds {
  const packings = sources.layers.flatMap((layer) => LINEARS.map((role) => openPacking(layer[role])));
  let stagingBytes = tablePieceRows(sources.embedding) * sources.embedding.shape[1]! * 8;
  const norms = [sources.outputNorm, ...sources.layers.flatMap((layer) => NORMS.map((role) => layer[role]))];
  for (const norm of norms) stagingBytes = Math.max(stagingBytes, norm.byteLength);
  let statPieces = 0;
  for (const packing of packings) {
    const { length, rows } = packing.piece(0);
    stagingBytes = Math.max(stagingBytes, align(length) + rows.length * align(packing.source.columns, COLUMN_BLOCK));
    if (packing.stats) statPieces += packing.pieces;
  }
  return { packings, stagingBytes, statPieces };
}

const align = (n: number, unit = 64): number => Math.ceil(n / unit) * unit;

function tablePieceRows(tensor: TensorInfo): number {
  return Math.max(1, Math.floor(PIECE_BYTES / (tensor.shape[1]! * 4)));
}

/** Types of plain floats, in the numbering of the kernel `widen`, and what it answers. */
const FLOAT_TYPES = ["F32", "F16", "BF16"];
const NOT_FINITE = 1;
const NOT_BF16 = 2;

/** Shared by the loading threads: u32 words at `plan.loading`. */
const LOADED_KIB = 0;
const INEXACT = 1;

/**
 * Fills the memory from the files, one thread's part of it: pieces are read straight into this thread's staging, decoded and packed into
 * the kernels' layout. All threads call it together.
 * @param onBytes called now and then with the bytes loaded by all threads so far
 * @returns false if a table holds numbers that bf16 can't, and the plan said bf16: plan again with wide tables
 */
export function load(
  kernels: Kernels,
  memory: WebAssembly.Memory,
  plan: NetworkPlan,
  sources: NetworkSources,
  needs: LoadNeeds,
  thread: number,
  onBytes: (done: number) => void,
): boolean {
  const files = new Map<string, SyncSource>();
  const shared = new Int32Array(memory.buffer, plan.loading, 2);
  const stats = new Float64Array(memory.buffer, plan.pieceStats, 3 * needs.statPieces);
  const staging = plan.staging + thread * plan.stagingBytes;

  const read = (tensor: TensorInfo, start: number, length: number, to: number): Uint8Array => {
    let file = files.get(tensor.file);
    if (file === undefined) {
      file = openSourceSync(tensor.file);
      files.set(tensor.file, file);
    }
    const bytes = new Uint8Array(memory.buffer, to, length);
    file.readInto(bytes, tensor.offset + start);
    return bytes;
  };

  const each = (jobs: readonly Job[]): void => {
    for (let item = kernels.nextChunk(plan.control); item < jobs.length; item = kernels.nextChunk(plan.control)) {
      const job = jobs[item]!;
      job.run();
      onBytes(1024 * Atomics.add(shared, LOADED_KIB, Math.ceil(job.bytes / 1024)));
    }
    kernels.barrier(plan.control, plan.threads);
  };

  const floats = (tensor: TensorInfo, to: number): Job => ({
    bytes: tensor.byteLength,
    run: () => {
      const n = tensor.shape[0]!;
      read(tensor, 0, n * floatBytes(tensor.type), staging);
      if (kernels.widen(to, staging, n, FLOAT_TYPES.indexOf(tensor.type)) & NOT_FINITE) throw notFinite(tensor, tensor.offset);
    },
  });

  const table = (tensor: TensorInfo, to: TablePlan): Job[] => {
    const [vocab, hidden] = tensor.shape as [number, number];
    const rows = tablePieceRows(tensor);
    const rowBytes = hidden * floatBytes(tensor.type);
    return Array.from({ length: Math.ceil(vocab / rows) }, (_, piece) => {
      const first = piece * rows;
      const count = Math.min(rows, vocab - first);
      return {
        bytes: count * rowBytes,
        run: () => {
          const start = staging + rows * hidden * 4;
          const n = count * hidden;
          read(tensor, first * rowBytes, n * floatBytes(tensor.type), start);
          const found = kernels.widen(to.wide ? to.at + first * to.rowBytes : staging, start, n, FLOAT_TYPES.indexOf(tensor.type));
          if (found & NOT_FINITE) throw notFinite(tensor, tensor.offset + first * rowBytes);
          if (to.wide) return;
          if (found & NOT_BF16) Atomics.store(shared, INEXACT, 1);
          else for (let i = 0; i < count; i++) kernels.packBf16(to.at + (first + i) * to.rowBytes, staging + i * hidden * 4, hidden);
        },
      };
    });
  };

  const setScale = (to: LinearPlan, scale: number): void => {
    new Float32Array(memory.buffer, to.scale, 1)[0] = scale;
  };

  /** Decodes the staged piece by the kernels. False if they don't know its form or found a fault: TypeScript's decode then tells which. */
  const decode = ({ tensor, columns }: LinearSource, rows: number, length: number, codes: number, kPad: number): boolean => {
    if (tensor.type === "I2_S" && columns === kPad) return kernels.unpackI2s(codes, staging, length / I2S_BLOCK_BYTES) === 0;
    if (tensor.type !== "U8" || columns !== kPad) return false;
    const packedRows = rows / 4;
    let bad = 0;
    for (let row = 0; row < rows; row++) {
      bad |= kernels.unpackHf(codes + row * kPad, staging + (row % packedRows) * columns, columns, Math.floor(row / packedRows));
    }
    return bad === 0;
  };

  const unpack = (packing: Packing, piece: number, to: LinearPlan, how: Ternarisation | undefined): void => {
    const { start, length, rows } = packing.piece(piece);
    const at = staging + align(length);
    const bytes = read(packing.source.tensor, start, length, staging);
    if (!decode(packing.source, rows.length, length, at, to.kPad)) {
      const codes = new Uint8Array(memory.buffer, at, rows.length * to.kPad);
      if (to.kPad !== to.columns) codes.fill(0); // the columns that pad a row meet zeros, but must be codes
      packing.decode(piece, bytes, codes, to.kPad, how);
    }
    rows.forEach((row, i) => {
      kernels.packRow(
        to.weights + (Math.floor(row / ROW_GROUP) * ROW_GROUP * to.kPad) / 4 + (row % ROW_GROUP) * 16,
        at + i * to.kPad,
        to.kPad,
      );
    });
  };

  try {
    const first: Job[] = [...table(sources.embedding, plan.embedding), ...(sources.head ? table(sources.head, plan.head) : [])];
    first.push(floats(sources.outputNorm, plan.outputNorm));
    plan.layers.forEach((layer, i) => {
      for (const role of NORMS) first.push(floats(sources.layers[i]![role], layer[role]));
    });
    const second: Job[] = [];
    let statsFrom = 0;
    needs.packings.forEach((packing, i) => {
      const { source } = packing;
      const to = plan.layers[Math.floor(i / LINEARS.length)]![LINEARS[i % LINEARS.length]!];
      const from = statsFrom;
      const ternarise = (): Ternarisation => {
        const pieces = Array.from({ length: packing.pieces }, (_, p): PieceStats => {
          const [sum, least, most] = stats.subarray(3 * (from + p)) as unknown as [number, number, number];
          return { sum, least, most };
        });
        return ternarisation(pieces, source.rows * source.columns);
      };
      if (packing.stats) statsFrom += packing.pieces;
      else
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
          second.push({ bytes, run: () => unpack(packing, p, to, undefined) });
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
            unpack(packing, p, to, how);
          },
        });
      }
    });
    each(first);
    if (Atomics.load(shared, INEXACT) !== 0) return false;
    each(second);
    return true;
  } finally {
    for (const file of files.values()) file.close();
  }
}
