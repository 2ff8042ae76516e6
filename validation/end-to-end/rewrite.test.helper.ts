import { openSource } from "#host/files.js";
import type { TensorInfo } from "../../engine/container/checkpoint.js";
import { type GgufEntry, readGguf } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";

/** What a tensor shall be in its place; undefined: what it is. */
export type Change = (tensor: TensorInfo, bytes: Uint8Array) => { readonly type?: string; readonly data: Uint8Array } | undefined;

/** Writes a GGUF file anew with some tensors, or metadata, changed. @returns `to` */
export async function rewriteGguf(
  from: string,
  to: string,
  change: Change,
  metadata: (entries: readonly GgufEntry[]) => readonly GgufEntry[] = (entries) => entries,
): Promise<string> {
  const source = await openSource(from);
  const file = await readGguf(source);
  const tensors = [];
  for (const tensor of file.tensors) {
    const bytes = await source.read(tensor.offset, tensor.byteLength);
    const { name, shape, type } = tensor;
    tensors.push({ name, shape, type, data: bytes, ...change({ ...tensor, file: from }, bytes) });
  }
  await source.close();
  await writeGguf(to, { metadata: metadata(file.entries), tensors });
  return to;
}
