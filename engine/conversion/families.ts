import type { ModelConfig } from "../model/config.js";

/** What a network is called in each container. */
export interface Family {
  /** `general.architecture` */
  readonly gguf: string;
  /** `architectures[0]` of config.json */
  readonly hf: string;
  /** `model_type` of config.json */
  readonly modelType: string;
  /** How the rows of q and k lie in GGUF. */
  readonly rope: ModelConfig["rope"];
}

const BITNET_2B4T: Family = { gguf: "bitnet-b1.58", hf: "BitNetForCausalLM", modelType: "bitnet", rope: "neox" };
const BITNET_SILU: Family = { gguf: "bitnet", hf: "BitnetForCausalLM", modelType: "bitnet", rope: "neox" };
const LLAMA: Family = { gguf: "llama", hf: "LlamaForCausalLM", modelType: "llama", rope: "norm" };
const GEMMA3: Family = { gguf: "gemma3", hf: "Gemma3TextModel", modelType: "gemma3_text", rope: "neox" };
const BITNET_EMBEDDING: Family = { gguf: "qwen3", hf: "Qwen3Model", modelType: "qwen3", rope: "neox" };
const QWEN3: Family = { gguf: "qwen3", hf: "Qwen3ForCausalLM", modelType: "qwen3", rope: "neox" };

/** By what the network is, not by its name: converters have given two of them one name. */
export function familyOf({ innerNorms, postNorms, subNorms, activation, qkNorms }: ModelConfig): Family {
  if (postNorms) return GEMMA3;
  if (innerNorms) return BITNET_EMBEDDING;
  if (subNorms) return activation === "relu2" ? BITNET_2B4T : BITNET_SILU;
  return qkNorms ? QWEN3 : LLAMA;
}
