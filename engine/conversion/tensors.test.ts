import { expect, it } from "vitest";
import type { TensorInfo } from "../container/tensor.js";
import { tableBytes } from "./tensors.js";

/** Bytes of each read of a table of zeros, f32. */
async function reads(rows: number, columns: number): Promise<number[]> {
  const tensor = {
    name: "t",
    type: "F32",
    shape: [rows, columns],
    file: "f",
    offset: 0,
    byteLength: rows * columns * 4,
  } as unknown as TensorInfo;
  const lengths: number[] = [];
  const read = async (_: TensorInfo, __: number, length: number): Promise<Uint8Array> => {
    lengths.push(length);
    return new Uint8Array(length);
  };
  let written = 0;
  for await (const bytes of tableBytes(tensor, "F32", read, new Map() as never)) written += bytes.length;
  expect(written).toBe(tensor.byteLength);
  return lengths;
}

it("tables are read in pieces of about a million numbers, and a longer row alone", async () => {
  const mebi = 2 ** 20;
  expect(await reads(5, mebi / 2)).toEqual([4 * mebi, 4 * mebi, 2 * mebi]);
  expect(await reads(2, mebi + 32)).toEqual([4 * mebi + 128, 4 * mebi + 128]);
});
