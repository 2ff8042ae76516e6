import type { Checkpoint, MetadataValue, TensorInfo } from "../container/checkpoint.js";
import { BitnetError } from "../errors.js";

export const I2S = "validation/fixtures/gguf/ggml-model-i2_s.gguf";
export const BITNET_25 = "validation/fixtures/gguf/ggml-model-i2_s-arch-bitnet-25.gguf";
export const BF16 = "validation/fixtures/safetensors-bf16";
export const PACKED = "models/bitnet-stories-4m/packed";

/** The checkpoint with other GGUF metadata; undefined takes a key away. */
export function withMetadata(checkpoint: Checkpoint, changes: Readonly<Record<string, MetadataValue | undefined>>): Checkpoint {
  const metadata = new Map(checkpoint.metadata);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
  }
  return { ...checkpoint, metadata };
}

/** The checkpoint with other values in its config.json; undefined takes a key away. */
export function withConfig(checkpoint: Checkpoint, changes: Readonly<Record<string, unknown>>): Checkpoint {
  return {
    ...checkpoint,
    async sidecar(name) {
      const text = await checkpoint.sidecar(name);
      return name === "config.json" && text !== undefined ? JSON.stringify({ ...JSON.parse(text), ...changes }) : text;
    },
  };
}

/** The checkpoint with other tensors; undefined takes one away. */
export function withTensors(checkpoint: Checkpoint, changes: Readonly<Record<string, Partial<TensorInfo> | undefined>>): Checkpoint {
  const tensors = new Map(checkpoint.tensors);
  const model = tensors.values().next().value!;
  for (const [name, change] of Object.entries(changes)) {
    if (change === undefined) tensors.delete(name);
    else tensors.set(name, { ...(tensors.get(name) ?? model), name, ...change });
  }
  return { ...checkpoint, tensors };
}

/** The BitnetError that `act` ends in; its message must be one line without a full stop. */
export async function errorOf(act: () => unknown): Promise<BitnetError> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof BitnetError)) throw error;
    if (/[\r\n]|\.$/.test(error.message)) throw new Error(`not one sentence: ${error.message}`);
    return error;
  }
  throw new Error("no error");
}
