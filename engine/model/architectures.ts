/** What is known of architectures by their names: those that are read, and others that people try. */

import { show } from "../container/quote.js";
import { refuse } from "./refusal.js";

/** relu2: relu(gate)² · up; silu: gate · σ(gate) · up; gelu_tanh: GELU(gate) · up in GELU's tanh form */
export type Activation = "relu2" | "silu" | "gelu_tanh";
/** Those that a user may state: files may leave it open which of them it is. */
export type StatedActivation = Exclude<Activation, "gelu_tanh">;
export const ACTIVATION_NAMES: readonly StatedActivation[] = ["relu2", "silu"];

export type Activations = "int8" | "float";
export const ACTIVATIONS_NAMES: readonly Activations[] = ["int8", "float"];

/** What an architecture's name fixes, so that no file needs to say it. */
export interface Architecture {
  /** As of `ModelConfig`. */
  readonly subNorms: boolean;
  readonly innerNorms?: boolean;
  readonly postNorms?: boolean;
  readonly qkNorms: boolean;
  readonly attentionGates?: boolean;
  /** Rows of the embedding, what blocks add, and logits are scaled. */
  readonly scaled?: boolean;
  /** Rows of the embedding are multiplied by the root of the hidden size. */
  readonly rootScaled?: boolean;
  /** Some layers are recurrent. */
  readonly recurrent?: boolean;
  /** Only some dimensions of a head may be rotated. */
  readonly partialRope?: boolean;
  readonly activations: Activations;
  readonly masters: boolean;
  readonly activation: Activation;
  /** Models with other activations have this architecture, too. */
  readonly activationsVary?: boolean;
  /** What both containers' readers elsewhere take where the file doesn't say. */
  readonly ropeTheta?: number;
}

/** BitNet b1.58 2B4T. */
const BITNET_2B4T: Architecture = { activation: "relu2", subNorms: true, qkNorms: false, activations: "int8", masters: true };
/** bitnet_b1_58-large, -3B and their like. */
const BITNET_SILU: Architecture = { ...BITNET_2B4T, activation: "silu", ropeTheta: 10000 };
/**
 * Llama3-8B-1.58, Falcon3-1.58, Falcon-E; and TriLM, which leaves activations alone. Without a word on quantisation such a model is not ternary,
 * unless its numbers are.
 */
const LLAMA: Architecture = { ...BITNET_SILU, subNorms: false, masters: false, activationsVary: true };
/** Ternary-Bonsai: only the weights are ternary. */
const QWEN3: Architecture = { ...LLAMA, qkNorms: true, activations: "float", activationsVary: false };
/** Qwen3.5, Bonsai 2: three of four layers are Gated DeltaNet, and attention has a gate. (llama.cpp, src/models/qwen35.cpp.) */
const QWEN35: Architecture = { ...QWEN3, attentionGates: true, recurrent: true, partialRope: true };
/** BitCPM4: a LLaMA whose embedding, residuals and logits are scaled. (llama.cpp, conversion/minicpm.py.) Its ternary files say nothing of activations. */
const MINICPM: Architecture = { ...LLAMA, scaled: true, activations: "float" };
/**
 * Gemma 3: norms before and behind each block, GELU. (llama.cpp, src/models/gemma3.cpp.) Ternary files, as of Qwen3 and MiniCPM, say nothing of
 * activations.
 */
const GEMMA3: Architecture = {
  ...{ ...LLAMA, activation: "gelu_tanh", qkNorms: true, postNorms: true, rootScaled: true, activations: "float" },
};
/**
 * bitnet-embedding: Qwen3's or Gemma 3's network, in which each ternary layer has a norm of its own before its input is quantised. (microsoft/BitNet,
 * utils/convert-bitnet-embedding-to-gguf.py.)
 */
const INNER = { subNorms: true, innerNorms: true, activations: "int8", activationsVary: false, masters: true } as const;
export const BITNET_EMBEDDINGS: Readonly<Record<"qwen3" | "gemma3", Architecture>> = {
  ...{ qwen3: { ...QWEN3, ...INNER }, gemma3: { ...GEMMA3, ...INNER } },
};

/** By `general.architecture` of a GGUF; llama.cpp's converter permutes the rows of q and k where it names an architecture `llama`. */
export const GGUF_ARCHITECTURES: ReadonlyMap<string, Architecture & { readonly rope: "neox" | "norm" }> = new Map([
  ["bitnet-b1.58", { ...BITNET_2B4T, rope: "neox" }],
  ["bitnet-25", { ...BITNET_2B4T, rope: "neox" }],
  ["bitnet", { ...BITNET_SILU, rope: "neox" }],
  ["llama", { ...LLAMA, rope: "norm" }],
  ["qwen3", { ...QWEN3, rope: "neox" }],
  ["qwen35", { ...QWEN35, rope: "neox" }],
  ["minicpm", { ...MINICPM, rope: "norm" }],
  ["gemma3", { ...GEMMA3, rope: "neox" }],
]);

/** By `architectures[0]` of a config.json. The first two differ in the case of one letter. */
export const HF_ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map([
  ["BitNetForCausalLM", BITNET_2B4T],
  ["BitnetForCausalLM", BITNET_SILU],
  ["LlamaForCausalLM", LLAMA],
  ["Qwen3ForCausalLM", QWEN3],
  ["Gemma3ForCausalLM", GEMMA3],
  ["Gemma3TextModel", GEMMA3],
]);

const QWEN35_HF = "Qwen3.5 or Bonsai 2, which are supported only as GGUF; get that";
const QWEN3_NEXT = "a mixture of experts, which is not supported";
const MINICPM_HF = "MiniCPM or BitCPM, which are supported only as GGUF; get that";
const MINICPM3 = "MiniCPM 3, whose compressed attention is not supported";
const GEMMA = "Gemma 1 or 2, or Gemma 3 with images, of which only Gemma 3's text models are supported";
const MAPLE = "Maple, whose experts are not supported";
const EMBEDDER = "an embedding model, which does not generate text";

/** Architectures that people try, and what they are. */
const OTHER_ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ["clip", "an image encoder (mmproj), not a language model; give the path of the text model beside it"],
  ...["Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"].map((name) => [name, QWEN35_HF] as const),
  ...["qwen35moe", "qwen3next", "qwen3moe", "Qwen3NextForCausalLM"].map((name) => [name, QWEN3_NEXT] as const),
  ["MiniCPMForCausalLM", MINICPM_HF],
  ...["minicpm3", "MiniCPM3ForCausalLM"].map((name) => [name, MINICPM3] as const),
  ...["gemma2", "gemma", "Gemma2ForCausalLM", "GemmaForCausalLM", "Gemma3ForConditionalGeneration"].map((name) => [name, GEMMA] as const),
  ...["maple", "MapleForCausalLM"].map((name) => [name, MAPLE] as const),
  ["QLlamaForCausalLM", "deepgrove's Bonsai, whose storage of weights and scales is not supported"],
  ...["bert", "nomic-bert", "gemma-embedding", "BertModel", "Qwen3Model"].map((name) => [name, EMBEDDER] as const),
]);

/** What a table has under a name out of a file. @throws BitnetError unsupported: nothing, with what the name is known for */
export function known<T>(table: ReadonlyMap<string, T>, name: unknown, key: string, path: string): T {
  const entry = typeof name === "string" ? table.get(name) : undefined;
  if (entry === undefined) {
    const other = typeof name === "string" ? OTHER_ARCHITECTURES.get(name) : undefined;
    return refuse(path, `${key} is ${show(name)}${other ? `, ${other}` : ""}; supported are ${[...table.keys()].join(", ")}`);
  }
  return entry;
}
