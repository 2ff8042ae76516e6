import { expect } from "vitest";
import { openSourceSync } from "#host/files.js";
import type { TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";
import type { I2sLayout, LinearSource } from "../model/weights.js";
import { ternarisation } from "./dense.js";
import { openPacking } from "./open.js";
import type { Ternarisation } from "./packing.js";

/** A ternary layer of these bytes that would lie at `offset` of a file. */
export function layer(
  type: string,
  rows: number,
  columns: number,
  bytes: Uint8Array,
  offset = 4096,
  layout: I2sLayout = "block128",
): LinearSource {
  const shape = type === "U8" ? [rows / 4, columns] : [rows, columns];
  const tensor: TensorInfo = { name: "some.layer", shape, type, file: "some.file", offset, byteLength: bytes.length };
  return { tensor, rows, columns, scale: undefined, inverseScale: false, layout, pairedRows: undefined, masters: true };
}

/** All bytes of a tensor. */
export function bytesOf({ file, offset, byteLength }: TensorInfo): Uint8Array {
  const source = openSourceSync(file);
  const bytes = new Uint8Array(byteLength);
  source.readInto(bytes, offset);
  source.close();
  return bytes;
}

/** Codes of a layer, [rows][columns], put together from its pieces in reverse order, each decoded with a stride of its own. */
export function decode(source: LinearSource, bytes: Uint8Array): { codes: Uint8Array; how: Ternarisation | undefined; pieces: number } {
  const { rows, columns } = source;
  const packing = openPacking(source);
  const pieces = Array.from({ length: packing.pieces }, (_, index) => {
    const { start, length, rows: held } = packing.piece(index);
    return { index, held, bytes: bytes.slice(start, start + length) };
  });
  const how =
    packing.stats &&
    ternarisation(
      source,
      pieces.map((piece) => packing.stats!(piece.index, piece.bytes)),
    );
  const codes = new Uint8Array(rows * columns).fill(255);
  for (const piece of pieces.reverse()) {
    const stride = columns + 64 + piece.index;
    const out = new Uint8Array(piece.held.length * stride).fill(77);
    packing.decode(piece.index, piece.bytes, out, stride, how);
    for (const [i, row] of piece.held.entries()) {
      expect(codes[row * columns]).toBe(255); // no row twice
      codes.set(out.subarray(i * stride, i * stride + columns), row * columns);
      expect(out[i * stride + columns]).toBe(77); // nothing beyond the columns
    }
  }
  return { codes, how, pieces: packing.pieces };
}

/** The BitnetError that `act` ends in. */
export function errorOf(act: () => unknown): BitnetError {
  try {
    act();
  } catch (error) {
    if (error instanceof BitnetError) return error;
    throw error;
  }
  throw new Error("no error");
}

/** Numbers that look random, the same ones each time: the high bits of a 32-bit linear congruential generator (Numerical Recipes). */
export function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** `n` codes 0, 1, 2. */
export function someCodes(n: number, seed: number): Uint8Array {
  const next = noise(seed);
  return Uint8Array.from({ length: n }, () => Math.floor(next() * 3));
}
