/**
 * Test models that are too large to keep: derived from small ones by our own writers, and identical, byte for byte, to what the official
 * tools wrote (validation/golden/model/manifest.json has their hashes).
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSource } from "#host/files.js";
import { openCheckpoint, type TensorInfo } from "../../engine/container/checkpoint.js";
import { type GgufEntry, readGguf } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { readSafetensors, writeSafetensors } from "../../engine/container/safetensors.js";
import { attentionOf } from "../../engine/model/attention.test.helper.js";
import { readConfig } from "../../engine/model/config.js";
import type { Layer as ModelLayer } from "../../engine/model/layers.js";
import { readWeights } from "../../engine/model/weights.js";
import type { ReferenceLinear } from "../../engine/network/reference-linear.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { readFloats } from "../../engine/packing/dense.js";

export const I2S = "validation/fixtures/gguf/ggml-model-i2_s.gguf";
export const BF16 = "validation/fixtures/safetensors-bf16";
export const EMBEDDED = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
export const PACKED = "models/bitnet-stories-4m/packed";

/** A directory that is gone when the tests end. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "bitnet-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A ternary layer and the master weights it was made from. */
interface Layer extends ReferenceLinear {
  readonly masters: Float32Array; // [rows, columns]
}

type Layers = (name: string) => Promise<Layer | undefined>;

/** Finds the ternary layer that a tensor's name means, if it means one. */
async function layersOf(path: string): Promise<{ layer: Layers; close: () => Promise<void> }> {
  const checkpoint = await openCheckpoint(path);
  const masters = await openCheckpoint(BF16);
  const config = await readConfig(checkpoint);
  const weights = loadReference(readWeights(checkpoint, config), config);
  const sources = readWeights(masters, await readConfig(masters));
  await checkpoint.close();
  await masters.close();
  const [file] = masters.files;
  const source = await openSource(file!);
  return {
    layer: async (name) => {
      const [, index, role] = /^(?:blk|model\.layers)\.(\d+)\.(?:self_attn\.|mlp\.)?(\w+)\.weight$/.exec(name) ?? [];
      const key = ROLES.get(role ?? "");
      if (key === undefined) return undefined;
      const linear = partsOf(weights.layers[Number(index)]!)[key];
      const { tensor } = partsOf(sources.layers[Number(index)]!)[key];
      const floats = new Float32Array(linear.rows * linear.columns);
      readFloats(tensor.type, await source.read(tensor.offset, tensor.byteLength), floats, floats.length);
      return { ...linear, masters: floats };
    },
    close: () => source.close(),
  };
}

const partsOf = <Linear, Floats>(layer: ModelLayer<Linear, Floats>) => ({ ...attentionOf(layer), ...layer.feedForward });

const ROLES = new Map([
  ...Object.entries({ attn_q: "q", attn_k: "k", attn_v: "v", attn_output: "o", ffn_gate: "gate", ffn_up: "up", ffn_down: "down" } as const),
  ...Object.entries({ q_proj: "q", k_proj: "k", v_proj: "v", o_proj: "o", gate_proj: "gate", up_proj: "up", down_proj: "down" } as const),
]);

function asF32(tensor: TensorInfo, bytes: Uint8Array, layer: Layer | undefined): Uint8Array {
  const values = new Float32Array(layer ? layer.weights.length : tensor.shape.reduce((product, extent) => product * extent, 1));
  if (layer) {
    // The official tools round the master weight to an integer and keep the sign of a zero.
    layer.weights.forEach((code, i) => {
      values[i] = code === 0 ? 0 * layer.masters[i]! : code * layer.scales[0]!;
    });
  } else readFloats(tensor.type, bytes, values, values.length);
  return new Uint8Array(values.buffer);
}

/** `safetensors/f32`: the packed model, dequantised. */
export async function deriveF32Safetensors(directory: string): Promise<string> {
  const { layer, close } = await layersOf(PACKED);
  const source = await openSource(join(PACKED, "model.safetensors"));
  const file = await readSafetensors(source);
  const tensors = [];
  for (const tensor of file.tensors) {
    if (tensor.name.endsWith("_scale")) continue;
    const linear = await layer(tensor.name);
    const shape = linear ? [linear.rows, linear.columns] : tensor.shape;
    tensors.push({
      name: tensor.name,
      shape,
      type: "F32",
      data: asF32(tensor, await source.read(tensor.offset, tensor.byteLength), linear),
    });
  }
  await source.close();
  await close();
  await writeSafetensors(join(directory, "model.safetensors"), { tensors, metadata: file.metadata });
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
    writeFileSync(join(directory, name), readFileSync(join(PACKED, name)));
  }
  const { quantization_config: _, ...config } = JSON.parse(readFileSync(join(PACKED, "config.json"), "utf8"));
  writeFileSync(join(directory, "config.json"), JSON.stringify({ ...config, torch_dtype: "float32" }, undefined, 2));
  return directory;
}

/** `gguf/ggml-model-f32.gguf`: the I2_S file, dequantised. */
export async function deriveF32Gguf(directory: string): Promise<string> {
  const { layer, close } = await layersOf(I2S);
  const source = await openSource(I2S);
  const file = await readGguf(source);
  const tensors = [];
  for (const tensor of file.tensors) {
    tensors.push({
      name: tensor.name,
      shape: tensor.shape,
      type: "F32",
      data: asF32(tensor, await source.read(tensor.offset, tensor.byteLength), await layer(tensor.name)),
    });
  }
  await source.close();
  await close();
  const metadata = file.entries
    .filter(({ key }) => key !== "general.quantization_version")
    .map((entry): GgufEntry => (entry.key === "general.file_type" ? { ...entry, value: 0 } : entry));
  const path = join(directory, "ggml-model-f32.gguf");
  await writeGguf(path, { metadata, tensors });
  return path;
}
